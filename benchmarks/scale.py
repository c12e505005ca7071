"""How many machines carry how many calls: measured constants, a simulation, and a check of it.

    python -m benchmarks.scale [--quick] [--markdown docs/scale.md]

The rule of this file: two measurements on this machine give the constants (`scaling/model.py`), the
simulation makes of them what the other scenes must be (`scaling/simulation.py`), and those are
measured too, in the same minute; the error is told beside each figure. Only then is the simulation
asked about machines that are not here.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cbor2
import nats.errors

from benchmarks.measuring.asked import requests_of
from benchmarks.measuring.command import command
from benchmarks.measuring.processes import PATIENCE, Processes
from benchmarks.measuring.rows import start_provider
from benchmarks.measuring.said import Failed, say
from benchmarks.measuring.work import FACTORIAL
from benchmarks.scaling.blocks import Checked, Report, Routed, cpu_of, renewed, whole
from benchmarks.scaling.load import Cell, LoadGenerator, Measured
from benchmarks.scaling.model import fitted
from benchmarks.scaling.simulation import Scene, play
from benchmarks.scaling.sizes import one_provider, size
from provider.host.embedded import find_server

if TYPE_CHECKING:
    from collections.abc import Sequence

ALONE, TOGETHER = 1, 1024
"""Calls in flight in the two measurements the constants are read off."""
BETWEEN = (16, 64, 256)
"""Calls in flight where the simulation has to say what comes."""
RATES = (1e5, 1e6)
HANDLERS = (0.0, 1000.0)
"""Microseconds."""
SETTINGS = {"PROVIDER_QUEUE_CALLS": "20000"}
SPINNING = """
import time

def handle(command, arg):
    end = time.process_time_ns() + arg * 1000
    while time.process_time_ns() < end:
        pass
