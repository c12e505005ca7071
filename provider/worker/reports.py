"""What functions say of how far they are, on its way to the host.

The rule of this file: nobody waits for it. The newest word of a call wins; of the words before it,
about ten a second leave. One that comes too early, or finds the link busy, is kept for the
attendant, who looks twenty times a second; the last one of a stream goes before its end.
"""

from __future__ import annotations

import os
import threading
from time import monotonic
from typing import TYPE_CHECKING

from provider.wire.frames import FrameType, frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider.wire.advance import Advance

PAUSE = 0.1
"""Seconds between two words of the same call."""
REMEMBERED = 256
"""Calls whose last word is remembered; the oldest are forgotten first."""

_PROGRESS = int(FrameType.PROGRESS)


class Reports:
    """Takes the words of all calls.

    Args:
        offer: sends a frame if that takes no waiting, and says whether it did.
    """

    def __init__(self, offer: Callable[[bytes], bool]) -> None:
        self._offer = offer
        # A handler of signals may report in the middle of a report.
        self._lock = threading.RLock()
        self._sent: dict[int, float] = {}
        self._kept: dict[int, bytes] = {}
        self._process = os.getpid()

    def report(self, number: int, told: Advance) -> None:
        """Send what call `number` says, now or soon."""
        from provider.wire.advance import write_advance

        if os.getpid() != self._process:
            return  # of a child that user code forked, which has no link
        with self._lock:
            self._kept[number] = frame(_PROGRESS, number, write_advance(told))
            if len(self._kept) > REMEMBERED:
                del self._kept[next(iter(self._kept))]
            self._send_if_due(number, monotonic())

    def remind(self) -> None:
        """Send what is kept and due."""
        if not self._kept:
            return
        now = monotonic()
        with self._lock:
            for number in list(self._kept):
                self._send_if_due(number, now)

    def last(self, number: int) -> bytes:
        """The word that is still kept of a call that ends, as a frame; often nothing."""
        if not (self._kept or self._sent):
            return b""
        with self._lock:
            self._sent.pop(number, None)
            return self._kept.pop(number, b"")

    def _send_if_due(self, number: int, now: float) -> None:
        if now - self._sent.get(number, -PAUSE) < PAUSE or not self._offer(self._kept[number]):
            return
        del self._kept[number]
        self._sent[number] = now
        if len(self._sent) > REMEMBERED:
            del self._sent[next(iter(self._sent))]
