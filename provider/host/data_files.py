"""Files the code reads beside its modules, such as models: newer ones have it loaded again.

The rule of this file: contents decide, not times, and they are read beside the calls. A file that
is gone is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING

from provider.host.watch import Watch
from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PIECE = 1 << 20
"""Bytes that are read at a time; between two of them the end is noticed."""

_log = logs.get_logger(component="watch")


class DataFiles:
    """Watches files that are no modules.

    Args:
        files: their paths.
        on_change: called in the event loop when one of them holds something else.
        poll: as of `Watch`.
    """

    def __init__(
        self, files: Iterable[str], on_change: Callable[[], None], poll: float = 0.0
    ) -> None:
        self._files = list(files)
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._watch = Watch(self._changed.set, poll)
        self._closed = False
        self._work: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to watch. What the code reads from now on is what counts as known."""
        if self._files:
            self._watch.files(self._files)
            self._work = asyncio.get_running_loop().create_task(self._follow())

    def close(self) -> None:
        """Stop watching."""
        self._closed = True
        self._watch.close()
        if self._work is not None:
            self._work.cancel()

    async def _follow(self) -> None:
        known = await asyncio.to_thread(self._look)
        while True:
            await self._changed.wait()
            self._changed.clear()
            now = await asyncio.to_thread(self._look)
            newer = sorted(path for path, held in now.items() if known.get(path) != held)
            known |= now
            if newer:
                _log.info("data_changed", files=newer)
                self._on_change()

    def _look(self) -> dict[str, bytes]:
        """What those hold that can be read, as hashes."""
        return {path: held for path in self._files if (held := self._hash(path))}

    def _hash(self, path: str) -> bytes:
        digest = hashlib.sha256()
        with contextlib.suppress(OSError), open(path, "rb") as file:
            while not self._closed and (piece := file.read(PIECE)):
                digest.update(piece)
            return digest.digest()
        return b""
