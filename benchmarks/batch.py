"""What batches gain: one numpy handler that is called alone, and the same one with lists.

    python -m benchmarks.batch [--rounds 3] [--seconds 2] [--in-flight 64]

The rule of this file: both operations are of one module and one provider, and answer the same
question with the same matrix, so that all that differs is how many calls they are given at once.
The library of linear algebra has one thread, because there are no cores to spare for more.
How it is measured is as in `call`: the same load generator, turns round by round, medians, and an
answer that is wrong ends the run with exit code 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

import numpy as np

from benchmarks.measuring.command import command
from benchmarks.measuring.load import LoadGenerator
from benchmarks.measuring.processes import Processes
from benchmarks.measuring.rounds import measure
from benchmarks.measuring.rows import start_provider
from benchmarks.measuring.work import Work

SIZE = 512
PROGRAM = f"""
import numpy as np
from provider.dispatch import operation

made = np.random.default_rng(5)
weights = made.standard_normal(({SIZE}, {SIZE}), dtype=np.float32)
inputs = made.standard_normal(({SIZE}, {SIZE}), dtype=np.float32)

@operation
def alone(which):
    return int((inputs[which] @ weights).argmax())

@operation(batch=64)
def together(which):
    return (inputs[which] @ weights).argmax(axis=1).tolist()
"""
QUESTION = 7
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@command
def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--in-flight", type=int, default=64)
    options = parser.parse_args()
    cells = run(options)
    print("| operation | calls/s | p50 µs | CPU µs/call, host | CPU µs/call, worker |")
    print("|---|--:|--:|--:|--:|")
    for name, measured in cells.items():
        numbers = [statistics.median(each) for each in zip(*map(_numbers, measured), strict=True)]
        print(
            f"| {name} | {numbers[0]:.0f} | {numbers[1]:.0f} | "
            + " | ".join(f"{number:.1f}" for number in numbers[2:])
            + " |"
        )
    return 0


def run(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Measure both operations, round by round.

    Raises:
        Failed: some answer was wrong or missing, or a process died.
    """
    made = np.random.default_rng(5)
    weights = made.standard_normal((SIZE, SIZE), dtype=np.float32)
    inputs = made.standard_normal((SIZE, SIZE), dtype=np.float32)
    result = int((inputs[QUESTION] @ weights).argmax())
    cells: dict[str, list[dict[str, Any]]] = {"alone": [], "together": []}
    with Processes() as processes, LoadGenerator() as load:
        processes.start_nats()
        program = processes.folder / "dispatch.py"
        program.write_text(PROGRAM, encoding="utf-8")
        started = start_provider(processes, program, settings=ONE_THREAD)
        for number in range(1, options.rounds + 1):
            for name, measured in cells.items():
                cell = measure(
                    processes,
                    load,
                    started,
                    Work(name, QUESTION, result, program),
                    in_flight=options.in_flight,
                    seconds=options.seconds,
                    where=f"round {number}, {name}",
                )
                measured.append(cell)
    return cells


def _numbers(measured: dict[str, Any]) -> tuple[float, float, float, float]:
    cpu = measured["cpu_us"]
    return measured["calls_per_second"], measured["p50_us"], cpu["host"], cpu["worker"]


if __name__ == "__main__":
    sys.exit(main())
