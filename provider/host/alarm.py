"""Tells with one system call whether any of some files may look different by now.

The rule of this file: it may be wrong when it goes off, and never while it is quiet. The kernel
tells (inotify(7)) before the call returns that changes a file, so whoever saves first and calls
then finds it gone off. Where that is not certain it is not armed, and who asks has to look.

What a path leads to depends on the file, and on each folder and each link on the way; each of them
is watched for what happens to itself, and none for what happens inside. So a link that is swapped
and a folder that is moved are told, and a busy neighbour in the same folder costs nothing.

What nobody is told of: a mount laid over a folder on the way, or taken away; a folder closed to us
by its permissions, or removed with somebody still in it (which it cannot be unless `..` leads out
of it); a write by mmap until the file is closed; and what is done beneath a file system, as a
snapshot that comes back, or a write through an overlay to the folder it keeps its files in. So
whoever asks looks every so often, though all is quiet.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import stat
import weakref
from time import monotonic
from typing import TYPE_CHECKING, Any

from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

PAUSE = 0.02
"""Seconds from one arming to the next. A file that is written all the time costs a look for each
question then, as without an alarm, and fifty armings a second."""
RETRY = 1.0
"""Seconds after which it is tried again where it could not be armed."""
TELLING = frozenset(
    {
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs"),
        *("tmpfs", "ramfs", "devtmpfs"),
    }
)
"""File systems that change through this kernel only, by their names in mountinfo (proc(5)). Not
among them: what others change over a network or from outside a virtual machine, and overlay, whose
file may be another one once it has been written."""

_IN_MODIFY, _IN_ATTRIB, _IN_CLOSE_WRITE, _IN_MOVE_SELF = 0x2, 0x4, 0x8, 0x800
_IN_ONLYDIR, _IN_DONT_FOLLOW = 0x01000000, 0x02000000
# With more, a folder would tell of all that is in it. That a watch has ended with what it was on
# (IN_IGNORED) is told unasked.
_FOLDER = _IN_ONLYDIR | _IN_DONT_FOLLOW | _IN_MOVE_SELF
# A name that is removed or given to another file is told by IN_ATTRIB, as there is one link less;
# the file itself may live on. IN_CLOSE_WRITE ends a write by mmap.
_FILE = _IN_DONT_FOLLOW | _IN_MOVE_SELF | _IN_ATTRIB | _IN_MODIFY | _IN_CLOSE_WRITE
_LINKS = 40
"""Links on a way after which the kernel gives up, too (path_resolution(7))."""
_EVENTS = 16 * 1024
"""Bytes of events that are thrown away at once. If there are more, it goes off once more."""

_log = logs.get_logger(component="alarm")


class Alarm:
    """Goes off when something happens to one of some files, or to the way there."""

    def __init__(self) -> None:
        self.rings: Callable[[int], object] = _always
        """Asked with 0: something true unless it is armed and nothing has happened since. Not a
        method of ours, because that alone would take a tenth as long as the system call."""
        self._not_before = 0.0
        self._inotify: _Inotify | None = None
        self._poll: Callable[[int], object]
        self._watches: set[int] = set()
        """What is watched, in file systems that tell. A number is never given to another file."""
        self._why_not = ""

    @property
    def quiet(self) -> bool:
        """Whether it is armed and nothing has happened since."""
        return not self.rings(0)

    def arm(self, paths: Sequence[str]) -> bool:
        """Forget what has happened, and watch what these paths lead to now.

        Whoever looks at the files afterwards misses nothing: a change is in what he sees, or sets
        the alarm off. It costs a system call for each folder on the way, and more for each that is
        new, so nothing is done within `PAUSE` of the last time, or within `RETRY` if that failed.

        Args:
            paths: of regular files, absolute.

        Returns:
            Whether it is armed.
        """
        self.disarm()
        if monotonic() < self._not_before:
            return False
        why_not, now = "", dict[int, bytes]()
        try:
            self._watch(paths, now)
            self.rings = self._poll
        except OSError as error:  # no inotify, no file, no right, no word of changes, a limit
            why_not = f"{os.fsdecode(error.filename or '')}: {error.strerror}"
            self._keep(self._watches | now.keys(), set())
        if why_not not in {"", self._why_not}:
            _log.debug("files_not_watched", reason=why_not)
        self._why_not = why_not
        armed = not why_not
        self._not_before = monotonic() + (PAUSE if armed else RETRY)
        return armed

    def disarm(self) -> None:
        """Not be quiet until it is armed again."""
        self.rings = _always

    def close(self) -> None:
        """Disarm for good."""
        self.disarm()
        self._not_before = math.inf
        if self._inotify is not None:
            self._inotify.close()

    def _watch(self, paths: Sequence[str], now: dict[int, bytes]) -> None:
        """Add to `now` what is watched, and where."""
        if self._inotify is None:
            for path in paths:
                os.stat(path)  # none is opened for what is not there: to close one takes long
            self._inotify = _Inotify()
            poll = select.poll()
            poll.register(self._inotify.descriptor, select.POLLIN)
            self._poll = poll.poll
        # First: what happens from here on sets it off again.
        self._inotify.forget()
        for path in paths:
            _watch_the_way(self._inotify, os.fsencode(path), now)
        if not now:
            raise FileNotFoundError(errno.ENOENT, "no files to watch")
        if new := now.keys() - self._watches:
            _refuse_unless_telling(now[number] for number in new)
        self._keep(self._watches | now.keys(), set(now))

    def _keep(self, watches: set[int], kept: set[int]) -> None:
        """Give up the others. That it is told sets it off once more, which does no harm."""
        self._watches = kept
        for number in watches - kept:
            assert self._inotify is not None
            self._inotify.remove(number)


def _always(_timeout: int) -> bool:
    return True


class _Inotify:
    """An instance of inotify.

    One of our own: what watchdog has read and not told yet, nobody else can see.

    Raises:
        OSError: there is none to be had.
    """

    def __init__(self) -> None:
        try:
            import ctypes

            self._errno, self._libc = ctypes.get_errno, ctypes.CDLL(None, use_errno=True)
            descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        except (ImportError, AttributeError) as error:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), b"inotify") from error
        self.descriptor = self._checked(descriptor, b"inotify")
        self.close = weakref.finalize(self, os.close, self.descriptor)
        """Closes it, once; at the latest when nobody knows it any more."""
        self.close.atexit = False

    def add(self, path: bytes, mask: int) -> int:
        """Watch a file; its number, which is the same for the same file, however it is reached."""
        return self._checked(self._libc.inotify_add_watch(self.descriptor, path, mask), path)

    def remove(self, number: int) -> None:
        """Watch a file no longer, which may have gone."""
        self._libc.inotify_rm_watch(self.descriptor, number)

    def forget(self) -> None:
        """Throw away what has been told."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, _EVENTS)

    def _checked(self, result: Any, path: bytes) -> int:
        if result < 0:
            number = self._errno()
            raise OSError(number, os.strerror(number), path)
        return int(result)


