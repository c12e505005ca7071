"""A load that is started for one cell: its figures are believed only when it came to its end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.measuring import counted
from benchmarks.measuring.said import Failed

LOAD = """
import sys, time
from benchmarks.measuring.counted import begin, end, give_up

def main():
    if "early" in sys.argv:
        give_up("a wrong answer")
    begin()
    if "late" in sys.argv:
        give_up("a wrong answer")
    end([] if "silent" in sys.argv else [0.004, 0.001, 0.002, 0.003])

main()
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    (tmp_path / "made_up_load.py").write_text(LOAD)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{counted.ROOT}")
    return lambda *words: counted.measure("row", ["made_up_load", *words], {"me": os.getpid()})


def test_figures_are_those_of_the_load_and_of_the_processes(load):
    told = load()
    assert (told["p50_ms"], told["p99_ms"]) == (3.0, 4.0)
    assert told["calls_per_second"] > 0
    assert told["cpu"] == told["cpu_me"] >= 0


@pytest.mark.parametrize("when", ["early", "late"])
def test_a_wrong_answer_makes_the_run_void(load, when, capfd):
    with pytest.raises(Failed, match="row: the load generator gave up"):
        load(when)
    assert capfd.readouterr().err == "a wrong answer\n"


def test_no_answer_makes_the_run_void(load):
    with pytest.raises(Failed, match="row: nothing was answered"):
        load("silent")


@pytest.mark.long
@pytest.mark.parametrize(
    ("module", "words", "rows"),
    [
        ("http", ("--connections", "2"), ("provider  ", "provider gateway  ")),
        ("kserve", ("--in-flight", "2"), ("provider  ", "copy  ")),
    ],
)
def test_a_short_run_without_peers(tmp_path, module, words, rows):
    nowhere = tmp_path / "file"
    nowhere.touch()  # so that nothing can be installed there
    done = subprocess.run(
        [
            *(sys.executable, "-m", f"benchmarks.{module}", "--rounds", "1", "--seconds", "0.2"),
            *(*words, "--peers", str(nowhere)),
        ],
        cwd=counted.ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr
    assert "is left out" in done.stderr
    for row in rows:
        assert f"\n{row}" in done.stdout
