"""A worker's process as it begins: started, and nobody listens to it yet.

The rule of this file: it needs no event loop and imports little, so that the first process can
begin while the host still imports what it takes to serve. Until somebody attaches to it, it runs
nothing of the user's: it waits to be told what to load, and leaves with the host.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from provider.errors import StartError
from provider.wire.progress import Progress, new_memory

if TYPE_CHECKING:
    from provider.host.cgroup import Group
    from provider.host.contract import WorkerSetup

_PACKAGE = Path(__file__).parent.parent


class Spawned:
    """A process, and our ends of all that joins us to it. Whoever takes it looks after both.

    Attributes:
        process: of the worker.
        link: for frames; not blocking.
        progress: the memory that both see.
        outputs: descriptors to read from, of "stdout" and "stderr".
        group: its control group, which it has not entered yet; None for none.
        began: seconds on the monotonic clock.
        taken: whether somebody else looks after it.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        link: socket.socket,
        progress: Progress,
        outputs: dict[str, int],
        group: Group | None,
        began: float,
    ) -> None:
        self.process = process
        self.link = link
        self.progress = progress
        self.outputs = outputs
        self.group = group
        self.began = began
        self.taken = False

    def end(self) -> None:
        """End it, unless somebody has taken it. Nothing of it is left then."""
        if self.taken:
            return
        self.taken = True
        self.link.close()
        # It has not been reaped, so nobody else can have its number. Where the system does not let
        # us, as for another user's, it leaves by itself for want of a link.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.progress.close()
        for descriptor in self.outputs.values():
            os.close(descriptor)


def spawn(setup: WorkerSetup) -> Spawned:
    """Start a worker's process.

    Raises:
        StartError: there is no such interpreter, or the system has no room for it.
    """
    began = time.monotonic()
    try:
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            link, their_link = socket.socketpair()
            ours.callback(link.close)
            theirs.callback(their_link.close)
            link.setblocking(False)
            memory = new_memory()
            theirs.callback(os.close, memory)
            progress = Progress(memory)
            ours.callback(progress.close)
            outputs, writers = {}, {}
            for name in ("stdout", "stderr"):
                outputs[name], writers[name] = os.pipe()
                ours.callback(os.close, outputs[name])
                theirs.callback(os.close, writers[name])
            process = _started(setup, their_link.fileno(), memory, writers)
            ours.pop_all()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise StartError(f"cannot start {setup.python}: {error}") from None
    group = None if setup.groups is None else setup.groups.make()
    return Spawned(process, link, progress, outputs, group, began)


def _started(
    setup: WorkerSetup, link: int, memory: int, writers: dict[str, int]
) -> subprocess.Popen[bytes]:
    user = setup.user
    # Not asyncio's: that reaps it, and tells nothing but its exit code. It is as quick.
    return subprocess.Popen(
        [
            setup.python,
            "-I",
            str(_PACKAGE / "worker" / "__main__.py"),
            str(_PACKAGE),
            str(link),
            str(memory),
            str(os.getpid()),
            *setup.resources.words(setup.groups),
        ],
        stdin=subprocess.DEVNULL,
        stdout=writers["stdout"],
        stderr=writers["stderr"],
        pass_fds=(link, memory),
        env=dict(setup.environment),
        # A group of its own: Ctrl-C does not reach it, its children die with it.
        start_new_session=True,
        user=None if user is None else user.uid,
        group=None if user is None else user.gid,
        extra_groups=None if user is None else user.groups,
    )
