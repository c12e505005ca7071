"""The end of a child process: noticed, and only then reaped.

The rule of this file: between the two it is a zombie, whose number nobody else can get. So whoever
waits for it may still end its process group by that number, without hitting anybody else. Orphans,
which process 1 has to reap, are those that nobody waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import resource
    from collections.abc import Callable, Container

REAPED_WITHIN = 1.0
"""Seconds in which processes that were killed have to be dead."""
_LOOK_AGAIN = 0.002
_LEFT_ALONE = 1.0
"""Seconds in which whoever waits for a child has reaped it."""


async def until_dead(pid: int) -> None:
    """Wait until a child is dead; somebody has to reap it then.

    Args:
        pid: of a child that nobody else reaps.
    """
    loop = asyncio.get_running_loop()
    dead = loop.create_future()

    def tell() -> None:
        if not dead.done():
            dead.set_result(None)

    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):  # another system, an old one, or no descriptor left
        threading.Thread(target=_wait, args=(pid, loop, tell), daemon=True).start()
        await dead
        return
    loop.add_reader(descriptor, tell)
    try:
        await dead
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _wait(pid: int, loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
    if sys.platform == "darwin":  # whose Python has no waitid before 3.13
        asked = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        # It may be dead already.
        with contextlib.closing(select.kqueue()) as queue, contextlib.suppress(ProcessLookupError):
            queue.control([asked], 1)
    else:
        with contextlib.suppress(ChildProcessError):  # who waited has given up, and reaped it
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
        loop.call_soon_threadsafe(tell)


def reap(pid: int) -> tuple[int, resource.struct_rusage]:
    """Reap a child that is dead.

    Returns:
        Its exit code, minus the number of the signal that ended it, and what it has used.
    """
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), usage


async def reap_group(group: int) -> None:
    """Reap what became our child when its parent died, as where we are the first of a container.

    Args:
        group: process group that was killed.
    """
    end = time.monotonic() + REAPED_WITHIN
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < end:
            if os.waitpid(-group, os.WNOHANG)[0] == 0:  # noqa: ASYNC222  it does not block
                await asyncio.sleep(_LOOK_AGAIN)


def reap_orphans(ours: Container[int]) -> None:
    """Reap, for ever, what became our child when its parent died; process 1 gets all of them.

    To be called in a thread. It costs nothing while no child is dead.

    Args:
        ours: process ids of children that somebody waits for.
    """
    while True:
        with contextlib.suppress(ChildProcessError):  # there are none
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        before = _dead_children()
        time.sleep(_LEFT_ALONE)  # who waits for a child of his own has that long; nobody tells
        for pid, _ in before & _dead_children():
            if pid not in ours:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)


def _dead_children() -> set[tuple[int, str]]:
    """Numbers of our children that are dead, and when each was started."""
    found = set[tuple[int, str]]()
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            state, parent, *more = file.read().rpartition(b")")[2].decode().split()
            if (state, int(parent)) == ("Z", os.getpid()):
                found.add((int(name), more[17]))
    return found
