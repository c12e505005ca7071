"""How many calls may be in the house, and who is turned away.

The rule of this file: what is accepted is counted until it is answered, in calls and in bytes, and
what does not fit is told so at once with a time to come back. Nothing is dropped. The numbers here
are the provider's accounting: accepted calls are answered calls plus those still open.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from typing import TYPE_CHECKING

from provider.errors import CallError, Overloaded, TooLarge

if TYPE_CHECKING:
    from provider.host.call import Call

SHORTEST_RETRY, LONGEST_RETRY = 10, 5_000
"""Milliseconds a caller who is turned away may be asked to wait."""
BUCKETS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Seconds up to which answered calls are counted together."""


class Admission:
    """Counts calls in and out.

    Args:
        calls: most calls that wait or run.
        size: most bytes of their payloads together.
    """

    def __init__(self, calls: int, size: int) -> None:
        self._most_calls = self._usual_calls = calls
        self._most_bytes = size
        self._crowded = ""
        self.open = 0
        self.bytes = 0
        self.accepted = 0
        self.answered = 0
        self.seconds = 0.0
        """Time from arrival to answer, summed over all answered calls."""
        self.durations = [0] * (len(BUCKETS) + 1)
        """Answered calls by the bucket of `BUCKETS` their time falls into."""
        self.rejected: dict[str, int] = {}
        """Calls turned away, by kind."""
        self.errors: dict[str, int] = {}
        """Calls answered with an error, refused ones included, by kind."""
        self.last_error = ""
        self._empty: asyncio.Event | None = None

    @property
    def most_calls(self) -> int:
        """How many may be open, as a rule."""
        return self._usual_calls

    def admit(self, call: Call) -> CallError | None:
        """Count the call in, or say why not."""
        size = len(call.payload)
        if self.open >= self._most_calls or self.bytes + size > self._most_bytes:
            return self._refusal(size)
        self.open += 1
        self.bytes += size
        self.accepted += 1
        return None

    def leave(self, call: Call, error: CallError | None) -> None:
        """Count an accepted call out."""
        self.open -= 1
        self.bytes -= len(call.payload)
        self.answered += 1
        seconds = time.monotonic() - call.received
        self.seconds += seconds
        self.durations[bisect_left(BUCKETS, seconds)] += 1
        if error is not None:
            self._count(error)
        if self._empty is not None and self.open == 0:
            self._empty.set()

    def refused(self, error: CallError) -> None:
        """Count a call that was turned away."""
        self.rejected[error.kind] = self.rejected.get(error.kind, 0) + 1
        self._count(error)

    def crowd(self, reason: str) -> None:
        """Turn everybody away for this reason; empty to do so no longer."""
        self._crowded = reason
        self._most_calls = 0 if reason else self._usual_calls

    async def empty(self) -> None:
        """Wait until no accepted call is open."""
        while self.open:
            if self._empty is None or self._empty.is_set():
                self._empty = asyncio.Event()
            await self._empty.wait()

    def _refusal(self, size: int) -> CallError:
        if size > self._most_bytes:
            return TooLarge(
                f"the payload has {size} bytes; the whole queue holds {self._most_bytes} "
                "(PROVIDER_QUEUE_BYTES)"
            )
        if self._crowded:
            return Overloaded(self._crowded, retry_after_ms=LONGEST_RETRY // 5)
        if self.open >= self._most_calls:
            full = f"{self.open} calls of {self._most_calls} (PROVIDER_QUEUE_CALLS)"
        else:
            full = f"{self.bytes} bytes of {self._most_bytes} (PROVIDER_QUEUE_BYTES)"
        return Overloaded(f"the queue is full: {full}", retry_after_ms=self._retry_after())

    def _count(self, error: CallError) -> None:
        self.errors[error.kind] = self.errors.get(error.kind, 0) + 1
        self.last_error = f"{error.kind}: {error.message}"

    def _retry_after(self) -> int:
        """Milliseconds in which about a tenth of the queue will be done, at the pace so far."""
        pace = self.seconds / self.answered if self.answered else 0.1
        return min(LONGEST_RETRY, max(SHORTEST_RETRY, int(pace * 100)))
