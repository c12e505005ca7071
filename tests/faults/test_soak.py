"""The long run: what it prints, where it writes it, and how it judges."""

from __future__ import annotations

import pytest

from tests.faults import host_scenarios, soak
from tests.faults.outcome import Outcome


def test_all_scenarios_are_found():
    names = soak.all_scenarios().keys()
    assert {"worker killed", "host killed", "nats-server killed", "queue flooded"} <= names
    assert len(names) > 30


def test_no_two_scenarios_have_the_same_name(monkeypatch):
    monkeypatch.setattr(host_scenarios, "SCENARIOS", [*host_scenarios.SCENARIOS] * 2)
    with pytest.raises(ValueError, match="two scenarios are called host replaced"):
        soak.all_scenarios()


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


@pytest.mark.long
def test_what_holds_ends_with_success(monkeypatch, capfd):
    options = ["--seconds", "0", "--calls", "5000", "--only", "code segfaults"]
    monkeypatch.setattr("sys.argv", ["soak", *options])
    assert soak.main() == 0
    assert "as promised" in capfd.readouterr().err


def test_a_bug_in_one_scenario_is_told_and_the_next_has_its_turn(monkeypatch, capfd):
    ran = []

    def run(scenario, seed, **_more):
        ran.append(scenario.name)
        if scenario.name == "host killed":
            raise OSError("a bug of ours")
        return Outcome(scenario.name, seed)

    monkeypatch.setattr(soak, "run", run)
    monkeypatch.setattr("sys.argv", ["soak", "--only", "host killed", "--only", "worker killed"])
    assert soak.main() == 1
    told = capfd.readouterr()
    assert ran == ["host killed", "worker killed"]
    assert "OSError: a bug of ours" in told.err
    assert "| worker killed |" in told.out


def test_ctrl_c_prints_what_was_run_and_writes_nothing(monkeypatch, capfd, tmp_path):
    document = tmp_path / "document.md"

    def run(scenario, seed, **_more):
        if scenario.name == "worker killed":
            raise KeyboardInterrupt
        return Outcome(scenario.name, seed)

    monkeypatch.setattr(soak, "run", run)
    options = ["--only", "host killed", "--only", "worker killed", "--markdown", str(document)]
    monkeypatch.setattr("sys.argv", ["soak", *options])
    assert soak.main() == 130
    told = capfd.readouterr()
    assert "ended early" in told.err
    assert [line.split(" | ")[0] for line in told.out.splitlines()[2:]] == ["| host killed"]
    assert not document.exists()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--only", "that", "no such scenario: that"),
        ("--seconds", "-1", "0 to 86400 seconds, not -1"),
        ("--seconds", "nan", "0 to 86400 seconds, not nan"),
    ],
)
def test_what_cannot_be_run_is_refused(monkeypatch, capfd, option, value, said):
    monkeypatch.setattr("sys.argv", ["soak", option, value])
    with pytest.raises(SystemExit) as refused:
        soak.main()
    assert refused.value.code == 2
    assert said in capfd.readouterr().err
