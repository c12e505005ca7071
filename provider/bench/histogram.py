"""How long things took, all of them, in little memory.

The rule of this file: nothing is sampled and nothing forgotten. A duration is kept with an error of
at most one part in 128; smallest, largest and sum are exact.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_BITS = 7
_EXACT = 2 << _BITS
LONGEST = (1 << 40) - 1
"""Nanoseconds of the longest duration that is told from longer ones, 18 minutes."""


class Bar(NamedTuple):
    """Those of about the same length.

    Attributes:
        above: nanoseconds; all of them took longer, or it is 0.
        up_to: nanoseconds; none took longer.
        times: how many.
    """

    above: int
    up_to: int
    times: int


class Histogram:
    """Durations in nanoseconds, counted by their first eight binary digits."""

    __slots__ = ("_counts", "count", "largest", "smallest", "total")

    def __init__(self) -> None:
        self._counts = [0] * (_index(LONGEST) + 1)
        self.count = 0
        """How many were recorded."""
        self.total = 0
        """Nanoseconds of all of them."""
        self.smallest = 0
        self.largest = 0

    def record(self, nanoseconds: int) -> None:
        """Count one. Negative ones are taken as 0: a clock has no smaller step."""
        nanoseconds = max(nanoseconds, 0)
        # As `_index`, which is a call too many here.
        if nanoseconds < _EXACT:
            self._counts[nanoseconds] += 1
        elif nanoseconds > LONGEST:
            self._counts[-1] += 1
        else:
            shift = nanoseconds.bit_length() - _BITS - 1
            self._counts[(shift << _BITS) + (nanoseconds >> shift)] += 1
        if not self.count or nanoseconds < self.smallest:
            self.smallest = nanoseconds
        self.largest = max(self.largest, nanoseconds)
        self.count += 1
        self.total += nanoseconds

    def percentile(self, percent: float) -> int:
        """Nanoseconds within which so many percent of them were; 0 when there are none.

        It is never below the true one, and above by one part in 128 at most.
        """
        if not self.count:
            return 0
        wanted = max(1, math.ceil(self.count * percent / 100))
        reached = enumerate(itertools.accumulate(self._counts))
        index = next(index for index, seen in reached if seen >= wanted)
        return max(self.smallest, min(self._up_to(index), self.largest))

    @property
    def mean(self) -> float:
        """Nanoseconds; 0 when there are none."""
        return self.total / self.count if self.count else 0.0

    def bars(self) -> Iterator[Bar]:
        """Those that are not empty, shortest first."""
        above = 0
        for index, count in enumerate(self._counts):
            up_to = self._up_to(index)
            if count:
                yield Bar(above, up_to, count)
            above = up_to

    def _up_to(self, index: int) -> int:
        if index == len(self._counts) - 1:
            return max(LONGEST, self.largest)
        return _last_of(index)


def _index(nanoseconds: int) -> int:
    if nanoseconds < _EXACT:
        return nanoseconds
    shift = nanoseconds.bit_length() - _BITS - 1
    return (shift << _BITS) + (nanoseconds >> shift)


def _last_of(index: int) -> int:
    """The longest duration that is counted there."""
    if index < _EXACT:
        return index
    shift = (index >> _BITS) - 1
    return ((index - (shift << _BITS) + 1) << shift) - 1
