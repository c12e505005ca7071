"""Latencies as a picture of text.

The rule of this file: rows are of equal ratio and end at the same numbers each time, so that a few
slow calls are seen beside many quick ones, and two pictures can be laid side by side. Every row
that has a call has a mark.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provider.bench.histogram import Histogram

MOST_ROWS = 20
_ROWS_OF_TEN = (40, 20, 10, 5, 2, 1)
"""Into how many rows of equal ratio a factor of ten is cut; the first that are not too many."""
_BLOCKS = " ▏▎▍▌▋▊▉█"


def picture(histogram: Histogram, width: int = 80) -> list[str]:
    """A row for each range of latencies: up to which, how many, and a bar.

    Args:
        histogram: with something in it.
        width: characters of a line.
    """
    counts = rows(histogram)
    most = max(count for _, count in counts)
    digits = len(str(most))
    room = max(8, width - 11 - digits - 4)
    return [
        f"{'≤ ' + time_text(up_to):>11} {count:>{digits}}  {_bar(count, most, room)}".rstrip()
        for up_to, count in counts
    ]


def rows(histogram: Histogram) -> list[tuple[float, int]]:
    """Edges in nanoseconds and how many are up to each of them, above the one before.

    The first row and the last have something in them.
    """
    high = max(1, histogram.largest)
    # A bar of the histogram goes where its end is, so no call is shown faster than it was.
    ends = [(max(1, min(bar.up_to, high)), bar.times) for bar in histogram.bars()]
    fits = (
        cut for cut in _ROWS_OF_TEN if _row(ends[-1][0], cut) - _row(ends[0][0], cut) < MOST_ROWS
    )
    cut = next(fits, 1)
    found: dict[int, int] = {}
    for end, times in ends:
        row = _row(end, cut)
        found[row] = found.get(row, 0) + times
    return [(10 ** (row / cut), found.get(row, 0)) for row in range(min(found), max(found) + 1)]


def _row(nanoseconds: int, cut: int) -> int:
    return math.ceil(math.log10(nanoseconds) * cut - 1e-9)


def time_text(nanoseconds: float) -> str:
    """Three digits and a unit, such as `1.23 ms`."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size * 0.9995:
            return f"{_digits(nanoseconds / size)} {unit}"
    return f"{nanoseconds:.0f} ns"


def _digits(number: float) -> str:
    for below, decimals in ((9.995, 2), (99.95, 1)):
        if number < below:
            return f"{number:.{decimals}f}"
    return f"{number:.0f}"


def _bar(count: int, most: int, room: int) -> str:
    if not count:
        return ""
    eighths = max(1, round(count / most * room * 8))
    return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()
