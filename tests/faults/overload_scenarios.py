"""What comes faster than it can be done.

The rule of this file: who is taken waits no longer than the queue is long, and who is not is told
so at once. What a flood does is compared to what the same provider did the moment before.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provider.errors import Overloaded
from tests.faults.greedy import Greedy
from tests.faults.nats_scenarios import through_proxy
from tests.faults.scenario import OTHERS, Scenario

if TYPE_CHECKING:
    from tests.faults.scenario import Field
    from tests.proxy import Proxy

QUEUE = 100
"""Calls that may wait."""
FLOOD = 4000.0
"""Calls a second; more than ten times what can be done, and what other tests leave room for."""
GROWTH = 48 << 20
"""Most bytes by which the host's memory grows meanwhile."""
MOST_HELD = 100 << 20
"""Most bytes of answers that wait: those of all calls that a worker has in hand then."""
ANSWER = 400_000
"""Bytes of an answer that is held up."""
SLACK = 1.0
"""Seconds a machine that has other things to do may add to anything."""

SLOWLY = """
import time


def handle(command, number):
    note(number)
    time.sleep(0.003)
    return right(number)
"""


def memory(process: int) -> int:
    """Bytes of it that are in memory."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def _flood(field: Field) -> None:
    """As much as there is room for, and then more than ten times what can be done."""
    load = field.load
    await field.go_on(500, 600)
    calm = load.count.worst.pop("result")
    before = memory(field.provider.pid)
    load.rate, load.in_flight = FLOOD, 50_000
    load.begin()
    field.did["flooded"] += 1
    async with field.provider.connect(
        lattice=field.lattice, key="python", name=field.lattice
    ) as python:
        again_after = []
        while await field.go_on(50, 100):
            try:
                await python.call("work", OTHERS + field.did["asked among them"])
            except Overloaded as error:
                again_after.append(error.retry_after_ms or 0)
            field.did["asked among them"] += 1
    assert again_after, "nobody was turned away"
    assert all(0 < pause <= 5000 for pause in again_after), f"come back in {again_after} ms"
    grown = memory(field.provider.pid) - before
    assert grown <= GROWTH, f"the host grew by {grown >> 20} MiB"
    flooded = load.count.worst["result"]
    most = 5 * calm + SLACK
    assert flooded <= most, f"calls took {flooded:.2f} s, {calm:.2f} s before the flood"
    told = load.count.worst["overloaded"]
    assert told <= most, f"it took {told:.2f} s to be told that the queue is full"
    sent, taken = load.count.sent, load.count.taken
    assert sent >= 20_000, f"{sent} calls are no flood"
    assert sent >= 5 * taken, f"{taken} of {sent} calls were taken: the flood was too small"


def large(size: int) -> str:
    """A program that has so many bytes for callers who are not the load."""
    return f"""
def handle(command, number):
    note(number)
    return bytes({size}) if number >= {OTHERS} else right(number)
"""


async def _hold_answers_up(field: Field) -> None:
    """NATS takes next to nothing for a while, and answers are large."""
    proxy: Proxy = field.beside
    before = memory(field.provider.pid)
    numbers = itertools.count(OTHERS)
    async with contextlib.AsyncExitStack() as stack:
        # Two, because a server cuts off who has more than 64 MiB to read.
        clients = [
            await stack.enter_async_context(
                field.provider.connect(
                    lattice=field.lattice, key="python", name=field.lattice, timeout=60
                )
            )
            for _ in range(2)
        ]

        def call(many: int) -> list[asyncio.Future[Any]]:
            return [
                asyncio.ensure_future(python.call("work", next(numbers)))
                for python in clients
                for _ in range(many)
            ]

        while await field.go_on(2000, 4000):
            proxy.slow("up", 1000)
            field.did["held up"] += 1
            calls = call(110)
            await field.logged("answers_wait", field.did["held up"])
            calls += call(20)
            await asyncio.sleep(0.5)  # in which the host must not grow; nothing tells of that
            grown = memory(field.provider.pid) - before
            assert grown <= MOST_HELD + GROWTH, f"the host grew by {grown >> 20} MiB"
            proxy.slow("up", None)
            answers = await asyncio.gather(*calls, return_exceptions=True)
            turned_away = sum(isinstance(each, Overloaded) for each in answers)
            right = sum(each == bytes(ANSWER) for each in answers)
            assert right + turned_away == len(answers), {repr(each)[:100] for each in answers}
            assert turned_away, "nobody was turned away"
            field.did["turned away"] += turned_away
            await field.logged("answers_wait_no_longer", field.did["held up"])
    assert not field.provider.events("answers_not_sent"), "answers were lost"


async def _with_little_patience(field: Field) -> None:
    await field.replace_server(
        'max_payload: 64KB\nmax_pending: 256KB\nwrite_deadline: "1s"\n'
        # Otherwise a server holds up who answers, for as long as who is answered does not read.
        "no_fast_producer_stall: true\n"
    )


async def _be_greedy(field: Field) -> None:
    await field.go_on(500, 1000)
    greedy = Greedy(field.nats.port, field.subject)
    field.also.callback(greedy.close)
    while await field.go_on(500, 1000):
        field.did["cut off"] = greedy.cut
    await asyncio.to_thread(greedy.close)
    assert not field.provider.events("nats_disconnected"), "the provider was cut off as well"


SCENARIOS = [
    Scenario(
        "queue flooded",
        _flood,
        program=SLOWLY,
        settings={"PROVIDER_QUEUE_CALLS": str(QUEUE)},
        errors=frozenset({"overloaded"}),
        calls=2500,
        in_flight=QUEUE,
        at_least={"flooded": 1},
    ),
    Scenario(
        "answers held up",
        _hold_answers_up,
        before=through_proxy,
        program=large(ANSWER),
        errors=frozenset({"overloaded"}),
        timeout=60.0,
        at_least={"held up": 3},
        long=True,
    ),
    Scenario(
        "a caller does not read",
        _be_greedy,
        before=_with_little_patience,
        program=large(30_000),
        errors=frozenset({"overloaded"}),
        at_least={"cut off": 1},
    ),
]
