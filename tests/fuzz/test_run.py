"""`make fuzz`: what it says, and that it finds what is wrong."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, clean_environment, until_gone
from tests.faults.scenario import children
from tests.fuzz import run, target

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    find_spec("atheris") is None, reason="there is no atheris for this platform"
)


def fuzz(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", *arguments],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.long
def test_it_says_what_was_run(tmp_path):
    arguments = ("wire.said", "planted.right", "--runs", "300", "--seed", "7")
    code, said, wrong = fuzz(*arguments, "--folder", str(tmp_path))
    assert (code, wrong) == (0, "")
    rows = {row[0]: row for line in said.splitlines() if "." in (row := line.split() or [""])[0]}
    inputs, places, kept = map(int, rows["wire.said"][1:4])
    assert inputs >= 300
    assert places > 20
    assert kept > 0
    assert re.search(r"\n\d+ inputs of 2 targets, 0 found something, seed 7\n", said)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("raises", "LookupError: planted"),
        pytest.param(
            "logged",
            "ErrorLogged: {'component': 'planted', 'event': 'planted'}",
            marks=pytest.mark.long,
        ),
        pytest.param("slow", "TooMuch: ", marks=pytest.mark.long),
        ("large", "TooMuch: "),
    ],
)
def test_what_is_wrong_is_found_and_kept(tmp_path, name, reason):
    arguments = (f"planted.{name}", "--runs", "100000", "--seed", "1", "--folder", str(tmp_path))
    code, said, _ = fuzz(*arguments)
    assert code == 1
    assert reason in said
    (path,) = map(Path, re.findall(r"FOUND (.*)", said))
    assert b"!!" in path.read_bytes()
    assert "1 found something, seed 1" in said
    if name != "raises":
        return
    # Found again, it is the same input.
    assert f"FOUND {path}\n" in fuzz(*arguments)[1]
    # What is told to see it again does show it.
    again = said.rpartition("again: ")[2].split()
    done = subprocess.run(
        again, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=150, check=False
    )
    assert done.returncode
    assert reason.partition(":")[0].encode() in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_it_early_leaves_nothing(tmp_path, number):
    arguments = ("planted.right", "--runs", "1000000000", "--folder", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz.run", *arguments],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout as told:
        while not told.readline().startswith("target "):
            pass
        while not (inside := children(process.pid)):
            time.sleep(0.01)  # nobody tells when a process has a child
        process.send_signal(number)
        assert process.wait(PATIENCE) == (130 if number == signal.SIGINT else 128 + number)
        said = told.read()
    assert until_gone(inside[0])
    assert ("ended early: 0 inputs" in said) == (number == signal.SIGINT)


def test_a_target_that_is_not_there_is_said(capsys):
    assert run.main(["wire.nothing"]) == 2
    assert run.main(["nothing.at_all"]) == 2
    assert capsys.readouterr().err.count("no such target: ") == 2


def test_every_module_has_its_targets():
    folder = Path(target.__file__).parent / "targets"
    modules = {path.stem for path in folder.glob("*.py")} - {"planted"}
    assert modules == set(target.MODULES)
    assert {each.name.partition(".")[0] for each in target.every()} == modules
