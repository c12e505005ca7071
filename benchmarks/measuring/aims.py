"""The aims of this project for cost and speed, and whether a run held them.

The rule of this file: an aim is a figure of the report, a bound, and nothing else; what was not
measured is neither held nor missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.measuring.payloads import shown
from benchmarks.measuring.rounds import cpu, median_ratio
from benchmarks.measuring.rows import ECHO, FASTSTREAM_ROW, MICRO, PROVIDER

if TYPE_CHECKING:
    from collections.abc import Mapping

    Report = Mapping[str, Any]


BURST = 64
"""Calls that share one look at the program's files, where a burst of them came in one piece."""


@dataclass(frozen=True)
class Aim:
    """One of them.

    Attributes:
        section: what it is about.
        text: what is measured.
        bound: that it must keep.
        figure: what it is; None where it was not measured.
        unit: of both.
        least: whether the bound is a least, not a most.
    """

    section: str
    text: str
    bound: float
    figure: float | None
    unit: str = ""
    least: bool = False

    @property
    def verdict(self) -> str:
        """`held`, `missed` or `not measured`."""
        if self.figure is None:
            return "not measured"
        kept = self.figure >= self.bound if self.least else self.figure <= self.bound
        return "held" if kept else "missed"

    @property
    def asked(self) -> str:
        """The bound as a text."""
        return f"at {'least' if self.least else 'most'} {written(self.bound)}{self._unit}"

    @property
    def found(self) -> str:
        """The figure as a text."""
        return "-" if self.figure is None else f"{written(self.figure)}{self._unit}"

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""


def aims(report: Report) -> list[Aim]:
    """All of them, in the order of the issue they come from.

    Args:
        report: as `report.measure` returns it; parts may be missing.
    """
    return [*_cost(report), *_payloads(report), *_slow(report), *_starts(report)]


def written(figure: float) -> str:
    """A figure with as many digits as mean something."""
    return f"{figure:.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


def _cost(report: Report) -> list[Aim]:
    cells = report.get("calls", {}).get("cells", [])

    def ratio(of: str, to: str, in_flight: int, figure: Any) -> float | None:
        return median_ratio(cells, (of, in_flight), (to, in_flight), figure)

    def rate(cell: Mapping[str, Any]) -> float:
        return float(cell["calls_per_second"])

    def p50(cell: Mapping[str, Any]) -> float:
        return float(cell["p50_us"])

    return [
        Aim("cost", "CPU / raw echo, 64 in flight", 1.5, ratio(PROVIDER, ECHO, 64, cpu)),
        Aim("cost", "CPU / raw echo, 256 in flight", 1.8, ratio(PROVIDER, ECHO, 256, cpu)),
        Aim(
            "cost",
            "calls/s / nats micro, 256 in flight",
            0.9,
            ratio(PROVIDER, MICRO, 256, rate),
            least=True,
        ),
        Aim(
            "cost",
            "calls/s / FastStream, 256 in flight",
            5.0,
            ratio(PROVIDER, FASTSTREAM_ROW, 256, rate),
            least=True,
        ),
        Aim("idle latency", "p50 / nats micro, 1 in flight", 1.6, ratio(PROVIDER, MICRO, 1, p50)),
    ]


def _payloads(report: Report) -> list[Aim]:
    return [
        Aim(
            "payloads",
            f"slowest small call beside {shown(line['size'])}, beyond a quiet one",
            line["copy_ms"],
            line["slowest_ms"] - line["quiet_ms"],
            "ms",
        )
        for line in report.get("passing", [])
    ]


def _slow(report: Report) -> list[Aim]:
    share = report.get("slow", {}).get("share")
    text = "calls/s / a loop in the same moment, handler of 1 ms"
    return [Aim("slow calls", text, 0.95, share, least=True)]


def _starts(report: Report) -> list[Aim]:
    found = report.get("starts", {})
    look = found.get("reload_check_us")
    shared = None if look is None else look / BURST
    return [
        Aim("reload check", f"for each call of a burst of {BURST}", 1.0, shared, "µs"),
        Aim("reload check", "for a call that comes alone", 1.0, look, "µs"),
        Aim("start", "`provider run` to first answer", 400.0, found.get("first_answer_ms"), "ms"),
        Aim("start", "import of the host", 250.0, found.get("import_ms"), "ms"),
        Aim("start", "start of a worker", 60.0, found.get("worker_start_ms"), "ms"),
        Aim("start", "host resident", 60.0, found.get("host_mb"), "MB"),
        Aim("start", "worker resident", 20.0, found.get("worker_mb"), "MB"),
    ]
