"""Imports of a command look for no garbage, and what it writes arrives whole."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from provider.cli import early
from tests.conftest import PATIENCE


@pytest.fixture(params=[True, False])
def enabled(request):
    """Whether garbage was looked for before."""
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def test_what_is_imported_is_not_looked_through_and_the_rest_is_as_before(enabled):
    frozen = gc.get_freeze_count()
    with early.importing():
        assert not gc.isenabled()
        kept = [[number] for number in range(1000)]
    assert gc.isenabled() is enabled
    assert gc.get_freeze_count() >= frozen + len(kept)


def test_an_import_that_fails_changes_nothing(enabled):
    with pytest.raises(ModuleNotFoundError), early.importing():
        raise ModuleNotFoundError
    assert gc.isenabled() is enabled


LONG = 1_000_000
WRITES = f"""
import signal, sys
from provider.cli import early
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
early.write_whole()
for stream in sys.stdout, sys.stderr:
    stream.write("x" * {LONG})
    print("at once", file=stream)
    stream.buffer.raw.write(b".")
signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_what_is_written_without_buffers_is_whole_whatever_interrupts_it():
    done = subprocess.run(
        [sys.executable, "-u", "-c", WRITES], capture_output=True, timeout=PATIENCE, check=True
    )
    assert done.stdout == done.stderr == b"x" * LONG + b"at once\n."


def test_streams_that_have_buffers_are_left_alone():
    program = "import sys; from provider.cli import early; before = sys.stdout, sys.stderr\n"
    program += "early.write_whole(); assert (sys.stdout, sys.stderr) == before"
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    subprocess.run([sys.executable, "-c", program], timeout=PATIENCE, check=True, env=environment)
