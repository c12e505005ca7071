"""What one call costs each process, as constants.

The rule of this file: a process that finds work takes all of it at once. So its cost is so much for
each time it looks, and so much for each call it finds; the first is what calls that come together
share. Both are read off two measurements: one call at a time, and so many that nobody ever waits
for work. What else goes on in the machine is read off the first, in which nobody waits for us.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.scaling.load import Measured

LOOKS = {"generator": 1, "nats": 2, "host": 2, "worker": 1}
"""The processes on the way of a call, and how often it comes to each: asked, and answered."""
HOPS = sum(LOOKS.values())


@dataclass(frozen=True)
class Cost:
    """What a process costs, in microseconds of CPU.

    Attributes:
        look: each time it finds work, however much.
        call: each time a call comes to it.
        looks: how often one does.
    """

    look: float
    call: float
    looks: int

    @property
    def alone(self) -> float:
        """A call that comes alone."""
        return self.looks * (self.look + self.call)

    @property
    def together(self) -> float:
        """A call that comes with many."""
        return self.looks * self.call


@dataclass(frozen=True)
class Constants:
    """What was measured.

    Attributes:
        costs: by process.
        wake: microseconds from the moment work comes to a process that sleeps until it runs.
        stalls: microseconds for which a process stood still at work, as often as they were seen.
        stalls_per_second: how many of them come in a second of work.
    """

    costs: dict[str, Cost]
    wake: float
    stalls: tuple[float, ...] = ()
    stalls_per_second: float = 0.0

    @property
    def provider(self) -> float:
        """Microseconds of host and worker for a call that comes with many."""
        return self.costs["host"].together + self.costs["worker"].together


def fitted(alone: Measured, together: Measured) -> Constants:
    """The constants that explain both.

    Args:
        alone: one call in flight.
        together: as many as the machine can use.
    """
    costs: dict[str, Cost] = {}
    for name, looks in LOOKS.items():
        most, least = alone.cpu[name] / looks, together.cpu[name] / looks
        costs[name] = Cost(max(0.0, most - least), min(most, least), looks)
    # The generator looks at the clock before it works on answers, and after it has made calls.
    worked = sum(cost.alone for name, cost in costs.items() if name != "generator")
    return Constants(
        costs,
        wake=max(0.0, (alone.latencies["p50"] - worked) / HOPS),
        stalls=tuple(alone.stalls),
        stalls_per_second=alone.stalls_per_second,
    )
