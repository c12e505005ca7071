"""Payloads from a kilobyte to a hundred megabytes, there and back, beside raw nats-py.

The rule of this file: both sides move the same bytes the same number of times. What fits into a
message is asked for as any call is. What does not goes through JetStream's object store, as between
a wasmCloud host and its provider: stored by the caller, fetched and stored by who answers, fetched
by the caller; of raw nats-py, a process that does only that.

Megabytes are millions of bytes, and count both ways.
"""

from __future__ import annotations

import io
import statistics
import time
from typing import TYPE_CHECKING, Any

import nats

from benchmarks.measuring import rounds as turns
from benchmarks.measuring import signed
from benchmarks.measuring.rows import PROVIDER, start_echo, start_peer, start_provider
from benchmarks.measuring.said import Failed, say
from benchmarks.measuring.work import same, some_bytes
from provider.wasmbus_client import connect_wasmbus
from provider.wire.address import Address
from provider.wire.values import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from benchmarks.measuring.load import LoadGenerator
    from benchmarks.measuring.processes import Processes
    from benchmarks.measuring.rows import Started

    Passage = Callable[[str, bytes], Coroutine[Any, Any, bytes]]
    Measured = dict[str, Any]

SIZES = (1024, 100 * 1024, 1024 * 1024)
"""Bytes that travel in a message."""
IN_FLIGHT = 4
LATTICE = "large"
CHUNKED = (10_000_000, 100_000_000)
"""Bytes that travel through the object store."""
ROOM = 256 * 1024 * 1024
"""Most bytes the largest of them may take anywhere."""
SETTINGS = {
    "PROVIDER_QUEUE_BYTES": str(ROOM),
    "PROVIDER_MAX_STRING": str(ROOM),
    **signed.ISSUERS,
}
STORE = "object store"
"""The row of raw nats-py."""
WITHIN = 60.0
"""Seconds in which the largest must have passed."""


def start_large(processes: Processes) -> Started:
    """A provider whose limits let all of these sizes through, and sends them back."""
    program = same(0, processes.folder).program
    started = start_provider(processes, program, LATTICE, SETTINGS)
    signed.link(processes.nats_url, Address(lattice=LATTICE))
    return started


def in_messages(
    processes: Processes,
    load: LoadGenerator,
    provider: Started,
    *,
    sizes: Sequence[int] = SIZES,
    rounds: int,
    seconds: float,
) -> list[Measured]:
    """Cells of what fits into a message, each with its `size`.

    Raises:
        Failed: an answer was wrong, missing or extra, or a process died.
    """
    rows = [start_echo(processes), provider]
    cells = []
    for number in range(rounds):
        for size in sizes:
            work = same(size, processes.folder)
            for row in turns.turned(rows, number):
                where = f"round {number + 1}, {shown(size)}"
                cell = turns.measure(
                    processes, load, row, work, in_flight=IN_FLIGHT, seconds=seconds, where=where
                )
                rate = cell["calls_per_second"] * 2 * size / 1e6
                cells.append({"round": number + 1, "size": size, **cell, "mb_per_second": rate})
    return cells


async def chunked(
    processes: Processes, *, sizes: Sequence[int] = CHUNKED, rounds: int
) -> list[Measured]:
    """Cells of what goes through the object store.

    Raises:
        Failed: other bytes came back.
    """
    row = start_peer(processes, "objects", STORE, lambda _work: b"stored")
    client = await nats.connect(processes.nats_url)
    cells: list[Measured] = []
    try:
        store = await client.jetstream(timeout=WITHIN).object_store("bench")

        async def by_store(name: str, data: bytes) -> bytes:
            await store.put(name, data)
            told = await client.request(row.subject, name.encode(), timeout=WITHIN)
            if told.data != b"stored":
                raise Failed(f"{STORE}: it answered {told.data[:100]!r}")
            # Into memory that grows: what it returns otherwise is copied for every piece.
            got = io.BytesIO()
            await store.get(f"{name}-answer", writeinto=got)
            return got.getvalue()

        limits = Limits(string=ROOM)
        async with connect_wasmbus(
            processes.nats_url,
            cluster=signed.CLUSTER,
            lattice=LATTICE,
            actor=signed.ACTOR.public,
            timeout=WITHIN,
            limits=limits,
            max_result=ROOM,
        ) as wasmbus:

            async def by_provider(_name: str, data: bytes) -> bytes:
                returned = await wasmbus.call("py.same", data)
                return returned if isinstance(returned, bytes) else b""

            passages: list[tuple[str, Passage]] = [(STORE, by_store), (PROVIDER, by_provider)]
            for number in range(rounds):
                for size in sizes:
                    data = some_bytes(size)
                    for name, passage in turns.turned(passages, number):
                        seconds = await _timed(passage, f"{size}-{number}", data)
                        rate = 2 * size / seconds / 1e6
                        say(f"round {number + 1}, {shown(size)}, {name}: {rate:.1f} MB/s")
                        cells.append(
                            {"round": number + 1, "size": size, "row": name, "mb_per_second": rate}
                        )
                    # What lies in the store is not of the next one's business.
                    for kept in (f"{size}-{number}", f"{size}-{number}-answer"):
                        await store.delete(kept)
    finally:
        await client.close()
    return cells


async def _timed(passage: Passage, name: str, data: bytes) -> float:
    began = time.perf_counter()
    returned = await passage(name, data)
    took = time.perf_counter() - began
    if returned != data:
        raise Failed(f"{len(data)} bytes came back as {len(returned)} others")
    return took


def summary(cells: Sequence[Measured]) -> list[Measured]:
    """One line for each size: both rates, and the median of the ratios within rounds."""
    lines = []
    for size in sorted({cell["size"] for cell in cells}):
        rates: dict[str, list[float]] = {}
        for cell in cells:
            if cell["size"] == size:
                rates.setdefault(cell["row"], []).append(cell["mb_per_second"])
        ours = rates.pop(PROVIDER)
        ((base, theirs),) = rates.items()
        lines.append(
            {
                "size": size,
                "base": base,
                "base_mb_per_second": statistics.median(theirs),
                "mb_per_second": statistics.median(ours),
                "ratio": statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
            }
        )
    return lines


def shown(size: int) -> str:
    """A size as people write it."""
    for unit, bytes_of_it in (("MiB", 1 << 20), ("KiB", 1 << 10), ("MB", 10**6)):
        if size % bytes_of_it == 0:
            return f"{size // bytes_of_it} {unit}"
    return f"{size} B"
