"""What an inference over KServe's gRPC costs: the provider beside MLServer.

    python -m benchmarks.kserve [--rounds 5] [--seconds 2] [--in-flight 1,16] [--json FILE]

The rule of this file: a number is worth something only beside another one of the same minute. All
rows serve the same two functions and are sent the same messages, by one load generator, and take
turns round by round; what is quoted is the median over the rounds. An answer that is wrong ends the
run with exit code 1.

`text` is a short text in capitals, `tensor` ten megabytes of floats, each doubled. The row `copy`
is what the tensor's way costs when nobody looks at it: a gRPC server that hands the bytes to a
second process over a socket, and back. CPU is that of all processes that answer; nats-server and
the load generator do not count. Linux only, because it reads the CPU clocks of other processes.

MLServer is installed by pip, once, into an environment of its own in --peers; where it cannot be
had it is left out, and that is said.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.inference.question import question
from benchmarks.inference.rows import House
from benchmarks.measuring import counted, environments
from benchmarks.measuring.command import command
from benchmarks.measuring.processes import Processes
from benchmarks.measuring.rounds import turned
from benchmarks.measuring.said import say

if TYPE_CHECKING:
    from benchmarks.inference.rows import Row


def measure(row: Row, cell: str, in_flight: int, seconds: float) -> dict[str, float]:
    """Calls per second, latencies, and CPU per call in microseconds.

    Raises:
        Failed: an answer was wrong, none came, or a process died.
    """
    words = [str(row.port), cell, str(in_flight), str(seconds), str(int(row.same))]
    name = f"{row.name}, {cell}"
    return counted.measure(name, ["benchmarks.inference.load", *words], row.processes)


def table(cells: dict[tuple[str, str, int], list[dict[str, float]]]) -> str:
    """Medians over the rounds, a line for each row."""
    head = f"{'':22}{'':8}{'in flight':>10}{'calls/s':>10}{'MB/s':>8}{'p50 ms':>9}{'p99 ms':>9}"
    lines = [f"{head}{'CPU µs/call':>13}{'calls/s of CPU':>16}"]
    for (name, cell, in_flight), found in cells.items():
        middle = {key: statistics.median(each[key] for each in found) for key in found[0]}
        # There and back.
        megabytes = middle["calls_per_second"] * 2 * len(question(cell)[1]) / 1e6
        of_cpu = 1e6 / middle["cpu"] if middle["cpu"] else 0.0
        lines.append(
            f"{name:22}{cell:8}{in_flight:10}{middle['calls_per_second']:10.1f}{megabytes:8.1f}"
            f"{middle['p50_ms']:9.2f}{middle['p99_ms']:9.2f}{middle['cpu']:13.1f}{of_cpu:16.1f}"
        )
    return "\n".join(lines)


@command
def main() -> int:
    """Parse, run, print. The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kserve",
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5, help="of which medians are taken")
    parser.add_argument("--seconds", type=float, default=2.0, help="counted in each cell")
    parser.add_argument("--in-flight", default="1,16", help="of texts; of tensors 1 and 4")
    parser.add_argument(
        "--peers", type=Path, default=environments.PLACE, help="folder of MLServer, installed once"
    )
    parser.add_argument("--json", type=Path, help="write everything that was measured here")
    options = parser.parse_args()
    flights = {"text": list(map(int, options.in_flight.split(","))), "tensor": [1, 4]}
    cells: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    with Processes() as processes:
        rows = list(House(processes, options.peers).rows())
        for number in range(options.rounds):
            say(f"round {number + 1} of {options.rounds}")
            for cell, in_flight in [(c, n) for c in flights for n in flights[c]]:
                # Each is first, in its turn.
                for row in (each for each in turned(rows, number) if cell in each.cells):
                    found = measure(row, cell, in_flight, options.seconds)
                    cells.setdefault((row.name, cell, in_flight), []).append(found)
    order = sorted(cells, key=lambda key: (list(flights).index(key[1]), key[2]))
    print(table({key: cells[key] for key in order}))
    if options.json:
        told = [
            {"row": n, "cell": c, "in_flight": f, "rounds": r} for (n, c, f), r in cells.items()
        ]
        options.json.write_text(json.dumps(told, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
