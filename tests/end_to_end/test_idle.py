"""A provider that nobody calls costs next to nothing, although it watches files."""

from __future__ import annotations

import os
import time
from pathlib import Path

LOOKED_AT = 3.0
"""Seconds for which it is left alone."""
MOST = 0.05
"""Of one processor."""


def used(pids: list[int]) -> float:
    """Seconds of processor time of these processes."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def test_watching_costs_no_processor_time(start_provider, tmp_path):
    # A folder with much in it that is none of ours: only what was loaded is looked after.
    for number in range(200):
        (tmp_path / f"folder{number}").mkdir()
        (tmp_path / f"folder{number}" / "more.py").write_text("x = 1\n")
    (tmp_path / "helper.py").write_text("x = 5\n")
    provider = start_provider("import helper\ndef handle(command, arg): return helper.x\n")
    assert provider.call("x") == 5
    pids = [provider.pid, provider.worker_pid]
    before, began = used(pids), time.monotonic()
    time.sleep(LOOKED_AT)
    share = (used(pids) - before) / (time.monotonic() - began)
    assert share < MOST
