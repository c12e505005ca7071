"""How much of everything carries so many calls a second.

The rule of this file: nothing is filled to the brim. A provider is given `FILLED` of what its
busiest process can do, and what that costs and how long calls then take is played through. How busy
a process is would be no measure: one that has little to do looks for each call apart, and is at
work half of its time long before it has half of what it carries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.scaling.simulation import Scene, play

if TYPE_CHECKING:
    from benchmarks.scaling.model import Constants
    from benchmarks.scaling.simulation import Played

FILLED = 0.7
"""Share of what it can do that is asked of anything."""
MANY = 64.0
"""Cores of a machine on which a provider waits for nobody but itself."""
MOST_WORKERS = 15
"""Workers of one provider: with its host, they fill a machine of 16 cores."""


@dataclass(frozen=True)
class One:
    """What one provider carries.

    Attributes:
        handler: microseconds the function takes.
        workers: it has.
        rate: calls per second that are asked of it.
        busiest: what would not do more: `host` or `workers`.
        played: what came out at that rate.
    """

    handler: float
    workers: int
    rate: float
    busiest: str
    played: Played


@dataclass(frozen=True)
class Size:
    """What carries a rate.

    Attributes:
        rate: calls per second.
        one: a provider of those it takes.
        providers: how many.
        cores: of the providers.
        nats_cores: of the NATS servers, without what crosses between them.
    """

    rate: float
    one: One
    providers: int
    cores: float
    nats_cores: float


def one_provider(constants: Constants, handler: float) -> One:
    """What a provider carries that has as many workers as its host can feed, up to the most.

    Args:
        constants: what calls cost.
        handler: microseconds the function takes.
    """
    host = constants.costs["host"].together
    worker = constants.costs["worker"].together + handler
    workers = max(1, min(MOST_WORKERS, math.ceil(worker / host)))
    rate = FILLED * 1e6 / max(host, worker / workers)
    scene = Scene(
        rate=rate,
        workers=workers,
        cores=MANY,
        handler=handler,
        seconds=min(3.0, max(0.2, 3000 / rate)),
    )
    # Of a machine that has nothing else to do.
    played = play(scene, replace(constants, stalls=()))
    return One(handler, workers, rate, "host" if host >= worker / workers else "workers", played)


def size(rate: float, one: One, nats: float) -> Size:
    """What carries so many calls.

    Args:
        rate: calls per second.
        one: a provider of those it takes.
        nats: microseconds of a NATS server for a call.
    """
    each = one.played.cpu["host"] + one.played.cpu["worker"]
    return Size(
        rate=rate,
        one=one,
        providers=math.ceil(rate / one.rate),
        cores=rate * each / 1e6 / FILLED,
        nats_cores=rate * nats / 1e6 / FILLED,
    )
