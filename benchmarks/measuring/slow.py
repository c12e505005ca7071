"""A handler that computes for a millisecond: what is left of the machine's calls.

The rule of this file: the function that the provider serves is the one the loop calls, read from
the same file, and it does a fixed piece of work, found once by the clock.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import rounds as turns
from benchmarks.measuring.processes import ROOT, clean_environment
from benchmarks.measuring.rows import start_provider
from benchmarks.measuring.said import say
from benchmarks.measuring.work import Work

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.measuring.load import LoadGenerator
    from benchmarks.measuring.processes import Processes

    Measured = dict[str, Any]

MILLISECOND = 0.001
IN_FLIGHT = 8
PROGRAM = """
def handle(command, arg):
    total = 0
    for number in range({steps}):
        total += number & arg
    return total
"""
LOOP = """
import runpy, sys, time
handle = runpy.run_path(sys.argv[1])["handle"]
end, calls = time.perf_counter() + float(sys.argv[2]), 0
began = time.perf_counter()
while (now := time.perf_counter()) < end:
    handle("py.slow", 3)
    calls += 1
print(calls / (time.perf_counter() - began))
"""


def measure(
    processes: Processes, load: LoadGenerator, *, rounds: int, seconds: float
) -> list[Measured]:
    """Calls per second of the provider and of the loop, round by round.

    Raises:
        Failed: an answer was wrong, missing or extra, or a process died.
    """
    program = processes.folder / "slow.py"
    result = write(program)
    provider = start_provider(processes, program, "slow")
    work = Work("py.slow", 3, result, program)
    cells = []
    for number in range(rounds):
        looped = in_loop(program, seconds)
        cell = turns.measure(
            processes,
            load,
            provider,
            work,
            in_flight=IN_FLIGHT,
            seconds=seconds,
            where=f"round {number + 1}, 1 ms",
        )
        say(f"round {number + 1}, 1 ms, called in a loop: {looped:.0f} calls/s")
        cells.append({"round": number + 1, "loop": looped, "provider": cell["calls_per_second"]})
    return cells


def write(program: Path) -> int:
    """Write the program, so that a call takes about a millisecond here; what it returns for 3."""
    steps, took = 1000, 0.0
    while took < MILLISECOND:
        namespace: dict[str, Any] = {}
        exec(PROGRAM.format(steps=steps), namespace)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            result = namespace["handle"]("", 3)
            times.append(time.perf_counter() - began)
        took = min(times)
        if took < MILLISECOND:
            steps = int(steps * max(1.05, 0.9 * MILLISECOND / took))
    program.write_text(PROGRAM.format(steps=steps))
    return int(result)


def in_loop(program: Path, seconds: float) -> float:
    """Calls per second of the handler in a process that does nothing else."""
    told = subprocess.run(
        [sys.executable, "-c", LOOP, str(program), str(seconds)],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(told.stdout)


def summary(cells: Sequence[Measured]) -> Measured:
    """Medians over the rounds."""
    return {
        "loop_per_second": statistics.median(cell["loop"] for cell in cells),
        "calls_per_second": statistics.median(cell["provider"] for cell in cells),
        "ratio": statistics.median(cell["provider"] / cell["loop"] for cell in cells),
    }
