"""More of everything is measured, each by figures of the same round."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import growth
from benchmarks.scaling.load import Measured
from tests.documents import ROOT


def cell(cost, rate=1000.0):
    return Measured(
        rate, {"p50": 1.0, "p99": 2.0}, {"host": cost / 2, "worker": cost / 2, "nats": 99.0}
    )


def test_a_level_is_divided_by_its_base_round_by_round():
    # The second round was on a machine three times as slow.
    cells = {1: [cell(10), cell(30), cell(10)], 64: [cell(11), cell(33), cell(20)]}
    (aim,) = growth._flat("clients", cells, 64, 1).aims
    assert aim.figure == pytest.approx(1.1)
    assert aim.verdict == "held"
    (aim,) = growth._flat("clients", cells, 1, 64).aims
    assert aim.figure == pytest.approx(1 / 1.1)


def test_cost_is_that_of_all_processes_of_all_providers():
    measured = Measured(1.0, {}, {"host": 1.0, "host 1": 2.0, "worker 2": 4.0, "generator": 8.0})
    assert growth._cost(measured) == 7.0


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )


@pytest.mark.long
def test_a_short_run(tmp_path):
    written, document = tmp_path / "growth.json", tmp_path / "scale.md"
    document.write_text("before\n<!-- growth: aims -->\nold\n<!-- growth: end -->\nafter\n")
    done = run(
        *("--rounds", 1, "--seconds", 0.1, "--json", written, "--markdown", document),
        *("operations", "replicas"),
    )
    assert done.returncode == 0, done.stderr
    text = document.read_text()
    assert text.startswith("before\n<!-- growth: aims -->\n| aim |")
    assert text.endswith("\n<!-- growth: end -->\nafter\n")
    assert "old" not in text
    assert "| operations | CPU µs/call | calls/s |" in done.stdout
    assert "share of each of 4 replicas" in done.stdout
    told = json.loads(written.read_text())
    verdicts = [aim["verdict"] for part in told.values() for aim in part["aims"]]
    assert len(verdicts) == 2
    assert set(verdicts) <= {"held", "missed"}


def test_what_there_is_not():
    done = run("everything")
    assert done.returncode == 2
    assert "there is no everything" in done.stderr
