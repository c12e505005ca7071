"""Connections that break: what that may cost, and what scenarios of it have in common.

The rule of this file: what core NATS loses is lost, requests on their way to a connection that
breaks; and nothing else is. Whatever the provider began is answered, unless it was the caller whose
connection broke. Where answers may have arrived without the provider knowing, they come twice.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.faults.outcome import numbers_in
from tests.faults.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.scenario import Field

AWAY = frozenset({"no_responders"})
"""What callers are told by nats-server while the provider is not there."""
CROWDED = AWAY | {"overloaded"}
"""And what they are told when all comes at once that was held back."""
PINGED = {"PROVIDER_NATS_PING": "200ms"}
"""Settings with which a server that stands still is noticed soon."""
RATE = 3500.0
"""Calls a second, so that some are on their way whenever a connection breaks."""
ON_THE_WAY = 1000
"""Most requests that one connection takes along when it breaks."""
CALM = 1.0
"""Seconds without an answer after which nothing is on its way any more."""


def breaking(
    name: str,
    disturb: Callable[[Field], Awaitable[None]],
    did: str,
    *,
    times: int = 3,
    on_the_way: int = ON_THE_WAY,
    **more: Any,
) -> Scenario:
    """A scenario in which connections of the provider break, and those of its callers do not.

    Args:
        name: of the scenario.
        disturb: breaks connections, and counts it in `Field.did`.
        did: what it counts.
        times: how often it has to happen.
        on_the_way: most requests that may be lost each time.
        more: further attributes of the scenario.
    """

    async def disturb_and_forget(field: Field) -> None:
        await disturb(field)
        await _forget_what_was_lost(field)

    def check(field: Field) -> None:
        unanswered = set(numbers_in(field.ran)) - field.load.results
        assert not unanswered, (
            f"{len(unanswered)} calls were run and not answered: {sorted(unanswered)[:5]}"
        )
        lost = field.count.cut + field.count.unanswered
        most = on_the_way * field.did[did] + field.held_back
        assert lost <= most, f"{lost} calls were lost, {most} at most could be"

    return Scenario(
        name,
        disturb_and_forget,
        errors=CROWDED,
        in_flight=20_000,
        rate=RATE,
        cut=True,
        again=True,
        at_least={did: times},
        check=check,
        **more,
    )


async def _forget_what_was_lost(field: Field) -> None:
    """When the load is over, wait for what still comes, and then for nothing more."""
    while before := field.load.open:
        await asyncio.sleep(CALM)  # nobody tells that nothing comes any more
        if field.load.open == before:
            field.load.write_off()
