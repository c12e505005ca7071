"""The user a worker runs as, where that is another one than the host's.

The rule of this file: who cannot be become is found before a worker is started, and so is the file
he may not read. Only root may become another user; the groups are those the system has for him.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provider.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KNOB = "PROVIDER_WORKER_USER"


@dataclass(frozen=True)
class WorkerUser:
    """Whom a worker's process belongs to.

    Attributes:
        name: as a person would say it.
        uid: number of the user.
        gid: number of his group.
        groups: of all the groups he is in.
        home: his home folder.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str

    @classmethod
    def find(cls, text: str) -> WorkerUser | None:
        """The user somebody asks for.

        Args:
            text: a name, or a number; and after a colon a group, by name or number.

        Returns:
            None where we are that user already.

        Raises:
            StartError: there is no such user or group, or we may not become him.
        """
        user, colon, group = text.partition(":")
        try:
            known = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        except KeyError:
            known = None
        if known is None and not user.isdecimal():
            raise StartError(f"{KNOB} names the user {user!r}, whom this system does not know")
        uid = int(user) if known is None else known.pw_uid
        if colon:
            gid = _group(group)
        elif known is not None:
            gid = known.pw_gid
        else:
            raise StartError(
                f"{KNOB} names the user number {uid}, whom this system does not know; say his "
                f"group, too, as in {uid}:{uid}"
            )
        if (uid, gid) == (os.geteuid(), os.getegid()):
            return None
        if os.geteuid() != 0:
            raise StartError(
                f"{KNOB} names {text}, and only root may run a worker as another user; start the "
                "provider as root, or as that user without this setting"
            )
        name = user if known is None else known.pw_name
        groups = (gid,) if known is None else tuple(os.getgrouplist(name, gid))
        return cls(name, uid, gid, groups, "/" if known is None else known.pw_dir)

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """An environment that fits him, made from ours."""
        return {**environ, "HOME": self.home, "USER": self.name, "LOGNAME": self.name}

    def check(self, python: str, files: Iterable[str]) -> None:
        """See whether he may read what the worker needs, by the bits of owner, group and others.

        Args:
            python: the interpreter.
            files: other files and folders.

        Raises:
            StartError: he may not; the text names where it ends.
        """
        for path in (python, *files):
            closed = self._closed(Path(path))
            if closed:
                raise StartError(
                    f"{KNOB} is {self.name}, who may not read {path}: {closed} is closed to him"
                )

    def _closed(self, path: Path) -> str:
        """What keeps him from reading it, empty for nothing."""
        real = path.resolve()
        for folder in (*reversed(path.parents), *reversed(real.parents)):
            if not self._may(folder, stat.S_IXOTH):
                return str(folder)
        return "" if self._may(real, stat.S_IROTH) else str(real)

    def _may(self, path: Path, bit: int) -> bool:
        try:
            told = path.stat()
        except OSError:
            return True  # others tell that it is not there
        if self.uid == 0:
            return True
        if told.st_uid == self.uid:
            bit <<= 6
        elif told.st_gid in self.groups or told.st_gid == self.gid:
            bit <<= 3
        if told.st_mode & bit:
            return True
        # Who was let in by name is not seen in the bits; the mask of such lists is where the
        # group's bits are.
        return _has_list(path)


def _group(text: str) -> int:
    if text.isdecimal():
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise StartError(
            f"{KNOB} names the group {text!r}, which this system does not know"
        ) from None


def _has_list(path: Path) -> bool:
    """Whether a file has an access control list, which says more than its bits."""
    try:
        return "system.posix_acl_access" in os.listxattr(path)
    except (AttributeError, OSError):
        return False