def _watch_the_way(inotify: _Inotify, path: bytes, watched: dict[int, bytes]) -> None:
    """Watch each folder and link on the way and the file at the end, in the order the kernel goes.

    Each is watched before it is read, and after all before it. Suppose nothing has been told when
    the end is reached. Then the first has been in its place since it was watched; so the second was
    looked for in the right place, and has been there since; and so on. So what is watched is the
    way that is gone. What was swapped in the meantime has set the alarm off.

    The root is not watched: nobody can move it, and what is below it may be on other disks.

    Args:
        inotify: what watches.
        path: the way.
        watched: to which what is watched is added, and where it is, by a path without links.

    Raises:
        OSError: as the kernel has it, or the path does not end at a file.
    """
    if not path.startswith(b"/"):
        raise OSError(errno.EINVAL, "not an absolute path", path)
    place, ahead, links = b"", path.split(b"/")[::-1], 0
    while ahead:
        name = ahead.pop()
        if name in {b"", b"."}:
            continue
        if name == b"..":
            place = place.rpartition(b"/")[0]
            continue
        here = place + b"/" + name
        try:
            watched[inotify.add(here, _FOLDER)] = here
        except NotADirectoryError:
            watched[inotify.add(here, _FILE)] = here
        else:
            place = here
            continue
        try:
            target = os.readlink(here)
        except OSError as error:
            if error.errno == errno.EINVAL and not ahead:
                return  # no link: the file
            raise
        links += 1
        if links > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        place = b"" if target.startswith(b"/") else place
        ahead += target.split(b"/")[::-1]
    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)


def _refuse_unless_telling(places: Iterable[bytes]) -> None:
    """Raise `OSError` unless all that happens to these is told.

    By the mounts they are in, since of 9p statfs(2) says what the other side says of itself.
    """
    mounts = {_mount(place): place for place in places}
    with open("/proc/self/mountinfo", "rb") as lines:
        systems = {
            line.partition(b" ")[0]: os.fsdecode(line.partition(b" - ")[2].partition(b" ")[0])
            for line in lines
        }
    for mount, place in mounts.items():
        system = systems.get(mount, "an unknown file system")
        if system not in TELLING:
            raise OSError(errno.EOPNOTSUPP, f"{system} does not tell of all changes", place)


def _mount(place: bytes) -> bytes:
    """The number of the mount something is in, as proc(5) has it; empty where it is not told."""
    descriptor = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind not in {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}:
            raise OSError(errno.EINVAL, "neither file nor folder nor link", place)
        with open(f"/proc/self/fdinfo/{descriptor}", "rb") as lines:
            told = dict(line.split(b":", 1) for line in lines if b":" in line)
            return told.get(b"mnt_id", b"").strip()
    finally:
        os.close(descriptor)
