"""What more of everything costs: calls that wait, operations, clients, workers, replicas.

    python -m benchmarks.growth [--quick] [--rounds 5] [--seconds 1] [--markdown FILE] [NAME]...

The rule of this file: what is told is the CPU of the provider's processes for a call, taken from
Linux, in ratios of the same round, so that a machine with other things to do makes it slower and
hardly wrong. Only of workers there is no other figure than calls per second: that wants two cores
with nothing else to do. Each aim is printed as held or missed; a call that is not answered with a
result ends the run with exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cbor2

from benchmarks.measuring.aims import Aim
from benchmarks.measuring.asked import requests_of
from benchmarks.measuring.command import command
from benchmarks.measuring.processes import Processes
from benchmarks.measuring.rounds import turned
from benchmarks.measuring.rows import start_provider
from benchmarks.measuring.said import say
from benchmarks.measuring.slow import in_loops
from benchmarks.measuring.work import FACTORIAL
from benchmarks.scaling.blocks import cpu_of
from benchmarks.scaling.load import Cell, LoadGenerator
from benchmarks.scaling.told import Told, aims, as_map, renewed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.measuring.rows import Started
    from benchmarks.scaling.load import Measured

WAITING = (1, 10, 100, 1_000, 10_000)
OPERATIONS = (1, 10, 100, 1_000)
CLIENTS = (1, 4, 16, 64)
REPLICAS = 4
IN_FLIGHT = 64
"""Calls under way where something else is varied."""
FLAT = 1.2
"""What `flat` means: so many times the cost at most."""

BUSY = """
def handle(command, arg):
    total = 0
    for number in range(arg):
        total += number * number
    return total
"""
"""A function that needs a core for some milliseconds."""
STEPS = 60_000


@dataclass(frozen=True)
class Run:
    """What every measurement needs.

    Attributes:
        processes: of the run, with a NATS server.
        load: the generator.
        rounds: of which medians are taken.
        seconds: counted in each cell.
    """

    processes: Processes
    load: LoadGenerator
    rounds: int
    seconds: float

    def measure(
        self,
        started: Started,
        requests: Sequence[bytes],
        in_flight: int = IN_FLIGHT,
        clients: int = 1,
    ) -> Measured:
        """One cell."""
        return self.load.measure(
            Cell(
                url=self.processes.nats_url,
                subject=started.subject,
                requests=[each.hex() for each in requests],
                in_flight=in_flight,
                seconds=self.seconds,
                processes=started.processes,
                connections=clients,
            )
        )


# --- one after the other -------------------------------------------------------------------------


def waiting(run: Run) -> Told:
    """Calls that wait before the provider."""
    started = _provider(run, "waiting", PROVIDER_QUEUE_CALLS="20000")
    cells = _levels(
        run, WAITING, lambda level: run.measure(started, [FACTORIAL.request], in_flight=level)
    )
    return _flat("calls waiting", cells, 10_000, 100)


def operations(run: Run) -> Told:
    """Operations a program declares, called in turn."""
    programs: dict[int, Started] = {}
    for level in OPERATIONS:
        text = "from provider.dispatch import operation\n" + "".join(
            f"\n\n@operation(name='py.operation{number}')\ndef operation{number}(arg):\n"
            "    return arg\n"
            for number in range(level)
        )
        programs[level] = _provider(run, f"operations{level}", text)

    def measure(level: int) -> Measured:
        requests = [
            cbor2.dumps({"operation": f"py.operation{number}", "payload": 10})
            for number in range(level)
        ]
        return run.measure(programs[level], requests)

    return _flat("operations", _levels(run, OPERATIONS, measure), 1_000, 1)


def clients(run: Run) -> Told:
    """Connections, each with as many calls under way; and, for comparison, as many in all.

    The last has no aim: calls of one client come in bursts, and those of many do not, whoever
    answers them.
    """
    started = _provider(run, "clients", PROVIDER_QUEUE_CALLS="20000")
    lines: list[str] = []
    found: list[Aim] = []
    for each in (1, IN_FLIGHT):
        what = f"clients with {each} in flight"
        told = _flat(what, _levels(run, CLIENTS, _of_clients(run, started, each)), 64, 1)
        lines += [*told.lines, ""]
        found += told.aims
    cells = _levels(run, CLIENTS, _of_clients(run, started, 0))
    return Told("clients", [*lines, *_lines(f"clients with {IN_FLIGHT} in all", cells)], found)


def _of_clients(run: Run, started: Started, each: int) -> Callable[[int], Measured]:
    def measure(level: int) -> Measured:
        in_flight = each * level or IN_FLIGHT
        return run.measure(started, [FACTORIAL.request], in_flight, clients=level)

    return measure


def workers(run: Run) -> Told:
    """A second worker for a function that needs a core."""
    text = "calls/s of a CPU-bound function, 2 workers / 1"
    started = {
        level: _provider(run, f"workers{level}", BUSY, PROVIDER_WORKERS=str(level))
        for level in (1, 2)
    }
    request = [cbor2.dumps({"operation": "py.busy", "payload": STEPS})]
    cells = _levels(run, (1, 2), lambda level: run.measure(started[level], request, in_flight=16))
    ratio = _ratio(cells, 2, 1, lambda cell: cell.calls_per_second)
    others = statistics.median(cell.others for found in cells.values() for cell in found)
    program = run.processes.folder / "workers1.py"
    most = statistics.median(
        in_loops(program, STEPS, run.seconds, count=2) / in_loops(program, STEPS, run.seconds)
        for _ in range(run.rounds)
    )
    beside = (
        f"Two processes that do nothing but call the function make {most:.2f} times the calls of "
        f"one. Others used {others:.1f} cores of the machine's {os.cpu_count()} meanwhile."
    )
    lines = [*_lines("workers", cells), "", beside]
    return Told("workers", lines, [Aim("growth", text, 1.7, ratio, least=True)])


def replicas(run: Run) -> Told:
    """Providers of one queue group."""
    hosts = [
        _provider(run, "replicas", PROVIDER_NAME=f"replica{number}") for number in range(REPLICAS)
    ]
    before = [_asked(run, number) for number in range(REPLICAS)]
    cell = run.measure(hosts[0], [FACTORIAL.request])
    asked = [_asked(run, number) - before[number] for number in range(REPLICAS)]
    shares = [each * REPLICAS / sum(asked) for each in asked]
    lines = [
        f"{REPLICAS} replicas, {cell.calls_per_second:.0f} calls/s; of the calls they had "
        + ", ".join(f"{share / REPLICAS:.1%}" for share in shares)
    ]
    furthest = max(abs(share - 1) for share in shares) * 100
    text = f"share of each of {REPLICAS} replicas, from an even one"
    return Told("replicas", lines, [Aim("growth", text, 5.0, furthest, "%")])


ALL: dict[str, Callable[[Run], Told]] = {
    "waiting": waiting,
    "operations": operations,
    "clients": clients,
    "workers": workers,
    "replicas": replicas,
}


# --- how -----------------------------------------------------------------------------------------


def _provider(run: Run, lattice: str, text: str | None = None, **settings: str) -> Started:
    program = FACTORIAL.program
    if text is not None:
        program = run.processes.folder / f"{lattice}.py"
        program.write_text(text, encoding="utf-8")
    settings.setdefault("PROVIDER_NAME", lattice)
    return start_provider(run.processes, program, lattice, settings)


def _levels(
    run: Run, levels: Sequence[int], measure: Callable[[int], Measured]
) -> dict[int, list[Measured]]:
    """The cells of each level, one of every round."""
    cells: dict[int, list[Measured]] = {level: [] for level in levels}
    for number in range(run.rounds):
        for level in turned(levels, number):
            cells[level].append(measure(level))
    return cells


def _cost(cell: Measured) -> float:
    """Microseconds of the provider's processes for a call."""
    return cpu_of(cell.cpu)


