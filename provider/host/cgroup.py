"""Control groups: all processes of a worker as one thing that can be bounded, counted and ended.

The rule of this file: it is version 2 or nothing, and a group is made only below the one the host
is in. A group ends all that is in it, also what made a session of its own. Where the system lets us
make none, the process group of the worker has to do; where somebody asked for a limit only a group
can set, that is an error with the name of the knob.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import threading
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

_NAME = "provider-worker-"
"""What names of groups begin with. Process id, chance and number make them those of one process."""
_TRIES = 3
"""How often a group is made that somebody else removes because it is empty."""

_numbers = itertools.count(1)


class Group:
    """The group of one worker. It is there from `enter` on, so that it can be told of before.

    Args:
        folder: of the group, which nobody else has.
        limits: what is written to which file of it.
    """

    def __init__(self, folder: Path, limits: Mapping[str, str]) -> None:
        self.folder = folder
        self.limited = bool(limits)
        """Whether it has limits."""
        self._limits = limits
        self._over = False
        self._making = threading.Lock()

    def enter(self, pid: int | None) -> None:
        """Make it, and put a process into it, None for none yet; not once it was to be removed.

        Takes some milliseconds, which the kernel waits for others, so it may be called in a thread.

        Raises:
            OSError: the system does not let us; no group is left then.
        """
        with self._making:
            for tries in reversed(range(_TRIES)):
                if self._over:
                    return
                self.folder.mkdir()
                try:
                    self._fill(pid)
                except BaseException:  # whatever it is, no empty group is left
                    taken = not self.folder.exists()
                    _removed(self.folder)
                    if not taken or not tries:
                        raise
                else:
                    return

    def _fill(self, pid: int | None) -> None:
        for file, text in self._limits.items():
            (self.folder / file).write_text(text)
        # Without swap, or the limit were one of how much is in memory at a time.
        if "memory.max" in self._limits and (self.folder / "memory.swap.max").exists():
            (self.folder / "memory.swap.max").write_text("0")
        if pid is not None:
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
        """Whether a process in it was killed because the group had no memory left.

        Who is killed because a group above it or the machine has none is another matter.
        """
        with contextlib.suppress(OSError, ValueError):
            words = (self.folder / "memory.events").read_text().split()
            events = dict(zip(words[::2], map(int, words[1::2]), strict=True))
            return events.get("oom", 0) > 0 and events.get("oom_kill", 0) > 0
        return False

    async def remove(self) -> bool:
        """Remove it, once the processes in it are gone; whether they were in time."""
        end = time.monotonic() + REMOVED_WITHIN
        # The kernel tells nobody who waits that a group has become empty.
        while not self.remove_empty():
            if time.monotonic() > end:
                _late.append(self)
                return False
            await asyncio.sleep(_LOOK_AGAIN)
        return True

    def remove_empty(self) -> bool:
        """Remove it if no process is left in it; whether it is gone."""
        self._over = True
        if not self._making.acquire(blocking=False):
            return False
        try:
            return _removed(self.folder)
        finally:
            self._making.release()


class Groups:
    """Where groups can be made: below the group of this process.

    Args:
        folder: of that group.
        limits: what each group gets, by file.
    """

    def __init__(self, folder: Path, limits: Mapping[str, str]) -> None:
        self.folder = folder
        self.limits = limits
        self._mark = f"{_NAME}{os.getpid()}-{os.urandom(4).hex()}-"

    @classmethod
    def find(cls, limits: Mapping[str, str], proc: Path = Path("/proc/self")) -> Self | None:
        """See whether the system lets us make groups with these limits, and tidy up there.

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
            if wanted:
                _share_out(folder, wanted)
            made = cls(folder, limits)
            tried = made.make()
            tried.enter(None)
            usable = not _type(tried.folder).endswith("invalid")
        except OSError:
            return None
        tried.remove_empty()
        _tidy(folder)
        return made if usable else None

    def make(self) -> Group:
        """A group for a worker, to be entered."""
        _late[:] = [group for group in _late if not group.remove_empty()]
        return Group(self.folder / f"{self._mark}{next(_numbers)}", self.limits)


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
            "one the provider runs in, which it can change and no other process is in: in systemd, "
            "Delegate=yes; in a container, a cgroup namespace of its own that it may write to"
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
            # What lies outside of our namespace begins with "..", so nobody can tell what is where.
            if ".." in Path(root).parts + Path(path).parts or not Path(path).is_relative_to(root):
                continue
            folder = Path(point) / Path(path).relative_to(root)
            if (folder / "cgroup.procs").exists():
                return folder.parent if folder.name == _OURS else folder
    return None


def _share_out(folder: Path, wanted: set[str]) -> None:
    """See to it that groups below this one have these controllers.

    Raises:
        OSError: they cannot; nothing is changed then.
    """
    control = folder / "cgroup.subtree_control"
    missing = " ".join(f"+{name}" for name in sorted(wanted - set(control.read_text().split())))
    if not _type(folder):  # the root, which may have processes
        if missing:
            control.write_text(missing)
        return
    # Another one with processes in it shares out nothing, or what nobody can use. So we go aside.
    ours = folder / _OURS
    ours.mkdir(exist_ok=True)
    try:
        (ours / "cgroup.procs").write_text(str(os.getpid()))
        _see_that_it_is_empty(folder)
        if missing:
            control.write_text(missing)
    except OSError:
        with contextlib.suppress(OSError):  # we have never left
            (folder / "cgroup.procs").write_text(str(os.getpid()))
        with contextlib.suppress(OSError):
            ours.rmdir()
        raise


def _see_that_it_is_empty(folder: Path) -> None:
    if (folder / "cgroup.procs").read_text().strip():
        raise OSError(errno.EBUSY, "there are processes in it", str(folder))


def _type(folder: Path) -> str:
    """What kind of group it is; empty for the root of all."""
    try:
        return (folder / "cgroup.type").read_text().strip()
    except FileNotFoundError:
        return ""


def _removed(folder: Path) -> bool:
    """Remove a group with all below it, if no process is left in them; whether it is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        with contextlib.suppress(OSError):
            # What was in it may have made groups of its own.
            below = [_removed(path) for path in folder.iterdir() if path.is_dir()]
            if below and all(below):
                folder.rmdir()
                return True
        return False
    return True


def _tidy(folder: Path) -> None:
    """Remove empty groups of workers that are left there: their host was killed, with all of it.

    Whoever is about to enter such a group makes it again.
    """
    for path in folder.glob(f"{_NAME}*"):
        with contextlib.suppress(OSError):
            if "populated 0" in (path / "cgroup.events").read_text().splitlines():
                _removed(path)


_late: list[Group] = []
"""Groups whose processes had not gone in time."""
