"""Cells taken in turns, round by round, and what is quoted of them.

The rule of this file: a number is worth something only beside another one of the same minute. What
is quoted is the median over the rounds, and a ratio is the median of the ratios within each round:
a machine that is slow for a while is slow for both sides of it.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.measuring.load import Cell
from benchmarks.measuring.processes import children
from benchmarks.measuring.said import Failed, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.measuring.load import LoadGenerator
    from benchmarks.measuring.processes import Processes
    from benchmarks.measuring.rows import Started
    from benchmarks.measuring.work import Work

    Measured = dict[str, Any]

Member = TypeVar("Member")


def turned(members: Sequence[Member], number: int) -> list[Member]:
    """The members, of which each is first in its round."""
    first = number % len(members)
    return [*members[first:], *members[:first]]


def measure(
    processes: Processes,
    load: LoadGenerator,
    row: Started,
    work: Work,
    *,
    in_flight: int,
    seconds: float,
    where: str,
) -> Measured:
    """One cell of one row.

    Raises:
        Failed: an answer was wrong, missing or extra, or a process died.
    """
    cell = Cell(
        port=processes.nats_port,
        subject=row.subject,
        request=row.request(work).hex(),
        answer=row.answer(work).hex(),
        in_flight=in_flight,
        seconds=seconds,
        processes=row.processes,
    )
    first, *others = row.processes.values()
    failure = ""
    try:
        outcome = load.measure(cell)
        if children(first) != others:
            failure = "one of its processes was replaced"
    except (Failed, OSError) as error:
        failure = str(error)
    if failure:
        words = processes.last_words(first)
        raise Failed(f"{where}, {row.name}: {failure}\nIts last words:\n{words}")
    outcome["cpu_us"]["all"] = sum(outcome["cpu_us"].values())
    say(
        f"{where}, {row.name}: {outcome['calls_per_second']:.0f} calls/s, "
        f"{outcome['cpu_us']['all']:.2f} µs of CPU each"
    )
    return {"row": row.name, "in_flight": in_flight, **outcome}


def calls(
    processes: Processes,
    load: LoadGenerator,
    rows: Sequence[Started],
    work: Work,
    *,
    rounds: int,
    in_flight: Sequence[int],
    seconds: float,
) -> list[Measured]:
    """Every row at every number of calls in flight, round by round.

    Raises:
        Failed: as `measure`.
    """
    cells = []
    for number in range(rounds):
        for width in in_flight:
            for row in turned(rows, number):
                where = f"round {number + 1}, {width} in flight"
                cell = measure(
                    processes, load, row, work, in_flight=width, seconds=seconds, where=where
                )
                cells.append({"round": number + 1, **cell})
    return cells


def median_ratio(
    cells: Sequence[Measured],
    of: tuple[str, int],
    to: tuple[str, int],
    figure: Callable[[Measured], float],
) -> float | None:
    """The median of the ratios within rounds; None where one side was not measured.

    Args:
        cells: of all rounds.
        of: row and calls in flight of the numerator.
        to: those of the denominator.
        figure: of one cell.
    """
    sides: list[dict[int, float]] = [{}, {}]
    for cell in cells:
        for side, wanted in zip(sides, (of, to), strict=True):
            if (cell["row"], cell["in_flight"]) == wanted:
                side[cell["round"]] = figure(cell)
    over, under = sides
    ratios = [over[number] / under[number] for number in over.keys() & under.keys()]
    return statistics.median(ratios) if ratios else None


def cpu(cell: Measured) -> float:
    """Microseconds of CPU for one call, of all processes that answer."""
    return float(cell["cpu_us"]["all"])


def summary(cells: Sequence[Measured], base: str) -> list[Measured]:
    """One line for each row and number of calls in flight.

    Args:
        cells: of all rounds.
        base: the row that the ratios are to.
    """
    grouped: dict[tuple[str, int], list[Measured]] = {}
    for cell in cells:
        grouped.setdefault((cell["row"], cell["in_flight"]), []).append(cell)
    lines = []
    for (row, in_flight), members in grouped.items():
        line: Measured = {"row": row, "in_flight": in_flight}
        for name in ("calls_per_second", "p50_us", "p99_us"):
            line[name] = statistics.median(cell[name] for cell in members)
        line["cpu_us"] = {
            part: statistics.median(cell["cpu_us"][part] for cell in members)
            for part in members[0]["cpu_us"]
        }
        of, to = (row, in_flight), (base, in_flight)
        line["cpu_ratio"] = median_ratio(cells, of, to, cpu)
        line["cpu_range"] = [min(map(cpu, members)), max(map(cpu, members))]
        lines.append(line)
    return lines
