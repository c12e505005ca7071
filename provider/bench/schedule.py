"""When calls are due that keep a rate.

The rule of this file: the moment of a call follows from its number alone, so that one that is late
makes no other one late, and nothing is lost to rounding in the long run.
"""

from __future__ import annotations

from dataclasses import dataclass

_SECOND = 10**9


@dataclass(frozen=True)
class Schedule:
    """Calls at equal distances, the first at once.

    Attributes:
        rate: calls per second, above 0.
    """

    rate: float

    def due_at(self, number: int) -> int:
        """Nanoseconds from the start to the moment the call of this number is due, from 0."""
        return round(number * _SECOND / self.rate)

    def due_by(self, nanoseconds: int) -> int:
        """How many calls are due within so many nanoseconds of the start, its moment included."""
        if nanoseconds < 0:
            return 0
        # Floats may be off by one at the edge; what `due_at` says counts.
        count = int(nanoseconds * self.rate / _SECOND) + 1
        while self.due_at(count - 1) > nanoseconds:
            count -= 1
        while self.due_at(count) <= nanoseconds:
            count += 1
        return count
