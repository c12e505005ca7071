"""The process of a worker: how it is started, heard, ended, and accounted for.

The rule of this file: a process that was started is ended as a group, with all that it left
running. How it died is what the system says; our own reason counts only where we ended it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from provider.errors import StartError
from provider.host.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider.host.contract import WorkerSetup

TAIL_LINES = 20
"""Last lines of standard error kept, for the account of a death."""
TAIL_LINE = 500
"""Characters kept of each of them."""

_PACKAGE = Path(__file__).parent.parent


class WorkerProcess:
    """A worker's process and what it writes.

    Args:
        setup: what to start.
        on_printed: called for each line of output, with the name of the stream, the number of the
            call it belongs to, 0 for none, and the text.
    """

    def __init__(self, setup: WorkerSetup, on_printed: Callable[[str, int, str], None]) -> None:
        self._setup = setup
        self._on_printed = on_printed
        self._process: asyncio.subprocess.Process | None = None
        self._outputs: list[Output] = []
        self._tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self._killed_for = ""

    @property
    def pid(self) -> int:
        """Process id, 0 before it exists."""
        return self._process.pid if self._process is not None else 0

    @property
    def last_words(self) -> list[str]:
        """The last lines of its standard error."""
        return list(self._tail)

    async def start(self, link: int, memory: int) -> None:
        """Start it.

        Args:
            link: descriptor of its end of the link.
            memory: descriptor of the memory it shares with us.

        Raises:
            StartError: there is no such interpreter, or the system has no room for it.
        """
        try:
            with contextlib.ExitStack() as theirs:
                stdout, stderr = [await self._open(name, theirs) for name in ("stdout", "stderr")]
                self._process = await asyncio.create_subprocess_exec(
                    self._setup.python,
                    "-I",
                    str(_PACKAGE / "worker" / "__main__.py"),
                    str(_PACKAGE),
                    str(link),
                    str(memory),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=(link, memory),
                    env=dict(self._setup.environment),
                    # A group of its own: Ctrl-C does not reach it, its children die with it.
                    start_new_session=True,
                )
        except BaseException as error:
            await self.hear_out(0.0)
            if isinstance(error, OSError | ValueError):
                raise StartError(f"cannot start {self._setup.python}: {error}") from None
            raise
        if self._killed_for:
            self._signal_group()  # for what it said before we had got hold of it

    async def ended(self) -> int:
        """Wait until it is gone, and end what it left running.

        Returns:
            Its exit code; the number of a signal is negative.
        """
        assert self._process is not None
        code = await self._process.wait()
        self._signal_group()
        return code

    async def hear_out(self, grace: float) -> None:
        """Read what was still on the way, and close our ends.

        Args:
            grace: seconds it may take; a child that got away may hold the other ends open.
        """
        await asyncio.gather(*(output.end(grace) for output in self._outputs))

    def give_up(self, why: str) -> None:
        """End the whole process group.

        Args:
            why: for the account of its death.
        """
        if self._process is None or self._process.returncode is None:
            self._killed_for = self._killed_for or why
            self._signal_group()

    def account(self, code: int, *, spoke: bool) -> str:
        """A sentence on how it died.

        Args:
            code: of `ended`.
            spoke: whether it had said that it is a worker.
        """
        program = self._setup.program
        if self._killed_for:
            return f"the worker was stopped: {self._killed_for}"
        if code < 0:
            name = f"signal {-code}"
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
            return f"the worker was killed by {name} (serving {program})"
        if not spoke:
            return (
                f"{self._setup.python} left with exit code {code} before it was a worker; "
                "is it a Python interpreter?"
            )
        return f"the worker left with exit code {code} (serving {program})"

    async def _open(self, name: str, theirs: contextlib.ExitStack) -> int:
        output = Output(functools.partial(self._printed, name))
        self._outputs.append(output)
        pipe = await output.open()
        theirs.callback(os.close, pipe)
        return pipe

    def _printed(self, name: str, number: int, text: str) -> None:
        if name == "stderr":
            self._tail.append(text[:TAIL_LINE])
        self._on_printed(name, number, text)

    def _signal_group(self) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