"""
"""A function that uses a core for so many microseconds."""


class Bench:
    """What is measured with.

    Args:
        processes: of the run, with a NATS server.
        nats_process: the server's.
        load: the generator.
        rounds: of which the median is taken.
        seconds: counted in each cell.
    """

    def __init__(
        self,
        processes: Processes,
        nats_process: int,
        load: LoadGenerator,
        rounds: int,
        seconds: float,
    ) -> None:
        self.processes = processes
        self._nats = nats_process
        self._load = load
        self._rounds = rounds
        self._seconds = seconds

    def measure(
        self,
        subject: str,
        hosts: Sequence[dict[str, int]],
        levels: Sequence[int],
        request: bytes = FACTORIAL.request,
    ) -> dict[int, Measured]:
        """Cells of these numbers of calls in flight; of each the median over the rounds by CPU.

        Args:
            subject: that is asked.
            hosts: processes of the providers behind it.
            levels: calls in flight.
            request: what is asked.
        """
        named = {
            f"{name} {number}" if number else name: process
            for number, host in enumerate(hosts)
            for name, process in host.items()
        }
        cells: dict[int, list[Measured]] = {level: [] for level in levels}
        for _ in range(self._rounds):
            for level in levels:
                cell = Cell(
                    url=self.processes.nats_url,
                    subject=subject,
                    requests=[request.hex()],
                    in_flight=level,
                    seconds=self._seconds,
                    processes={"nats": self._nats, **named},
                )
                cells[level].append(_by_kind(self._load.measure(cell)))
        return {level: _middle(found) for level, found in cells.items()}


def _by_kind(measured: Measured) -> Measured:
    """The same with the processes of several providers as one."""
    cpu: dict[str, float] = {}
    for name, us in measured.cpu.items():
        kind = name.partition(" ")[0]
        cpu[kind] = cpu.get(kind, 0.0) + us
    return replace(measured, cpu=cpu)


def _middle(found: Sequence[Measured]) -> Measured:
    return sorted(found, key=lambda each: cpu_of(each.cpu))[len(found) // 2]


# --- scenes --------------------------------------------------------------------------------------


def measure(rounds: int, seconds: float) -> Report:
    """Everything.

    Raises:
        Failed: a call was not answered with a result, or a process died.
    """
    with Processes() as processes, LoadGenerator() as load:
        bench = Bench(processes, processes.start_nats(), load, rounds, seconds)
        say("one provider")
        one = start_provider(processes, FACTORIAL.program, "one", SETTINGS)
        cells = bench.measure(one.subject, [one.processes], (ALONE, *BETWEEN, TOGETHER))
        constants = fitted(cells[ALONE], cells[TOGETHER])
        say("two providers")
        pair = [
            start_provider(processes, FACTORIAL.program, "two", SETTINGS).processes
            for _ in range(2)
        ]
        subject = one.subject.replace(".one.", ".two.")
        of_two = bench.measure(subject, pair, BETWEEN[-1:])
        checked = [
            Checked(
                f"1 provider, {level} in flight",
                play(_scene(level, 1, cell), constants),
                cell,
                fitted=level in (ALONE, TOGETHER),
            )
            for level, cell in cells.items()
        ] + [
            Checked(
                f"2 providers, {level} in flight", play(_scene(level, 2, cell), constants), cell
            )
            for level, cell in of_two.items()
        ]
        say("functions that take time")
        program = processes.folder / "spinning.py"
        program.write_text(SPINNING, encoding="utf-8")
        for workers in (1, 2):
            settings = {**SETTINGS, "PROVIDER_WORKERS": str(workers)}
            spun = start_provider(processes, program, f"spun{workers}", settings)
            request = cbor2.dumps({"operation": "py.spin", "payload": int(HANDLERS[-1])})
            (cell,) = bench.measure(spun.subject, [spun.processes], (16,), request).values()
            scene = replace(_scene(16, 1, cell), workers=workers, handler=HANDLERS[-1])
            checked.append(
                Checked(f"function of 1 ms, workers: {workers}", play(scene, constants), cell)
            )
        say("two NATS servers")
        routed = _routed(rounds, seconds, load)
    say("sizes")
    ones = [one_provider(constants, handler) for handler in HANDLERS]
    busy_nats = ones[0].played.cpu["nats"]
    return Report(
        about=_about(rounds, seconds),
        constants=constants,
        checked=checked,
        sizes=[size(rate, each, busy_nats) for each in ones for rate in RATES],
        routed=routed,
        bytes_per_call=_bytes_per_call(one.subject),
    )


def _scene(in_flight: int, providers: int, cell: Measured) -> Scene:
    """As it was measured: on the cores that were left to us."""
    cores = os.cpu_count() or 1
    return Scene(in_flight=in_flight, providers=providers, cores=max(0.2, cores - cell.others))


def _routed(rounds: int, seconds: float, load: LoadGenerator) -> Routed:
    """What crossing between two NATS servers costs, and how many calls do."""
    with Processes() as first, Processes() as second:
        near = _start_server(first, "near", routes="")
        far = _start_server(second, "far", routes=_cluster_url(first, near))
        url = first.nats_url

        def servers_cpu(lattice: str, at: Sequence[Processes]) -> tuple[float, list[int]]:
            names = [f"{lattice}{number}" for number in range(len(at))]
            started = [
                start_provider(
                    each, FACTORIAL.program, lattice, {"PROVIDER_NAME": name, **SETTINGS}
                )
                for each, name in zip(at, names, strict=True)
            ]
            asyncio.run(_until_there(url, names))
            before = [asyncio.run(requests_of(url, name)) for name in names]
            bench = Bench(first, near, load, rounds, seconds)
            cell = bench.measure(started[0].subject, [{"other": far}], (64,))[64]
            after = [asyncio.run(requests_of(url, name)) for name in names]
            return cell.cpu["nats"] + cell.cpu["other"], [
                end - start for end, start in zip(after, before, strict=True)
            ]

        at_near, _ = servers_cpu("near", [first])
        at_far, _ = servers_cpu("far", [second])
        _, (stayed, crossed) = servers_cpu("both", [first, second])
        return Routed(at_near, at_far, stayed / (stayed + crossed))


def _start_server(processes: Processes, name: str, *, routes: str) -> int:
    config = processes.folder / "nats.conf"
    config.write_text(
        f'server_name: {name}\nlisten: "127.0.0.1:-1"\n'
        f'cluster {{ name: bench, listen: "127.0.0.1:-1", routes: [{routes}] }}\n'
    )
    ready = rb"Listening for route connections"  # the last thing it says
    server = processes.start([find_server(), "-c", str(config)], ready=ready)
    said = processes.last_words(server)
    port = re.search(r"Listening for client connections on [^ ]*:(\d+)", said)
    if port is None:
        raise Failed(f"the NATS server {name} did not say where it listens:\n{said}")
    processes.nats_port = int(port[1])
    return server


def _cluster_url(processes: Processes, server: int) -> str:
    port = re.search(
        r"Listening for route connections on [^ ]*:(\d+)", processes.last_words(server)
    )
    if port is None:
        raise Failed("the NATS server did not say where it listens for routes")
    return f'"nats://127.0.0.1:{port[1]}"'


async def _until_there(url: str, names: Sequence[str]) -> None:
    """Wait until the server at this URL knows of them, wherever they are."""
    end = time.monotonic() + PATIENCE
    for name in names:
        while True:
            try:
                await requests_of(url, name)
                break
            except nats.errors.NoRespondersError:
                if time.monotonic() > end:
                    raise Failed(f"{name} is not known across the route") from None
                await asyncio.sleep(0.05)  # servers tell nobody what they tell each other


def _bytes_per_call(subject: str) -> float:
    """Bytes that go each way through a NATS server: those it reads."""
    inbox = "_INBOX." + "x" * 22 + ".123456"
    question = f"PUB {subject} {inbox} {len(FACTORIAL.request)}\r\n\r\n"
    answer = f"PUB {inbox} {len(FACTORIAL.answer)}\r\n\r\n"
    return len(question) + len(FACTORIAL.request) + len(answer) + len(FACTORIAL.answer)


def _about(rounds: int, seconds: float) -> str:
    return (
        f"Medians of {rounds} rounds of {seconds:g} s, {time.strftime('%Y-%m-%d')}; "
        f"{os.cpu_count()} cores ({platform.system()} {platform.machine()}), Python "
        f"{platform.python_version()}; py.factorial of 10."
    )


@command
def main() -> int:
    """Parse, run, print. The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description="How many machines carry how many calls."
    )
    parser.add_argument("--quick", action="store_true", help="short rounds, and less steady")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="counted in each cell")
    parser.add_argument("--markdown", type=Path, help="renew the blocks of this document")
    options = parser.parse_args()
    rounds, seconds = (3, 0.4) if options.quick else (options.rounds, options.seconds)
    report = measure(rounds, seconds)
    if options.markdown is not None:
        text = options.markdown.read_text(encoding="utf-8")
        options.markdown.write_text(renewed(text, report), encoding="utf-8")
    print(whole(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
