"""What a start takes, what is resident after it, and what a look at the program's files costs.

The rule of this file: warm means that everything was read from disk and compiled before, so the
first start of each kind is not counted. What is quoted is the median. A worker is started in two
ways: with its host, where both share the cores, and after it was killed, where one is its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import nats

from benchmarks.measuring.processes import (
    PATIENCE,
    ROOT,
    clean_environment,
    family,
    resident_bytes,
)
from benchmarks.measuring.said import Failed, say
from benchmarks.measuring.work import FACTORIAL, FACTORIAL_PROGRAM
from provider.host.files import ProgramFiles

if TYPE_CHECKING:
    from benchmarks.measuring.processes import Processes

    Measured = dict[str, Any]

IMPORTS = """
import time
began = time.perf_counter()
import provider.cli, provider.cli.run, provider.host.run
print(time.perf_counter() - began)
"""
"""What `provider run` imports before it serves."""
LOOKS = 20_000
MEGABYTE = 1e6


def measure(processes: Processes, *, times: int) -> Measured:
    """All of it.

    Raises:
        Failed: something did not start, or answered wrongly.
    """
    starts = [_first_answer(processes) for _ in range(times + 1)][1:]
    imports = [_import() for _ in range(times + 1)][1:]
    found = {
        "first_answer_ms": statistics.median(each["seconds"] for each in starts) * 1e3,
        "host_mb": statistics.median(each["host"] for each in starts) / MEGABYTE,
        "worker_mb": statistics.median(each["worker"] for each in starts) / MEGABYTE,
        "import_ms": statistics.median(imports) * 1e3,
        "worker_start_ms": statistics.median(_worker_starts(processes, times)) * 1e3,
        "first_worker_start_ms": statistics.median(each["worker_start"] for each in starts) * 1e3,
        "reload_check_us": reload_check() * 1e6,
    }
    say("start: " + ", ".join(f"{name} {figure:.2f}" for name, figure in found.items()))
    return found


def _first_answer(processes: Processes) -> dict[str, float]:
    """Start the provider, call it once it says that it is ready, and end it."""
    began = time.perf_counter()
    host = _start(processes)
    asyncio.run(_call(processes.nats_url))
    took = time.perf_counter() - began
    processes_of_it = family(host)
    figures = {name: float(resident_bytes(processes_of_it[name])) for name in ("host", "worker")}
    processes.end(host)
    (worker_start,) = _told(processes, host)
    return {"seconds": took, "worker_start": worker_start, **figures}


def _start(processes: Processes) -> int:
    return processes.start(
        [sys.executable, "-m", "provider", "run", "--no-env-file"],
        ready=rb'"event": ?"ready"',
        environment={
            "PYTHON_DISPATCH": str(FACTORIAL_PROGRAM),
            "NATS_URL": processes.nats_url,
            "PROVIDER_LATTICE": "starts",
            "PROVIDER_LOG_FORMAT": "json",
        },
    )


def _worker_starts(processes: Processes, times: int) -> list[float]:
    """Seconds that workers take to start which take the place of one that was killed."""
    host = _start(processes)
    for count in range(1, times + 1):
        os.kill(family(host)["worker"], signal.SIGKILL)
        end = time.monotonic() + PATIENCE
        while len(_told(processes, host)) <= count:
            if time.monotonic() > end:
                raise Failed("no worker took the place of one that was killed")
            time.sleep(0.01)  # the thread that reads what is said tells nobody
    told = _told(processes, host)
    processes.end(host)
    return told[1:]


def _told(processes: Processes, host: int) -> list[float]:
    """Seconds between the start of each worker's process and its word that all is loaded."""
    lines = [line for line in processes.lines(host) if b'"worker_ready"' in line]
    return [float(json.loads(line)["seconds"]) for line in lines]


async def _call(url: str) -> None:
    client = await nats.connect(url)
    subject = "wasmbus.rpc.starts.python.default"
    answer = await client.request(subject, FACTORIAL.request, timeout=PATIENCE)
    await client.close()
    if answer.data != FACTORIAL.answer:
        raise Failed(f"the first answer is wrong: {answer.data[:200]!r}")


def _import() -> float:
    told = subprocess.run(
        [sys.executable, "-c", IMPORTS],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(told.stdout)


def reload_check() -> float:
    """Seconds the host's look at the program's files takes; once for a burst of calls."""
    files = ProgramFiles()
    files.take({"files": [], "programs": [str(FACTORIAL_PROGRAM)]})
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(LOOKS):
            files.changed()
        times.append((time.perf_counter() - began) / LOOKS)
    return statistics.median(times)