def _ratio(
    cells: dict[int, list[Measured]], level: int, base: int, figure: Callable[[Measured], float]
) -> float:
    """The median over the rounds of what it is at one level, divided by what it is at the base."""
    pairs = zip(cells[level], cells[base], strict=True)
    return statistics.median(figure(cell) / figure(beside) for cell, beside in pairs)


def _flat(what: str, cells: dict[int, list[Measured]], level: int, base: int) -> Told:
    text = f"CPU of a call, {level} {what} / {base}"
    aim = Aim("growth", text, FLAT, _ratio(cells, level, base, _cost))
    return Told(what, _lines(what, cells), [aim])


def _lines(what: str, cells: dict[int, list[Measured]]) -> list[str]:
    lines = [f"| {what} | CPU µs/call | calls/s | p50 ms | p99 ms |", "|--:|--:|--:|--:|--:|"]
    for level, found in cells.items():
        figures = (
            statistics.median(map(_cost, found)),
            statistics.median(cell.calls_per_second for cell in found),
            statistics.median(cell.latencies["p50"] for cell in found) / 1e3,
            statistics.median(cell.latencies["p99"] for cell in found) / 1e3,
        )
        lines.append("| {} | {:.1f} | {:.0f} | {:.2f} | {:.2f} |".format(level, *figures))
    return lines


def _asked(run: Run, number: int) -> int:
    """How many requests a replica has had."""
    return asyncio.run(requests_of(run.processes.nats_url, f"replica{number}"))


# --- the run -------------------------------------------------------------------------------------


def measure(names: Sequence[str], rounds: int, seconds: float) -> list[Told]:
    """Measure what these names say.

    Raises:
        Failed: a call was not answered with a result, or a process died.
    """
    told: list[Told] = []
    for name in names:
        say(name)
        with Processes() as processes, LoadGenerator() as load:
            processes.start_nats()
            told.append(ALL[name](Run(processes, load, rounds, seconds)))
    return told


@command
def main() -> int:
    """Parse, run, print. The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description="What more of everything costs."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; or all")
    parser.add_argument("--quick", action="store_true", help="one short round, and less steady")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="counted in each cell")
    parser.add_argument("--json", type=Path, help="write what was measured here")
    parser.add_argument("--markdown", type=Path, help="renew the block of this document")
    options = parser.parse_args()
    unknown = set(options.names) - set(ALL)
    if unknown:
        parser.error(f"there is no {min(unknown)}; there are {', '.join(ALL)}")
    rounds, seconds = (1, 0.3) if options.quick else (options.rounds, options.seconds)
    told = measure(options.names or list(ALL), rounds, seconds)
    for each in told:
        print("\n".join([*each.lines, ""]))
    print(aims(told))
    if options.markdown is not None:
        text = options.markdown.read_text(encoding="utf-8")
        options.markdown.write_text(renewed(text, told, _about(rounds, seconds)), encoding="utf-8")
    if options.json is not None:
        options.json.write_text(json.dumps(as_map(told), indent=1) + "\n", encoding="utf-8")
    return 0


def _about(rounds: int, seconds: float) -> str:
    return (
        f"Medians of {rounds} rounds of {seconds:g} s, {time.strftime('%Y-%m-%d')}; "
        f"{os.cpu_count()} cores, Python {platform.python_version()}."
    )


if __name__ == "__main__":
    sys.exit(main())
