"""What came of a load, as a map for programs and as lines for people.

The rule of this file: a number that could be misread stands beside what it has to be read with, and
a doubt about the measurement is said in words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provider.bench.outcome import LOST, NOBODY
from provider.bench.picture import picture, time_text
from provider.bench.tally import NO_ANSWER, NO_PROVIDER

if TYPE_CHECKING:
    from provider.bench.histogram import Histogram
    from provider.bench.outcome import Outcome
    from provider.bench.plan import Plan

PERCENTS: Final = (50, 90, 99, 99.9)
BUSY = 0.9
"""Share of the time at work beyond which it is the generator that was measured."""
_FEW = 1000


def as_map(plan: Plan, target: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """The report for programs.

    Args:
        plan: of the load.
        target: what was called and where, put in front as it is.
        outcome: of the load.
    """
    counted = outcome.counted
    told: dict[str, Any] = {
        **target,
        "plan": plan.as_map(),
        "ended": outcome.ended,
        "seconds": round(outcome.seconds, 6),
        "calls_per_second": round(_rate(outcome), 3),
        **counted.counts(),
        "latency_us": _percentiles(counted.latencies),
        "histogram_us": [[bar.up_to / 1e3, bar.times] for bar in counted.latencies.bars()],
        "with_warm_up": {
            **counted.plus(outcome.before),
            "late": outcome.late,
            "stray": outcome.stray,
        },
        "generator_busy": round(outcome.busy, 3),
    }
    if plan.rate is not None:
        told["not_sent"] = outcome.not_sent
        told["send_lag_us"] = _percentiles(counted.lags)
    return told


def lines(plan: Plan, outcome: Outcome, width: int = 80) -> list[str]:
    """The report for people, without the doubts.

    Args:
        plan: of the load.
        outcome: of the load.
        width: characters of a line.
    """
    counted = outcome.counted
    latencies = counted.latencies
    results = f"{counted.results} results in {outcome.seconds:.3g} s"
    said = [f"{_rate(outcome):.1f} calls/s: {results}, {plan.words}"]
    for kind, count in sorted(counted.errors.items(), key=lambda item: -item[1]):
        said.append(f"  {kind:18}{count:10}  {100 * count / max(1, counted.sent):.3g} % of calls")
    if counted.open:
        said.append(f"  {'not answered yet':18}{counted.open:10}")
    if outcome.not_sent:
        said.append(f"  {'due, not sent':18}{outcome.not_sent:10}")
    if not latencies.count:
        return said
    said += ["", *picture(latencies, width), ""]
    named = [(f"p{percent:g}", latencies.percentile(percent)) for percent in PERCENTS]
    said.append("   ".join(f"{name} {time_text(at)}" for name, at in named))
    said[-1] += f"   max {time_text(latencies.largest)}"
    return said


def doubts(plan: Plan, outcome: Outcome) -> list[str]:
    """What stands in the way of believing the numbers."""
    counted = outcome.counted
    told: list[str] = []
    if outcome.ended == NOBODY:
        told.append("nobody answers any more; ended early")
    elif outcome.ended == LOST:
        told.append("the connection to NATS was lost; ended early")
    if outcome.busy > BUSY:
        told.append(
            f"the generator was at work {100 * outcome.busy:.0f} % of the time: it may be what was "
            "measured; run it on another machine, or several of it"
        )
    lag = counted.lags.percentile(99)
    if plan.rate is not None and lag > counted.latencies.percentile(50):
        told.append(
            f"calls left up to {time_text(lag)} (p99) after they were due, which counts as theirs: "
            "this machine has too much else to do"
        )
    if outcome.not_sent:
        told.append("the rate was not kept: too many calls were open")
    if 0 < counted.latencies.count < _FEW:
        told.append(
            f"p99.9 of {counted.latencies.count} calls is little more than the slowest of them"
        )
    if counted.errors.get(NO_ANSWER):
        told.append("calls without an answer count with the time they were waited for")
    if counted.errors.get(NO_PROVIDER):
        told.append("some calls found no provider")
    if outcome.stray:
        told.append(f"{outcome.stray} answers that nobody waited for; one call has one answer")
    return told


def _rate(outcome: Outcome) -> float:
    return outcome.arrived / outcome.seconds if outcome.seconds else 0.0


def _percentiles(histogram: Histogram) -> dict[str, float]:
    return {
        **{f"p{percent:g}": histogram.percentile(percent) / 1e3 for percent in PERCENTS},
        "max": histogram.largest / 1e3,
        "mean": round(histogram.mean / 1e3, 3),
    }
