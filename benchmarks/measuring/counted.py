"""A load generator that is started for one cell, and says when it begins to count.

The rule of this file: CPU is taken between its word and its figures, so both are of the same
seconds. A generator that sees a wrong answer says so and dies, which makes the run void.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from benchmarks.measuring.processes import PATIENCE, ROOT, clean_environment, cpu_seconds
from benchmarks.measuring.said import Failed, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BEGIN = "counting"


def measure(name: str, command: Sequence[str], processes: Mapping[str, int]) -> dict[str, float]:
    """One cell.

    Args:
        name: of the row, for errors.
        command: module and arguments of the generator, which calls `begin` and `end`.
        processes: whose CPU counts, by name.

    Returns:
        `calls_per_second`, `p50_ms`, `p99_ms`; `cpu` in microseconds for a call, and the part of
        each process, as `cpu_host`.

    Raises:
        Failed: an answer was wrong, none came, or a process died.
    """
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as generator:
        assert generator.stdout is not None
        if generator.stdout.readline() != f"{_BEGIN}\n":
            raise Failed(f"{name}: the load generator gave up")
        began, before = time.monotonic(), _cpu(processes)
        line = generator.stdout.readline()
        took, after = time.monotonic() - began, _cpu(processes)
        if generator.wait(PATIENCE) or not line:
            raise Failed(f"{name}: the load generator gave up")
    told: dict[str, float] = json.loads(line)
    calls = told["calls"]
    if not calls:
        raise Failed(f"{name}: nothing was answered")
    each = {f"cpu_{name}": (after[name] - before[name]) / calls * 1e6 for name in processes}
    return {
        "calls_per_second": calls / took,
        "p50_ms": told["p50"] * 1e3,
        "p99_ms": told["p99"] * 1e3,
        "cpu": sum(each.values()),
        **each,
    }


def _cpu(processes: Mapping[str, int]) -> dict[str, float]:
    return {name: cpu_seconds(process) for name, process in processes.items()}


# --- the generator's end --------------------------------------------------------------------------


def begin() -> None:
    """Say that calls count from here on."""
    print(_BEGIN, flush=True)


def end(latencies: Sequence[float]) -> NoReturn:
    """Say what came since, and end this process, whatever is still open.

    Args:
        latencies: seconds each call took.
    """
    counted = sorted(latencies)
    told = {"calls": len(counted), "p50": _at(counted, 0.5), "p99": _at(counted, 0.99)}
    print(json.dumps(told), flush=True)
    os._exit(0)


def give_up(why: str) -> NoReturn:
    """End this process because the run is void."""
    say(why)
    os._exit(1)


def _at(latencies: Sequence[float], part: float) -> float:
    return latencies[min(len(latencies) - 1, int(len(latencies) * part))] if latencies else 0.0
