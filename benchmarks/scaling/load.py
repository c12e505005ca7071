"""The load of these measurements: that of `provider bench`, and whose CPU it used.

The rule of this file: an answer that is missing, or an error, makes the run void. CPU is counted in
the same seconds as the calls, process by process, that of the NATS server and of the generator
too.

    python -m benchmarks.scaling.load     reads cells as JSON, a line each, and answers so
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import uvloop

from benchmarks.measuring.generator import Generator, answer
from benchmarks.measuring.processes import PATIENCE, cpu_seconds
from benchmarks.measuring.said import Failed
from provider import connection
from provider.bench.load import Load
from provider.bench.outcome import DURATION
from provider.bench.plan import Plan

if TYPE_CHECKING:
    from provider.bench.histogram import Histogram

WARM_UP = 0.4
"""Seconds of calls before those that are counted."""
MOST_STALLS = 200
"""How many stalls are told."""
GENERATOR = "generator"
"""What the load is called among the processes."""


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        url: of the NATS server.
        subject: that is asked.
        requests: in hexadecimal digits, sent in turn.
        in_flight: calls under way at a time.
        seconds: that are counted.
        processes: whose CPU is counted, by name.
        connections: over which the calls go.
    """

    url: str
    subject: str
    requests: list[str]
    in_flight: int
    seconds: float
    processes: dict[str, int] = field(default_factory=dict)
    connections: int = 1


@dataclass(frozen=True)
class Measured:
    """What a cell was.

    Attributes:
        calls_per_second: results in the seconds that were counted.
        latencies: percentiles in microseconds, as `p50`.
        cpu: microseconds of CPU for a call, by process.
        others: cores that everybody else on the machine used meanwhile.
        stalls: microseconds by which calls took longer than the median, for those that took twice
            as long or more; at most `MOST_STALLS` of them, evenly chosen.
        stalls_per_second: how many there were.
    """

    calls_per_second: float
    latencies: dict[str, float]
    cpu: dict[str, float]
    others: float = 0.0
    stalls: list[float] = field(default_factory=list)
    stalls_per_second: float = 0.0


class LoadGenerator(Generator):
    """The other end of the load generator's process. A context manager."""

    module = "benchmarks.scaling.load"

    def measure(self, cell: Cell) -> Measured:
        """One cell's figures.

        Raises:
            Failed: some call was not answered with a result, or a process died.
        """
        return Measured(**self.ask(cell))


async def measure(cell: Cell) -> Measured:
    """Measure one cell in this process.

    Raises:
        Failed: as `LoadGenerator.measure`.
    """
    plan = Plan(
        in_flight=cell.in_flight,
        seconds=cell.seconds,
        warm_up=WARM_UP,
        timeout=PATIENCE,
        connections=cell.connections,
    )
    load = Load(plan, cell.subject, [bytes.fromhex(each) for each in cell.requests])
    async with contextlib.AsyncExitStack() as stack:
        options = connection.NatsOptions(servers=(cell.url,))
        for line in load.lines:
            client = await connection.connect(options, name="load", wait=False, client=line.client)
            stack.push_async_callback(client.close)
        await load.listen()
        running = asyncio.create_task(load.run())
        await asyncio.sleep(WARM_UP)  # as the load does; it tells nobody when it begins to count
        before, used_before, busy_before = load.results, _cpu(cell), _busy()
        began = time.monotonic()
        # To an end that is surely before the load's own.
        await asyncio.sleep(max(cell.seconds * 0.5, cell.seconds - 0.1))
        calls, used, busy = load.results - before, _cpu(cell), _busy()
        took = time.monotonic() - began
        outcome = await running
    counted = outcome.counted
    if outcome.ended != DURATION or counted.errors or outcome.stray or not calls:
        raise Failed(
            f"{cell.subject}: {counted.counts()}, {calls} of them in time, {outcome.stray} answers "
            f"too many; it ended by {outcome.ended}"
        )
    ours = sum(used.values()) - sum(used_before.values())
    stalls = _stalls(counted.latencies)
    return Measured(
        outcome.arrived / outcome.seconds,
        {f"p{percent}": counted.latencies.percentile(percent) / 1e3 for percent in (50, 99)},
        {name: (used[name] - used_before[name]) / calls * 1e6 for name in used},
        others=max(0.0, (busy - busy_before - ours) / took),
        stalls=stalls[:: len(stalls) // MOST_STALLS + 1],
        stalls_per_second=len(stalls) / outcome.seconds,
    )


def _stalls(latencies: Histogram) -> list[float]:
    median = latencies.percentile(50)
    return [
        (bar.up_to - median) / 1e3
        for bar in latencies.bars()
        if bar.up_to >= 2 * median
        for _ in range(bar.times)
    ]


def _busy() -> float:
    """Seconds in which the cores of this machine had something to do, all together."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _wait, *rest = map(int, file.readline().split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def _cpu(cell: Cell) -> dict[str, float]:
    processes = cell.processes.items()
    return {
        GENERATOR: time.process_time(),
        **{name: cpu_seconds(process) for name, process in processes},
    }


def main() -> None:
    """Measure cells until there are no more."""
    answer(lambda cell: asdict(uvloop.run(measure(Cell(**cell)))))


if __name__ == "__main__":
    main()
