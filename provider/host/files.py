"""The files a program is made of, and whether they are still what was loaded.

The rule of this file: it looks, and decides nothing. A change counts once: what was compared is
noted, so that the reload it leads to is not asked for again.

While calls come one upon the other, an alarm tells whether there is anything to look at.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from time import monotonic
from typing import Any

from provider.host.alarm import Alarm
from provider.wire.signature import Signature, signature

TRUSTED = 0.1
"""Seconds after a look for which the alarm is taken at its word; it is not told of everything."""

Look = list[Signature | None]
"""What several files look like; None for one that cannot be seen."""


class ProgramFiles:
    """What is known of the files of the program that serves.

    Args:
        contents: whether it is noted what they hold, too.
        watching: whether `changed` is going to be asked.
    """

    def __init__(self, *, contents: bool = False, watching: bool = True) -> None:
        self.all: list[str] = []
        """Every file the worker reads."""
        self.told_of_change = False
        """Whether the watcher has told of a change that no reload was asked for yet."""
        self._programs: list[str] = []
        self._seen: Look = []
        """Of each of `_programs`, as it was when a reload was last asked for."""
        self._contents: dict[str, bytes] | None = {} if contents else None
        """What each of `all` held then, as a hash."""
        self._watching = watching
        self._alarm = Alarm()
        self._trusted_until = 0.0

    def changed(self) -> bool:
        """Whether a reload is due, which then counts as asked for.

        Whether the program's own files were changed is seen here; of all others the watcher tells.
        They are compared, a system call for each, unless that was done less than `TRUSTED` ago and
        the alarm is quiet, which takes one for all.
        """
        changed, self.told_of_change = self.told_of_change, False
        now, armed = monotonic(), False
        # Calls that come seldom find it expired, and ask no alarm.
        if now < self._trusted_until:
            if not self._alarm.rings(0):
                return changed
            # Before the look, so that what is saved between the two is not lost.
            armed = self._alarm.arm(self._programs)
        self._trusted_until = now + TRUSTED
        for index, path in enumerate(self._programs):
            look = _look(path)
            if look != self._seen[index]:
                self._seen[index] = look
                changed = True
                if not armed:
                    # Untold, it may be another way now, as under a new mount.
                    self._alarm.disarm()
        return changed

    def close(self) -> None:
        """Let go of what the system has been asked to watch; looks go on."""
        self._alarm.close()

    @property
    def outdated(self) -> bool:
        """Whether a reload is due, as far as can be seen."""
        return self.told_of_change or list(map(_look, self._programs)) != self._seen

    def look(self) -> Look:
        """What each of `all` looks like now."""
        return list(map(_look, self.all))

    def take(self, told: dict[str, Any]) -> None:
        """Note which files the worker reads; what they looked like only where we never looked.

        Args:
            told: as `worker.loader.Loaded.as_map` has it.

        Raises:
            ValueError: it is not; a worker that told so is none to listen to.
        """
        read = {_path(entry[0]): (entry[1], entry[2], entry[3]) for entry in told.get("files", ())}
        programs = [_path(path) for path in told.get("programs", ())]
        known = dict(zip(self._programs, self._seen, strict=True))
        self._seen = [
            known[path] if path in known else read.get(path) or _look(path) for path in programs
        ]
        if programs != self._programs:
            self._programs = programs
            self._trusted_until = 0.0  # these have not been compared yet
            if self._watching:
                self._alarm.arm(programs)
        self.all = sorted({*read, *programs})
        if self._contents is not None:
            for path, look in read.items():
                # What has changed since it was read counts as changed.
                if path not in self._contents and (held := _hash(path)) and _look(path) == look:
                    self._contents[path] = held

    def same_contents(self) -> bool:
        """Whether all hold what they held when this was last asked, or when they were loaded."""
        now = {path: held for path in self.all if (held := _hash(path))}
        same = now == self._contents and len(now) == len(self.all)
        self._contents = now
        return same

    def join(self, told: dict[str, Any], *, alone: bool) -> None:
        """Note what a worker read that has just been started.

        Args:
            told: as of `take`.
            alone: whether no other worker serves. Where others do, and read something else, a
                reload is due for all; those that are up to date do nothing then.
        """
        before = dict(zip(self._programs, self._seen, strict=True))
        self._programs, self._seen = [], []
        self._contents = None if self._contents is None else {}
        self.take(told)
        now = zip(self._programs, self._seen, strict=True)
        if not alone and any(path in before and before[path] != look for path, look in now):
            self.told_of_change = True


def _path(told: object) -> str:
    path = str(told)
    if "\0" in path:  # the system has no words about such a path but an exception, later
        raise ValueError(f"a path with an embedded null byte: {path!r:.100}")
    return path


def _look(path: str) -> Signature | None:
    try:
        return signature(os.stat(path))
    except OSError:
        return None


def _hash(path: str) -> bytes:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
    return b""
