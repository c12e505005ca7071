"""A command ends with the code its run deserves, and takes its processes along."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from benchmarks.measuring.command import command
from benchmarks.measuring.said import Failed
from tests.conftest import PATIENCE, until_gone
from tests.documents import ROOT

SLEEPS = """
import sys, time
from benchmarks.measuring.command import command
from benchmarks.measuring.processes import Processes

@command
def main():
    with Processes() as processes:
        words = [sys.executable, "-uc", "print('here'); import time; time.sleep(600)"]
        print(processes.start(words, ready=b"here"), flush=True)
        time.sleep(600)  # until it is ended
    return 0

sys.exit(main())
"""


@pytest.fixture(autouse=True)
def _signals_as_they_were():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_code_of_a_command_is_its_own():
    assert command(lambda code: code)(7) == 7


def test_a_void_run_is_told_and_ends_with_1(capsys):
    @command
    def main() -> int:
        raise Failed("not the right answer")

    assert main() == 1
    assert capsys.readouterr().err == "failed: not the right answer\n"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_whatever_ends_it_leaves_no_process(number, code):
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPS], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        inside = int(running.stdout.readline())
        running.send_signal(number)
        assert running.wait(PATIENCE) == code
    assert until_gone(inside)
