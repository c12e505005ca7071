"""Files changed: watchdog's events, thinned to "look again".

The rule of this file: it says that something may have changed, never what. Whoever is told compares
contents. So a touched file, our own reading, bytecode and an editor's temporary files cost a look
and no reload, and a rename-save or a swapped symlink is seen whatever the events call it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from watchdog.events import (
    EVENT_TYPE_CLOSED_NO_WRITE,
    EVENT_TYPE_OPENED,
    FileSystemEvent,
    FileSystemEventHandler,
)

from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from watchdog.observers.api import BaseObserver, ObservedWatch

QUIET = 0.05
"""Seconds without an event before the change is told: editors write in several steps."""

_READING = frozenset({EVENT_TYPE_OPENED, EVENT_TYPE_CLOSED_NO_WRITE})
_log = logs.get_logger(component="watch")


class Watch(FileSystemEventHandler):
    """Watches the folders of some files.

    Args:
        on_change: called in the event loop after a change and a quiet moment.
        poll: seconds between two looks at the folders, where the system says nothing of changes,
            as on network disks; 0 to have the system say it.
    """

    def __init__(self, on_change: Callable[[], None], poll: float = 0.0) -> None:
        self._on_change = on_change
        self._poll = poll
        self._loop = asyncio.get_running_loop()
        self._observer: BaseObserver | None = None
        self._watched: dict[str, tuple[ObservedWatch, tuple[int, int]]] = {}
        """By folder, its watch and the device and inode it is on: a watch dies with its inode."""
        self._files: frozenset[str] = frozenset()
        self._timer: asyncio.TimerHandle | None = None

    def files(self, files: Iterable[str]) -> None:
        """Watch these files from now on, and no others."""
        # Folders by their real names: a watch on a link would tell of the link.
        places = {path: os.path.realpath(os.path.dirname(path)) for path in files}
        self._files = frozenset(
            os.path.join(folder, os.path.basename(path)) for path, folder in places.items()
        )
        folders = {folder: _identity(folder) for folder in places.values()}
        for folder, (_, watched) in list(self._watched.items()):
            if folders.get(folder) != watched:
                self._unwatch(folder)
        for folder, identity in folders.items():
            if folder not in self._watched and identity is not None:
                self._watch(folder, identity)

    def _watch(self, folder: str, identity: tuple[int, int]) -> None:
        try:
            if self._observer is None:
                # By now they are there, see `host.run`.
                from watchdog.observers import Observer
                from watchdog.observers.polling import PollingObserver

                observer = PollingObserver(timeout=self._poll) if self._poll else Observer()
                observer.daemon = True
                observer.start()
                self._observer = observer
            self._watched[folder] = self._observer.schedule(self, folder), identity
        except OSError as error:
            # The program's own file is compared before each call; only helpers go unseen.
            _log.warning("folder_not_watched", folder=folder, error=str(error))

    def _unwatch(self, folder: str) -> None:
        watch, _ = self._watched.pop(folder)
        assert self._observer is not None
        # The observer forgets by itself what has disappeared.
        with contextlib.suppress(KeyError):
            self._observer.unschedule(watch)

    def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def on_any_event(self, event: FileSystemEvent) -> None:
        """What watchdog calls, in its own thread."""
        if event.event_type in _READING:
            return
        for path in (event.src_path, event.dest_path):
            if path and self._concerns(os.fsdecode(path)):
                self._loop.call_soon_threadsafe(self._noticed)
                return

    def _concerns(self, path: str) -> bool:
        # A ConfigMap update swaps a link named ..data and never names a file behind it.
        return path in self._files or os.path.basename(path).startswith("..")

    def _noticed(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(QUIET, self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._on_change()


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
