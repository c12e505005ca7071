"""How long small calls wait while a large payload passes.

The rule of this file: small calls are made one after the other, without a pause, so that whatever
stops them is seen; and the large one is one of the same operation on the same provider. The slowest
small call of each passage counts, not an average in which a stop would drown.

What a large payload may cost others is its own copy: what `copied` measures, the same bytes handed
to a second process over a socket, read as CBOR there, written as CBOR, and handed back. No worker
that runs one call at a time can do with less.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import cbor2

from benchmarks.measuring import signed
from benchmarks.measuring.load import WARM_UP, Cell
from benchmarks.measuring.payloads import LATTICE, ROOM, WITHIN, shown
from benchmarks.measuring.said import Failed, say
from benchmarks.measuring.work import same, some_bytes
from provider import client
from provider.wasmbus_client import connect_wasmbus
from provider.wire.values import Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from benchmarks.measuring.load import LoadGenerator
    from benchmarks.measuring.processes import Processes
    from benchmarks.measuring.rows import Started

    Measured = dict[str, Any]

SMALL = 16
"""Bytes of a small call."""
RETURN = """
import socket, sys
import cbor2
link, size = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
data = bytearray(size)
view, position = memoryview(data), 0
link.send(b".")
while position < size and (count := link.recv_into(view[position:])):
    position += count
link.sendall(cbor2.dumps(cbor2.loads(data)))
"""
APART = 0.05
"""Seconds between two large ones, so that each stops others only once."""


async def delays(
    processes: Processes,
    load: LoadGenerator,
    provider: Started,
    *,
    sizes: Sequence[tuple[int, int]],
) -> list[Measured]:
    """Small calls beside large ones, for each size.

    Args:
        processes: of the run.
        load: makes the small calls.
        provider: answers both.
        sizes: of the large ones, and how many of each.

    Returns:
        Milliseconds: the slowest small call while a large one passed (median over them), small
        calls while nothing did (`quiet_ms`, their median), the large one itself, and its copy.

    Raises:
        Failed: an answer was wrong, or missing.
    """
    lines = []
    url = processes.nats_url
    async with (
        client.connect(url, lattice=LATTICE, timeout=WITHIN) as direct,
        connect_wasmbus(
            url,
            cluster=signed.CLUSTER,
            lattice=LATTICE,
            actor=signed.ACTOR.public,
            timeout=WITHIN,
            limits=Limits(string=ROOM),
            max_result=ROOM,
        ) as wasmbus,
    ):
        for size, count in sizes:
            fits = size <= 1 << 20
            pass_one = direct.call if fits else wasmbus.call
            line = await _beside(processes, load, provider, pass_one, size, count)
            lines.append(line)
            say(
                f"small calls beside {shown(size)}: {line['slowest_ms']:.2f} ms at most, "
                f"{line['quiet_ms']:.2f} without, copy {line['copy_ms']:.2f}"
            )
    return lines


async def _beside(
    processes: Processes,
    load: LoadGenerator,
    provider: Started,
    pass_one: Callable[[str, bytes], Awaitable[Any]],
    size: int,
    count: int,
) -> Measured:
    data = some_bytes(size)
    copies = [copied(data) for _ in range(3)]
    began = time.perf_counter()
    await pass_one("py.same", data)
    once = time.perf_counter() - began
    work = same(SMALL, processes.folder)
    cell = Cell(
        port=processes.nats_port,
        subject=provider.subject,
        request=work.request.hex(),
        answer=work.answer.hex(),
        in_flight=1,
        seconds=2 * WARM_UP + count * (1.5 * once + 2 * APART),
        processes=provider.processes,
        each=True,
    )
    small = asyncio.get_running_loop().run_in_executor(None, load.measure, cell)
    await asyncio.sleep(2 * WARM_UP)  # until small calls count, and some met nobody
    passed = []
    for _ in range(count):
        await asyncio.sleep(APART)  # in which small calls meet nobody
        began = time.perf_counter()
        returned = await pass_one("py.same", data)
        passed.append((began, time.perf_counter()))
        if returned != data:
            raise Failed(f"{size} bytes came back as others")
        if small.done():
            break
    each = (await small)["each"]
    copies += [copied(data) for _ in range(3)]  # before and after, as the machine drifts
    quiet, beside = _told_apart(each, passed)
    if not quiet or not beside:
        raise Failed(f"no small calls were answered beside {shown(size)}")
    return {
        "size": size,
        "slowest_ms": statistics.median(beside) * 1e3,
        "quiet_ms": statistics.median(quiet) * 1e3,
        "large_ms": statistics.median(end - start for start, end in passed) * 1e3,
        "copy_ms": statistics.median(copies) * 1e3,
    }


def _told_apart(
    each: Sequence[tuple[float, float]], passed: Sequence[tuple[float, float]]
) -> tuple[list[float], list[float]]:
    """Latencies of small calls that met no large one, and the slowest beside each large one."""
    quiet: list[float] = []
    beside: list[list[float]] = [[] for _ in passed]
    for came_at, latency in each:
        met = [
            number
            for number, (start, end) in enumerate(passed)
            if came_at > start and came_at - latency < end
        ]
        for number in met:
            beside[number].append(latency)
        if not met:
            quiet.append(latency)
    return quiet, [max(latencies) for latencies in beside if latencies]


def copied(data: bytes) -> float:
    """Seconds that bytes take to a second process, through CBOR, and back."""
    data = cbor2.dumps(data)
    ours, theirs = socket.socketpair()
    with ours:
        command = [sys.executable, "-c", RETURN, str(theirs.fileno()), str(len(data))]
        with theirs:
            child = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        returned = bytearray(len(data))
        ours.recv(1)  # it is there
        began = time.perf_counter()
        ours.sendall(data)
        view, position = memoryview(returned), 0
        while position < len(data) and (count := ours.recv_into(view[position:])):
            position += count
        took = time.perf_counter() - began
    child.wait()
    if returned != data:
        raise Failed("a copy is another one")
    return took
