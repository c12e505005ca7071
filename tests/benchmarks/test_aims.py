"""Every aim is held, missed or not measured, by its own figure and no other."""

from __future__ import annotations

import pytest

from benchmarks.measuring import rounds
from benchmarks.measuring.aims import Aim, aims
from benchmarks.measuring.rows import ECHO, PROVIDER
from tests.benchmarks.made_up import report


def verdicts(made):
    return {aim.text: aim.verdict for aim in aims(made)}


def test_a_bound_is_a_most_or_a_least_and_itself_is_kept():
    assert Aim("", "", 1.5, 1.5).verdict == "held"
    assert Aim("", "", 1.5, 1.51).verdict == "missed"
    assert Aim("", "", 0.9, 0.9, least=True).verdict == "held"
    assert Aim("", "", 0.9, 0.89, least=True).verdict == "missed"
    assert Aim("", "", 0.9, None, least=True).verdict == "not measured"


def test_aims_say_what_was_asked_and_found():
    aim = Aim("start", "import", 250.0, 243.21, "ms")
    assert (aim.asked, aim.found) == ("at most 250 ms", "243 ms")
    aim = Aim("cost", "calls/s", 0.9, None, least=True)
    assert (aim.asked, aim.found) == ("at least 0.9", "-")


def test_all_are_held_by_figures_that_hold_them():
    found = verdicts(report())
    assert set(found.values()) == {"held"}
    assert len(found) == 14


def test_none_is_held_by_a_run_that_measured_nothing():
    assert set(verdicts({"about": {}}).values()) == {"not measured"}


@pytest.mark.parametrize(
    ("row", "in_flight", "figure", "factor", "missed"),
    [
        (PROVIDER, 64, "cpu", 1.2, "CPU / raw echo, 64 in flight"),
        (PROVIDER, 256, "cpu", 1.4, "CPU / raw echo, 256 in flight"),
        (PROVIDER, 1, "p50_us", 1.2, "p50 / nats micro, 1 in flight"),
        ("nats micro", 256, "calls_per_second", 1.2, "calls/s / nats micro, 256 in flight"),
        ("FastStream", 256, "calls_per_second", 1.3, "calls/s / FastStream, 256 in flight"),
    ],
)
def test_what_calls_cost_is_looked_at_row_by_row(row, in_flight, figure, factor, missed):
    made = report()
    for cell in made["calls"]["cells"]:
        if (cell["row"], cell["in_flight"]) == (row, in_flight):
            if figure == "cpu":
                cell["cpu_us"]["all"] *= factor
            else:
                cell[figure] *= factor
    assert [text for text, verdict in verdicts(made).items() if verdict == "missed"] == [missed]


@pytest.mark.parametrize(
    ("figure", "value", "missed"),
    [
        ("reload_check_us", 1.1, "for a call that comes alone"),
        ("first_answer_ms", 401.0, "`provider run` to first answer"),
        ("import_ms", 251.0, "import of the host"),
        ("worker_start_ms", 61.0, "start of a worker"),
        ("host_mb", 60.5, "host resident"),
        ("worker_mb", 20.5, "worker resident"),
    ],
)
def test_what_starts_take_is_looked_at_one_by_one(figure, value, missed):
    made = report()
    made["starts"][figure] = value
    assert [text for text, verdict in verdicts(made).items() if verdict == "missed"] == [missed]


def test_slow_calls_and_large_payloads_have_an_aim_each():
    made = report(slow={"share": 0.94})
    made["passing"][0]["slowest_ms"] = 111.0
    missed = [text for text, verdict in verdicts(made).items() if verdict == "missed"]
    assert missed == [
        "slowest small call beside 100 MB, beyond a quiet one",
        "calls/s / a loop in the same moment, handler of 1 ms",
    ]


def test_the_echo_alone_is_no_run_of_ours():
    made = report()
    cells = [cell for cell in made["calls"]["cells"] if cell["row"] == ECHO]
    made["calls"] = {"summary": rounds.summary(cells, ECHO), "cells": cells}
    assert verdicts(made)["CPU / raw echo, 64 in flight"] == "not measured"
