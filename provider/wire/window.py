"""How much of a stream may be on its way before its reader has taken any of it.

The rule of this file: both ends count the same chunks. The worker stops at a full window, the host
lets nobody acknowledge what was not sent, and neither keeps the chunks themselves.
"""

from __future__ import annotations

import collections

CHUNKS = 64
"""Most chunks that are on their way at once."""
BYTES = 1024 * 1024
"""Bytes on their way from which no further chunk is sent; the last one may pass it."""


class Window:
    """What was sent of one stream and not taken yet."""

    __slots__ = ("_bytes", "_sizes")

    def __init__(self) -> None:
        self._sizes: collections.deque[int] = collections.deque()
        self._bytes = 0

    @property
    def open(self) -> bool:
        """Whether another chunk may be sent."""
        return len(self._sizes) < CHUNKS and self._bytes < BYTES

    @property
    def chunks(self) -> int:
        """Chunks on their way."""
        return len(self._sizes)

    def sent(self, size: int) -> None:
        """Count a chunk of so many bytes in."""
        self._sizes.append(size)
        self._bytes += size

    def taken(self, count: int) -> int:
        """Count chunks out, the oldest first.

        Args:
            count: how many the reader says it has taken; more than there are is all of them.

        Returns:
            How many that really were.
        """
        count = min(max(0, count), len(self._sizes))
        for _ in range(count):
            self._bytes -= self._sizes.popleft()
        return count
