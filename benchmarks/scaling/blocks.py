"""What came of a run, as tables in Markdown, and where documents have them.

The rule of this file: every figure in a document that a run can produce is written there by the
run, between two comments that name the block; nobody types one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.scaling.model import LOOKS
from benchmarks.scaling.sizes import FILLED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.scaling.load import Measured
    from benchmarks.scaling.model import Constants
    from benchmarks.scaling.simulation import Played
    from benchmarks.scaling.sizes import Size

_BLOCK = re.compile(r"<!-- scale: (?P<name>\w+) -->\n(?P<text>.*?)<!-- scale: end -->", re.DOTALL)


@dataclass(frozen=True)
class Checked:
    """A scene as it was played, and as it was.

    Attributes:
        name: in the table.
        played: by the simulation.
        measured: by a real run.
        fitted: whether the constants were read off it.
    """

    name: str
    played: Played
    measured: Measured
    fitted: bool = False

    @property
    def pairs(self) -> dict[str, tuple[float, float]]:
        """What was predicted and what was found, by name."""
        return {
            "CPU µs/call": (cpu_of(self.played.cpu), cpu_of(self.measured.cpu)),
            "calls/s": (self.played.calls_per_second, self.measured.calls_per_second),
            "p50 ms": (self.played.latencies["p50"] / 1e3, self.measured.latencies["p50"] / 1e3),
            "p99 ms": (self.played.latencies["p99"] / 1e3, self.measured.latencies["p99"] / 1e3),
        }

    def error(self, name: str) -> float:
        """By how much the prediction is off, as a part of what was found."""
        predicted, found = self.pairs[name]
        return predicted / found - 1


@dataclass(frozen=True)
class Routed:
    """Two NATS servers with a route between them.

    Attributes:
        near: microseconds of the servers for a call that does not cross.
        far: for one that does.
        at_home: share of the calls that stayed, when there was a provider at either server.
    """

    near: float
    far: float
    at_home: float


@dataclass(frozen=True)
class Report:
    """Everything a run has found."""

    about: str
    constants: Constants
    checked: Sequence[Checked]
    sizes: Sequence[Size]
    routed: Routed
    bytes_per_call: float


def constants(report: Report) -> str:
    """What a call costs each process."""
    costs = report.constants.costs
    lines = [
        "| process | µs for each look | µs for a call, all in all | a call alone | carries, full |",
        "|---|--:|--:|--:|--:|",
    ]
    for name in LOOKS:
        cost = costs[name]
        most = f"{1e6 / cost.together:.0f}/s" if cost.together else "-"
        lines.append(
            f"| {name} | {cost.look:.1f} | {cost.together:.1f} | {cost.alone:.0f} | {most} |"
        )
    wake = f"A process that sleeps runs {report.constants.wake:.0f} µs after work has come to it."
    return "\n".join([*lines, "", wake, report.about])


def checked(report: Report) -> str:
    """What was predicted beside what was found."""
    names = list(report.checked[0].pairs)
    lines = [
        "| scene | " + " | ".join(f"{name} | off by" for name in names) + " |",
        "|---|" + "--:|--:|" * len(names),
    ]
    for each in report.checked:
        cells = [
            f"{_written(predicted)} for {_written(found)} | {each.error(name):+.0%}"
            for name, (predicted, found) in each.pairs.items()
        ]
        mark = " (read off)" if each.fitted else ""
        lines.append(f"| {each.name}{mark} | {' | '.join(cells)} |")
    worst = {
        name: max((abs(each.error(name)) for each in report.checked if not each.fitted), default=0)
        for name in names
    }
    said = ", ".join(f"{name} {error:.0%}" for name, error in worst.items())
    busiest = max(each.measured.others for each in report.checked)
    others = f"Others used up to {busiest:.1f} cores of the machine meanwhile."
    furthest = f"Furthest off where nothing was read off: {said}. {others}"
    return "\n".join([*lines, "", furthest])


def sizes(report: Report) -> str:
    """What carries so many calls."""
    names = [
        *("calls/s", "function", "providers", "workers of each", "limited by"),
        *("cores of providers", "cores of NATS servers", "Gbit/s"),
    ]
    lines = [f"| {' | '.join(names)} |", "|--:|--:|--:|--:|---|--:|--:|--:|"]
    for each in report.sizes:
        gigabits = each.rate * report.bytes_per_call * 8 / 1e9
        lines.append(
            f"| {each.rate:.0f} | {each.one.handler / 1e3:g} ms | {each.providers} "
            f"| {each.one.workers} | {each.one.busiest} | {_written(each.cores)} "
            f"| {_written(each.nats_cores)} | {_written(gigabits)} |"
        )
    ones = {each.one.handler: each.one for each in report.sizes}
    said = "; ".join(
        f"{one.rate:.0f} calls/s with a function of {handler / 1e3:g} ms, p99 "
        f"{one.played.latencies['p99'] / 1e3:.2g} ms"
        for handler, one in ones.items()
    )
    return "\n".join(
        [
            *lines,
            "",
            f"Asked of everything: {FILLED:.0%} of what it carries, full. Of one provider: {said}.",
        ]
    )


def routed(report: Report) -> str:
    """What a route between NATS servers costs."""
    found = report.routed
    return (
        f"Two servers with a route: a call whose caller and provider are at the same one costs the "
        f"servers {found.near:.1f} µs, one that crosses {found.far:.1f} µs. With a provider at "
        f"either, {found.at_home:.0%} of the calls stayed at the caller's server."
    )


BLOCKS: dict[str, Callable[[Report], str]] = {
    "constants": constants,
    "checked": checked,
    "sizes": sizes,
    "routed": routed,
}


def whole(report: Report) -> str:
    """Everything, for a terminal."""
    return "\n\n".join(make(report) for make in BLOCKS.values())


def renewed(document: str, report: Report) -> str:
    """The document with its blocks as this report has them.

    Raises:
        KeyError: it has a block that nobody makes.
    """
    return _BLOCK.sub(
        lambda found: (
            f"<!-- scale: {found['name']} -->\n{BLOCKS[found['name']](report)}\n<!-- scale: end -->"
        ),
        document,
    )


def cpu_of(cpu: dict[str, float]) -> float:
    """Microseconds of the provider's processes."""
    return sum(us for name, us in cpu.items() if name.startswith(("host", "worker")))


def _written(figure: float) -> str:
    return f"{figure:.0f}" if abs(figure) >= 100 else f"{figure:.3g}"
