"""What is absent is so for one import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from provider.telemetry.absent import absent


def test_within_it_cannot_be_imported_and_afterwards_it_can():
    with absent("this"), pytest.raises(ImportError):
        import this  # noqa: F401  its presence is the question
    assert "this" not in sys.modules


def test_what_was_imported_before_stays():
    with absent("json"):
        import json
    assert sys.modules["json"] is json


def test_logs_are_written_without_what_would_draw_tracebacks():
    program = "import sys, provider.telemetry.logs; print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() == b"False"
