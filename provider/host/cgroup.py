"""Control groups: all processes of a worker as one thing that can be bounded, counted and ended.

The rule of this file: it is version 2 or nothing, and a group is made only below the one the host
is in. A group ends all that is in it, also what made a session of its own. Where the system lets us
make none, the process group of the worker has to do; where somebody asked for a limit only a group
can set, that is an error with the name of the knob.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from provider.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Mapping

REMOVED_WITHIN = 1.0
"""Seconds the processes of a group have to go, once it was ended."""
_LOOK_AGAIN = 0.002
"""Seconds between two tries to remove it."""
_OURS = "provider-host"
"""Where the host goes, if groups beside it are to have limits."""

_numbers = itertools.count(1)


class Group:
    """The group of one worker.

    Args:
        folder: of the group; it is made.
        limits: what is written to which file of it.

    Raises:
        OSError: the system does not let us.
    """

    def __init__(self, folder: Path, limits: Mapping[str, str]) -> None:
        self.folder = folder
        self.limited = bool(limits)
        """Whether it has limits."""
        folder.mkdir()
        try:
            for file, text in limits.items():
                (folder / file).write_text(text)
            # Without swap, or the limit were one of how much is in memory at a time.
            if "memory.max" in limits and (folder / "memory.swap.max").exists():
                (folder / "memory.swap.max").write_text("0")
        except BaseException:  # whatever it is, no empty group is left
            self.remove_empty()
            raise

    def enter(self, pid: int) -> None:
        """Put a process into it. Takes some milliseconds, which the kernel waits for others.

        Raises:
            OSError: the system does not let us.
        """
        with contextlib.suppress(ProcessLookupError):  # it has died meanwhile
            (self.folder / "cgroup.procs").write_text(str(pid))

    def kill(self) -> None:
        """End all processes in it, where the kernel can (Linux 5.14)."""
        with contextlib.suppress(OSError):
            # Not write_text: it must not be made where there is none.
            file = os.open(self.folder / "cgroup.kill", os.O_WRONLY)
            try:
                os.write(file, b"1")
            finally:
                os.close(file)

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether a process in it was killed because the group had no memory left."""
        with contextlib.suppress(OSError, ValueError):
            events = (self.folder / "memory.events").read_text().split()
            return int(events[events.index("oom_kill") + 1]) > 0
        return False

    async def remove(self) -> None:
        """Remove it, once the processes in it are gone."""
        end = time.monotonic() + REMOVED_WITHIN
        # The kernel tells nobody who waits that a group has become empty.
        while not self.remove_empty() and time.monotonic() < end:  # noqa: ASYNC110  as above
            await asyncio.sleep(_LOOK_AGAIN)

    def remove_empty(self) -> bool:
        """Remove it if no process is left in it; whether it is gone."""
        try:
            self.folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


class Groups:
    """Where groups can be made: below the group of this process.

    Args:
        folder: of that group.
        limits: what each group gets, by file.
    """

    def __init__(self, folder: Path, limits: Mapping[str, str]) -> None:
        self.folder = folder
        self.limits = limits

    @classmethod
    def find(cls, limits: Mapping[str, str], proc: Path = Path("/proc/self")) -> Self | None:
        """See whether the system lets us make groups with these limits.

        Args:
            limits: what each group gets, by file; the part of its name before the dot is the
                controller it takes.
            proc: what the system tells of this process.

        Returns:
            None when groups cannot be made, or not with these limits.
        """
        folder = _own_group(proc)
        if folder is None or not os.access(folder, os.W_OK):
            return None
        wanted = {file.partition(".")[0] for file in limits}
        try:
            folder = _with_controllers(folder, wanted)
            made = cls(folder, limits)
            made.make().remove_empty()
        except OSError:
            return None
        return made

    def make(self) -> Group:
        """Make a group.

        Raises:
            OSError: the system does not let us any more.
        """
        while True:
            name = f"provider-worker-{os.getpid()}-{next(_numbers)}"
            with contextlib.suppress(FileExistsError):
                return Group(self.folder / name, self.limits)


def groups_for(limits: Mapping[str, str], knobs: str) -> Groups:
    """As `Groups.find`, for limits that have to be.

    Args:
        limits: as there.
        knobs: that ask for them.

    Raises:
        StartError: there can be no such groups.
    """
    groups = Groups.find(limits)
    if groups is None:
        wanted = sorted({file.partition(".")[0] for file in limits})
        raise StartError(
            f"{knobs} needs control groups of version 2 with {' and '.join(wanted)}, below the "
            "one the provider runs in, which it can change: in systemd, Delegate=yes; in a "
            "container, a cgroup namespace of its own that it may write to"
        )
    return groups


def _own_group(proc: Path) -> Path | None:
    """The folder of the group this process is in."""
    try:
        groups = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:
        return None
    path = next((line.removeprefix("0::") for line in groups if line.startswith("0::")), None)
    for line in mounts:
        left, _, right = line.partition(" - ")
        if path is not None and right.startswith("cgroup2 "):
            root, point = left.split()[3:5]
            below = os.path.relpath(path, root)
            folder = Path(point) / below
            if not below.startswith("..") and (folder / "cgroup.procs").exists():
                return folder.parent if folder.name == _OURS else folder
    return None


def _with_controllers(folder: Path, wanted: set[str]) -> Path:
    """See to it that groups below this one have these controllers.

    Raises:
        OSError: they cannot.
    """
    control = folder / "cgroup.subtree_control"
    missing = wanted - set(control.read_text().split())
    if not missing:
        return folder
    words = " ".join(f"+{name}" for name in sorted(missing))
    with contextlib.suppress(OSError):
        control.write_text(words)
        return folder
    # A group with processes in it shares nothing out. It is ours if we are alone in it.
    ours = folder / _OURS
    ours.mkdir(exist_ok=True)
    (ours / "cgroup.procs").write_text(str(os.getpid()))
    try:
        control.write_text(words)
    except OSError:
        (folder / "cgroup.procs").write_text(str(os.getpid()))
        ours.rmdir()
        raise
    return folder
