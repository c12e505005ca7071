"""The long run: what it prints, where it writes it, and how it judges."""

from __future__ import annotations

from tests.faults import soak
from tests.faults.outcome import Outcome


def test_all_scenarios_are_found():
    names = list(soak.all_scenarios())
    assert {"worker killed", "host killed", "nats-server killed", "queue flooded"} <= set(names)
    assert len(names) == len(set(names)) > 30


def test_a_row_says_what_was_done_and_what_came_of_it():
    outcome = Outcome("something", seed=3, did={"killed": 2}, ran_twice=[7])
    outcome.count.sent, outcome.count.results, outcome.count.unanswered = 12, 9, 1
    outcome.count.errors.update({"worker_lost": 2})
    outcome.count.worst = {"result": 0.5, "worker_lost": 1.25}
    row = "| something | killed 2 times | 12 | 9 | 2 worker_lost | 1 | 1 | 1.25 s |"
    told = soak.report([outcome], 3, 8)
    assert told.splitlines()[2] == row
    assert told.endswith("Seed 3, 8 s of load each: 12 calls, 0 of them refused.")


def test_a_broken_promise_is_told_and_the_table_written_all_the_same(monkeypatch, capfd, tmp_path):
    document = tmp_path / "document.md"
    document.write_text("before\n<!-- soak: table -->\nold\n<!-- soak: end -->\nafter\n")
    # So few calls that what has to be done to them cannot be.
    options = ["--seconds", "0", "--calls", "20", "--only", "worker stopped for a moment"]
    monkeypatch.setattr("sys.argv", ["soak", *options, "--markdown", str(document)])
    assert soak.main() == 1
    told = capfd.readouterr()
    assert "NOT AS PROMISED\n    stopped only 0 times of 4" in told.err
    assert document.read_text() == (
        f"before\n<!-- soak: table -->\n{told.out}<!-- soak: end -->\nafter\n"
    )


def test_what_holds_ends_with_success(monkeypatch, capfd):
    options = ["--seconds", "0", "--calls", "5000", "--only", "code segfaults"]
    monkeypatch.setattr("sys.argv", ["soak", *options])
    assert soak.main() == 0
    assert "as promised" in capfd.readouterr().err
