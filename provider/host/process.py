"""The process of a worker: how it is heard, ended, and accounted for.

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
from typing import TYPE_CHECKING

from provider.errors import StartError
from provider.host import death
from provider.host.output import Output
from provider.host.peak import Peak
from provider.host.reaping import reap, reap_group, until_dead
from provider.host.survivors import survivors

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from provider.host.cgroup import Group
    from provider.host.contract import WorkerSetup
    from provider.host.spawned import Spawned

TAIL_LINES = 20
"""Last lines of standard error kept, for the account of a death."""
TAIL_LINE = 500
"""Characters kept of each of them."""


class WorkerProcess:
    """A worker's process and what it writes.

    Args:
        setup: what was started.
        on_printed: called for each line of output, with the name of the stream, the number of the
            call it belongs to, 0 for none, and the text.
    """

    def __init__(self, setup: WorkerSetup, on_printed: Callable[[str, int, str], None]) -> None:
        self._setup = setup
        self._on_printed = on_printed
        self._process: subprocess.Popen[bytes] | None = None
        self._outputs: list[Output] = []
        self._tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self._killed_for = ""
        self._group: Group | None = None
        self._peak = Peak()
        self._circumstances = death.Circumstances()
        self.peak_memory: int | None = None
        """Most memory it had at a time, in bytes, once it is gone; None where nobody knows."""

    @property
    def pid(self) -> int:
        """Process id, 0 before it exists."""
        return self._process.pid if self._process is not None else 0

    @property
    def last_words(self) -> list[str]:
        """The last lines of its standard error."""
        return list(self._tail)

    @property
    def exit(self) -> int | str | None:
        """Its exit code, or the name of the signal that ended it; None while it lives."""
        code = None if self._process is None else self._process.returncode
        return code if code is None or code >= 0 else death.signal_name(-code)

    @property
    def memory(self) -> int:
        """How much memory it has now, in bytes, 0 where nobody knows."""
        alive = self._process is not None and self._process.returncode is None
        return self._peak.look(self.pid) if alive else 0

    async def attach(self, spawned: Spawned) -> None:
        """Listen to it, and see to it that it ends.

        Args:
            spawned: what to listen to.

        Raises:
            StartError: it cannot be bounded as it has to be.
            OSError: the system has no room for it. In any case `abandon` follows.
        """
        # Before anything else can go wrong: whoever asked us ends it by `abandon` then.
        self._process, self._group = spawned.process, spawned.group
        survivors.add(self.pid, "" if self._group is None else str(self._group.folder))
        left = list(spawned.outputs.items())
        try:
            while left:
                name, descriptor = left.pop(0)
                output = Output(functools.partial(self._printed, name))
                self._outputs.append(output)
                await output.attach(descriptor)
            await self._confine()
        finally:
            for _, descriptor in left:
                os.close(descriptor)
        if self._killed_for:
            self._signal_group()  # for what it said before we had got hold of it

    async def abandon(self) -> None:
        """End it, because it could not be started, and wait for that."""
        self.give_up("it could not be started")
        await self.ended()
        await self.hear_out(0.0)

    async def _confine(self) -> None:
        """Put it into its control group, before it gets to hear what it shall run."""
        if self._group is None:
            return
        try:
            # Beside: the kernel takes its time, longer than the loop should stand still.
            await asyncio.to_thread(self._group.enter, self.pid)
        except OSError as error:
            if self._group.limited:
                raise StartError(
                    f"the worker's limits cannot be set on {self._group.folder}: {error}"
                ) from None
            self._group.remove_empty()
            self._group = None

    async def ended(self) -> int:
        """Wait until it is gone, and end what it left running.

        Returns:
            Its exit code; the number of a signal is negative.
        """
        assert self._process is not None
        pid = self.pid
        await until_dead(pid)
        # Before it is reaped: until then nobody else can have its number.
        self._signal_group()
        if self._group is not None:
            self._circumstances.group_ran_out = self._group.ran_out_of_memory
            self._group.kill()
        code, usage = reap(pid)
        self._process.returncode = code
        self.peak_memory = self._peak.of(usage.ru_maxrss)
        self._circumstances.usage = usage
        if self._group is not None:
            await self._group.remove()
        await reap_group(pid)
        survivors.remove(pid)
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
        cause = self._circumstances.cause(code, self._setup.resources, self.last_words)
        if code < 0:
            name = death.signal_name(-code)
            return f"the worker was killed by {name} (serving {program}){cause}"
        if not spoke:
            why = cause or "; is it a Python interpreter?"
            return f"{self._setup.python} left with exit code {code} before it was a worker{why}"
        return f"the worker left with exit code {code} (serving {program}){cause}"

    def _printed(self, name: str, number: int, text: str) -> None:
        if name == "stderr":
            self._tail.append(text[:TAIL_LINE])
        self._on_printed(name, number, text)

    def _signal_group(self) -> None:
        if self.pid:
            self._peak.look(self.pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
