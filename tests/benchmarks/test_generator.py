"""What a load generator says arrives whole."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.measuring.processes import ROOT
from tests.conftest import PATIENCE

LONG = 1_000_000
PROGRAM = f"""
import signal
from benchmarks.measuring.generator import answer
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
answer(lambda cell: {{"long": "x" * {LONG}}})
"""


def test_a_long_line_is_whole_whatever_interrupts_it():
    generator = [sys.executable, "-u", "-c", PROGRAM]
    with subprocess.Popen(
        generator, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        out, _ = process.communicate(b"{}\n{}\n", PATIENCE)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [len(line["long"]) for line in lines] == [LONG, LONG]
