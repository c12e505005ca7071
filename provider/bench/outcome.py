"""What came of a load.

The rule of this file: it holds what was found, and judges nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provider.bench.tally import Tally

DURATION, INTERRUPTED, NOBODY, LOST = "duration", "interrupted", "no_answer", "connection_lost"
"""Why a load ended."""


@dataclass(frozen=True)
class Outcome:
    """What came of a load.

    Attributes:
        ended: why, one of the four words above.
        seconds: that were counted.
        counted: calls that were due in them.
        before: the first call, and those of the warm-up.
        arrived: results that came within those seconds, whenever their calls were due.
        not_sent: calls that were due in them and did not leave, because too many were open.
        late: answers to calls that had been given up.
        stray: answers nobody waited for; there must be none.
        busy: share of the time in which the generator itself was at work, 1 for all of it.
    """

    ended: str
    seconds: float
    counted: Tally
    before: Tally
    arrived: int
    not_sent: int
    late: int
    stray: int
    busy: float
