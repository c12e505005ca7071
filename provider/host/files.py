"""The files a program is made of, and whether they are still what was loaded.

The rule of this file: it looks, and decides nothing. A change counts once: what was compared is
noted, so that the reload it leads to is not asked for again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import Any

from provider.wire.signature import Signature, signature

Look = list[Signature | None]
"""What several files look like; None for one that cannot be seen."""


class ProgramFiles:
    """What is known of the files of the program that serves.

    Args:
        contents: whether it is noted what they hold, too.
    """

    def __init__(self, *, contents: bool = False) -> None:
        self.all: list[str] = []
        """Every file the worker reads."""
        self.told_of_change = False
        """Whether the watcher has told of a change that no reload was asked for yet."""
        self._programs: list[str] = []
        self._seen: Look = []
        """Of each of `_programs`, as it was when a reload was last asked for."""
        self._contents: dict[str, bytes] | None = {} if contents else None
        """What each of `all` held then, as a hash."""

    def changed(self) -> bool:
        """Whether a reload is due, which then counts as asked for.

        The program's own files are compared, a system call for each; of all others the watcher
        tells.
        """
        changed, self.told_of_change = self.told_of_change, False
        for index, path in enumerate(self._programs):
            now = _look(path)
            if now != self._seen[index]:
                self._seen[index] = now
                changed = True
        return changed

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
        self._programs = programs
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
