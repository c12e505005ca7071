"""Ratios are taken within a round, so that a slow minute of the machine is nobody's fault."""

from __future__ import annotations

import pytest

from benchmarks.measuring import rounds
from tests.benchmarks.made_up import cell


def test_a_ratio_is_the_median_of_those_within_rounds():
    cells = [
        *(cell("echo", 64, number, cpu, 1.0) for number, cpu in ((1, 10.0), (2, 20.0), (3, 40.0))),
        *(cell("ours", 64, number, cpu, 1.0) for number, cpu in ((1, 15.0), (2, 28.0), (3, 90.0))),
    ]
    # 1.5, 1.4 and 2.25; the ratio of the medians would be 1.4.
    assert rounds.median_ratio(cells, ("ours", 64), ("echo", 64), rounds.cpu) == 1.5


def test_rounds_that_have_one_side_only_do_not_count():
    cells = [
        cell("echo", 64, 1, 10.0, 1.0),
        cell("ours", 64, 1, 20.0, 1.0),
        cell("ours", 64, 2, 90.0, 1.0),
    ]
    assert rounds.median_ratio(cells, ("ours", 64), ("echo", 64), rounds.cpu) == 2.0
    assert rounds.median_ratio(cells, ("ours", 64), ("other", 64), rounds.cpu) is None
    assert rounds.median_ratio(cells, ("ours", 1), ("echo", 1), rounds.cpu) is None


def test_a_line_has_medians_and_the_ratio_to_the_base():
    cells = [
        cell(row, 1, number, cpu * number, 1000.0 / number, 50.0 * number)
        for number in (1, 2, 3)
        for row, cpu in (("echo", 10.0), ("ours", 13.0))
    ]
    echo, ours = rounds.summary(cells, "echo")
    assert (echo["row"], echo["cpu_ratio"]) == ("echo", 1.0)
    assert ours == {
        "row": "ours",
        "in_flight": 1,
        "calls_per_second": 500.0,
        "p50_us": 100.0,
        "p99_us": 300.0,
        "cpu_us": {"peer": 26.0, "all": 26.0},
        "cpu_ratio": pytest.approx(1.3),
        "cpu_range": [13.0, 39.0],
    }


def test_each_row_is_first_in_its_turn():
    assert [rounds.turned("abc", number) for number in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]
