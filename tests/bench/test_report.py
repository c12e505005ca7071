"""The report says what was counted, and what stands in the way of believing it."""

from __future__ import annotations

import pytest

from provider.bench.outcome import Outcome
from provider.bench.plan import Plan
from provider.bench.report import as_map, doubts, lines
from provider.bench.tally import Tally

RATED, IN_FLIGHT = Plan(rate=100.0), Plan(in_flight=4)


def tally(results=0, lag=0, latency=2_000_000, **errors):
    made = Tally()
    made.sent = results + sum(errors.values())
    made.results = results
    for _ in range(results):
        made.latencies.record(latency)
        made.lags.record(lag)
    for kind, count in errors.items():
        for _ in range(count):
            made.failed(kind)
    return made


def outcome(counted=None, **fields):
    usual = {
        "ended": "duration",
        "seconds": 10.0,
        "counted": counted or tally(2000),
        "before": tally(100),
        "arrived": 1990,
        "not_sent": 0,
        "late": 0,
        "stray": 0,
        "busy": 0.3,
    }
    return Outcome(**{**usual, **fields})


def test_a_good_run_leaves_no_doubt():
    assert doubts(RATED, outcome()) == []


@pytest.mark.parametrize(
    ("plan", "changed", "said"),
    [
        (IN_FLIGHT, {"busy": 0.97}, "the generator was at work 97 % of the time"),
        (RATED, {"counted": tally(2000, lag=3_000_000)}, "calls left up to 3."),
        (RATED, {"not_sent": 5}, "the rate was not kept"),
        (IN_FLIGHT, {"counted": tally(20)}, "p99.9 of 20 calls"),
        (IN_FLIGHT, {"ended": "no_answer"}, "nobody answers any more"),
        (IN_FLIGHT, {"ended": "connection_lost"}, "the connection to NATS was lost"),
        (IN_FLIGHT, {"counted": tally(2000, no_answer=1)}, "the time they were waited for"),
        (IN_FLIGHT, {"counted": tally(2000, no_provider=1)}, "found no provider"),
        (IN_FLIGHT, {"stray": 2}, "2 answers that nobody waited for"),
    ],
)
def test_what_stands_in_the_way_is_said(plan, changed, said):
    (doubt,) = doubts(plan, outcome(**changed))
    assert said in doubt


def test_errors_stand_below_each_other_the_most_frequent_first():
    shown = lines(IN_FLIGHT, outcome(tally(6, overloaded=1, timeout=3)))
    assert shown[0] == "199.0 calls/s: 6 results in 10 s, 4 calls in flight for 10 s"
    assert [line.split() for line in shown[1:3]] == [
        ["timeout", "3", "30", "%", "of", "calls"],
        ["overloaded", "1", "10", "%", "of", "calls"],
    ]
    assert shown[-1] == "p50 2.00 ms   p90 2.00 ms   p99 2.00 ms   p99.9 2.00 ms   max 2.00 ms"


def test_without_results_there_is_no_picture():
    assert len(lines(IN_FLIGHT, outcome(tally(overloaded=3)))) == 2


def test_the_map_has_what_was_called_and_every_number():
    told = as_map(RATED, {"operation": "echo"}, outcome(tally(10, lag=1000, timeout=2), late=1))
    assert told["operation"] == "echo"
    assert (told["calls"], told["results"], told["errors"]) == (12, 10, {"timeout": 2})
    assert told["calls_per_second"] == 199.0
    assert told["latency_us"]["p50"] == told["latency_us"]["max"] == 2000.0
    assert told["send_lag_us"]["max"] == 1.0
    assert told["with_warm_up"]["calls"] == 112
    assert told["with_warm_up"]["late"] == 1
    assert sum(times for _, times in told["histogram_us"]) == 10
    assert "send_lag_us" not in as_map(IN_FLIGHT, {}, outcome())
