"""`make bench` runs, checks every answer, and puts its figures where it is told to."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import call
from benchmarks.measuring import environments, processes
from benchmarks.measuring.said import Failed
from tests.benchmarks.made_up import report
from tests.documents import ROOT

DOCUMENT = "<!-- bench: calls -->\n<!-- bench: end -->\n<!-- bench: aims -->\n<!-- bench: end -->\n"


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.call", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )


@pytest.mark.long
def test_a_short_run_checks_answers_and_writes_what_it_found(tmp_path):
    document, written = tmp_path / "speed.md", tmp_path / "report.json"
    document.write_text(DOCUMENT)
    done = run(
        *("--quick", "--rounds", 1, "--seconds", 0.1, "--in-flight", 64, "--sections", "calls"),
        *("--peers", "one_process", "--json", written, "--markdown", document),
    )
    assert done.returncode == 0, done.stderr
    rows = {line["row"] for line in json.loads(written.read_text())["calls"]["summary"]}
    assert rows == {"raw echo", "one process", "provider"}
    assert "| provider | 64 |" in done.stdout
    assert "| provider | 64 |" in document.read_text()


@pytest.mark.long
def test_a_short_run_of_everything_that_needs_no_peers(tmp_path):
    document, written = tmp_path / "speed.md", tmp_path / "report.json"
    document.write_text(DOCUMENT)
    done = run(
        *("--quick", "--rounds", 1, "--seconds", 0.1, "--in-flight", "1,64"),
        *("--peers", "one_process,micro,signed", "--chunked", 3_000_000),
        *("--json", written, "--markdown", document),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(written.read_text())
    rows = {line["row"] for line in told["calls"]["summary"]}
    assert rows == {"raw echo", "one process", "nats micro", "provider", "provider, signed"}
    assert [line["size"] for line in told["payloads"]] == [1024, 102_400, 1_048_576, 3_000_000]
    assert [line["size"] for line in told["passing"]] == [1_048_576, 3_000_000]
    assert told["slow"]["ratio"] > 0
    assert all(figure > 0 for figure in told["starts"].values())
    verdicts = [aim["verdict"] for aim in told["aims"]]
    # FastStream was left out, and nothing ran with 256 calls in flight.
    assert verdicts.count("not measured") == 3
    assert "| provider | 64 |" in done.stdout
    assert "| provider | 64 |" in document.read_text()
    assert "| start: import of the host |" in done.stdout


def test_a_void_run_ends_with_1_and_writes_nothing(tmp_path, monkeypatch, capsys):
    def fail(_plan):
        raise Failed("not the right answer")

    monkeypatch.setattr(call, "measure", fail)  # no real run can be told to be wrong
    document = tmp_path / "speed.md"
    document.write_text(DOCUMENT)
    arguments = ["--json", str(tmp_path / "report.json"), "--markdown", str(document)]
    assert call.main(arguments) == 1
    assert "failed: not the right answer" in capsys.readouterr().err
    assert document.read_text() == DOCUMENT
    assert not (tmp_path / "report.json").exists()


def test_a_document_without_blocks_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(call, "measure", lambda _plan: pytest.fail("it ran"))  # it must not
    document = tmp_path / "speed.md"
    document.write_text("# Speed\n")
    with pytest.raises(SystemExit) as exit_:
        call.main(["--markdown", str(document)])
    assert exit_.value.code == 2
    assert "it has no block" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rounds", "0"],
        ["--seconds", "nan"],
        ["--in-flight", "1,x"],
        ["--peers", "celery"],
        ["--sections", "weather"],
    ],
)
def test_what_makes_no_sense_is_refused(arguments, monkeypatch, capsys):
    monkeypatch.setattr(call, "measure", lambda _plan: pytest.fail("it ran"))  # it must not
    with pytest.raises(SystemExit) as exit_:
        call.main(arguments)
    assert exit_.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_quick_is_a_plan_that_single_options_change(monkeypatch):
    plans = []

    def measured(plan):
        plans.append(plan)
        return report()

    monkeypatch.setattr(call, "measure", measured)  # the plan is looked at; runs take minutes
    assert call.main(["--quick"]) == call.main(["--quick", "--rounds", "7"]) == 0
    assert (plans[0].rounds, plans[1].rounds) == (2, 7)
    assert plans[0].seconds == plans[1].seconds == 0.3


@pytest.mark.long
def test_a_peer_that_cannot_be_installed_is_left_out(tmp_path, capsys):
    nowhere = ("--no-index", "a-package-that-is-nowhere")
    assert environments.python_of(tmp_path, "nobody", nowhere) is None
    assert "nobody is left out" in capsys.readouterr().err


def test_a_process_that_does_not_start_is_told_with_its_last_words():
    with processes.Processes() as started:
        with pytest.raises(Failed, match="no such thing"):
            started.start([sys.executable, "-c", "raise SystemExit('no such thing')"], ready=b"x")
        assert not started.runs(started.start([sys.executable, "-c", "print('y')"], ready=b"y") + 1)


def test_nothing_is_left_of_a_run():
    with processes.Processes() as started:
        sleeping = started.start(
            [sys.executable, "-uc", "print('here'); import time; time.sleep(600)"], ready=b"here"
        )
        assert started.runs(sleeping)
        folder = started.folder
    assert not started.runs(sleeping)
    assert not folder.exists()
