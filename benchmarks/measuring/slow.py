"""A handler that computes for a millisecond: what is left of the machine's calls.

The rule of this file: the function that the provider serves is the one the loop calls, read from
the same file, and it does a fixed piece of work, found once by the clock. The loop is measured
before and after the provider, so a machine that becomes slower is slower for both. Where that
happens within tenths of a second, no such ratio means anything to a hundredth; so the function
keeps its own time, too: what of the worker's time is spent in it is what there is left of a loop in
the same moment. And two loops are measured at once, because no process is as quick beside another
one as it is alone: cores share caches and memory, and those of virtual machines often more.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import rounds as turns
from benchmarks.measuring.processes import ROOT, clean_environment
from benchmarks.measuring.rows import start_provider
from benchmarks.measuring.said import Failed, say
from benchmarks.measuring.work import Work
from provider import client

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.measuring.load import LoadGenerator
    from benchmarks.measuring.processes import Processes

    Measured = dict[str, Any]

MILLISECOND = 0.001
LATTICE = "slow"
IN_FLIGHT = 8
ARGUMENT = 3
PROGRAM = """
from time import perf_counter

inside = between = ended = 0.0


def handle(command, arg):
    global inside, between, ended
    if command == "py.share":
        told = [inside, between]
        inside = between = ended = 0.0
        return told
    began = perf_counter()
    if ended:
        between += began - ended
    total = 0
    for number in range({steps}):
        total += number & arg
    ended = perf_counter()
    inside += ended - began
    return total
"""
LOOP = """
import runpy, sys, time
handle, argument = runpy.run_path(sys.argv[1])["handle"], int(sys.argv[2])
print(flush=True)
sys.stdin.readline()
end, calls = time.perf_counter() + float(sys.argv[3]), 0
began = time.perf_counter()
while time.perf_counter() < end:
    handle("", argument)
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
    provider = start_provider(processes, program, LATTICE)
    work = Work("py.slow", ARGUMENT, result, program)
    cells = []
    before = in_loops(program, ARGUMENT, seconds)
    for number in range(rounds):
        share(processes.nats_url)  # what was before does not count
        cell = turns.measure(
            processes,
            load,
            provider,
            work,
            in_flight=IN_FLIGHT,
            seconds=seconds,
            where=f"round {number + 1}, 1 ms",
        )
        inside = share(processes.nats_url)
        after = in_loops(program, ARGUMENT, seconds)
        say(f"round {number + 1}, 1 ms, called in a loop: {after:.0f} calls/s")
        cells.append(
            {
                "round": number + 1,
                "loop": (before + after) / 2,
                "provider": cell["calls_per_second"],
                "share": inside,
                "two_loops": in_loops(program, ARGUMENT, seconds, count=2),
            }
        )
        before = in_loops(program, ARGUMENT, seconds)
    return cells


def write(program: Path) -> int:
    """Write the program, so that a call takes about a millisecond here; what it returns."""
    steps, took = 1000, 0.0
    while took < MILLISECOND:
        namespace: dict[str, Any] = {}
        exec(PROGRAM.format(steps=steps), namespace)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            result = namespace["handle"]("", ARGUMENT)
            times.append(time.perf_counter() - began)
        took = min(times)
        if took < MILLISECOND:
            steps = int(steps * max(1.05, 0.9 * MILLISECOND / took))
    program.write_text(PROGRAM.format(steps=steps))
    return int(result)


def share(url: str) -> float:
    """Of the time from the first call to the last one since this was asked before: in the function.

    Args:
        url: of the NATS server.
    """
    with client.connect_sync(url, lattice=LATTICE) as python:
        inside, between = python.call("py.share")
    return float(inside / (inside + between)) if inside else 0.0


def in_loops(program: Path, argument: int, seconds: float, *, count: int = 1) -> float:
    """Calls per second of the handler in processes that do nothing else, all together.

    Args:
        program: with the handler.
        argument: that it is given.
        seconds: to call it for.
        count: of processes, which begin together.

    Raises:
        Failed: one of them ended without a figure.
    """
    command = [sys.executable, "-c", LOOP, str(program), str(argument), str(seconds)]
    with contextlib.ExitStack() as stack:
        loops = [
            stack.enter_context(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=clean_environment(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(count)
        ]
        for loop in loops:
            assert loop.stdout is not None
            loop.stdout.readline()  # it has started
        told = []
        for loop in loops:
            assert loop.stdin is not None
            loop.stdin.write("\n")
            loop.stdin.flush()
        for loop in loops:
            assert loop.stdout is not None
            told.append(loop.stdout.readline())
        if not all(told):
            raise Failed("a loop that calls the handler ended without a figure")
    return sum(map(float, told))


def summary(cells: Sequence[Measured]) -> Measured:
    """Medians over the rounds."""
    return {
        "loop_per_second": statistics.median(cell["loop"] for cell in cells),
        "calls_per_second": statistics.median(cell["provider"] for cell in cells),
        "ratio": statistics.median(cell["provider"] / cell["loop"] for cell in cells),
        "share": statistics.median(cell["share"] for cell in cells),
        "beside_ratio": statistics.median(cell["two_loops"] / cell["loop"] / 2 for cell in cells),
    }
