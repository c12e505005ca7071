"""The load generator: a process that keeps calls in flight on a NATS connection, and counts.

The rule of this file: every answer is compared with the right one, byte for byte; one that is
wrong, missing or one too many makes the run void. It spends as little CPU of its own as it can,
because there are no cores to spare.

    python -m benchmarks.measuring.load     reads cells as JSON, a line each, and answers so
"""

from __future__ import annotations

import array
import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks.measuring.generator import Generator, answer
from benchmarks.measuring.processes import PATIENCE, cpu_seconds
from benchmarks.measuring.said import Failed

if TYPE_CHECKING:
    from collections.abc import Sequence

WARM_UP = 0.3
"""Seconds of calls before those that are counted."""


@dataclass(frozen=True)
class Cell:
    """One measurement, as it is told to the load generator.

    Attributes:
        port: of the NATS server.
        subject: that is asked.
        request: the bytes, in hexadecimal digits.
        answer: the right one, likewise.
        in_flight: calls under way at a time.
        seconds: that are counted.
        processes: whose CPU is counted, by name.
        each: whether every call is told of: when its answer came, and its latency.
    """

    port: int
    subject: str
    request: str
    answer: str
    in_flight: int
    seconds: float
    processes: dict[str, int]
    each: bool = False


class _Load(asyncio.Protocol):
    """One connection.

    Every slot has a reply subject, one call under way, and the bytes of both ready. So an answer is
    recognised by one look into a dictionary and one comparison, and answered by the next call; all
    that one read brought goes out in one write. Latency is from that write to the read that brings
    the answer.
    """

    def __init__(self, cell: Cell) -> None:
        request, answer = bytes.fromhex(cell.request), bytes.fromhex(cell.answer)
        self._cell = cell
        self._answer = answer + b"\r\n"
        self._calls = [
            b"PUB %b _INBOX.bench.%d %d\r\n%b\r\n"
            % (cell.subject.encode(), slot, len(request), request)
            for slot in range(cell.in_flight)
        ]
        self._slots = {
            b"MSG _INBOX.bench.%d 1 %d" % (slot, len(answer)): slot
            for slot in range(cell.in_flight)
        }
        self._sent_at = [0.0] * cell.in_flight
        self._open = 0
        self._refill = True
        self._latencies = array.array("d")
        self._came_at = array.array("d")
        self._pieces: list[bytes] = []
        self._have = self._need = 0
        self._transport: asyncio.Transport
        loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = loop.create_future()
        self._drained: asyncio.Future[None] = loop.create_future()
        self._flushed: asyncio.Future[None] = loop.create_future()
        self._failed: asyncio.Future[None] = loop.create_future()

    async def measure(self) -> dict[str, Any]:
        """Warm up, count, and wait for the last answer.

        Raises:
            Failed: an answer was wrong, missing, or one too many.
        """
        await self._within(self._connected, "the NATS server did not answer")
        self._write(range(self._cell.in_flight))
        await self._for(WARM_UP)
        del self._latencies[:], self._came_at[:]
        cpu, began = self._cpu(), time.perf_counter()
        await self._for(self._cell.seconds)
        after, ended = self._cpu(), time.perf_counter()
        latencies, came_at = list(self._latencies), list(self._came_at)
        self._refill = False
        if self._open:
            await self._within(self._drained, "{open} answers did not come")
        self._transport.write(b"PING\r\n")
        await self._within(self._flushed, "the NATS server did not answer")
        if not latencies:
            raise Failed("no call was answered")
        each = {"each": list(zip(came_at, latencies, strict=True))} if self._cell.each else {}
        calls = len(latencies)
        latencies.sort()
        return {
            "calls_per_second": calls / (ended - began),
            "p50_us": latencies[calls // 2] * 1e6,
            "p99_us": latencies[min(calls - 1, calls * 99 // 100)] * 1e6,
            "cpu_us": {
                name: (after[name] - cpu[name]) / calls * 1e6 for name in self._cell.processes
            },
            "load_cpu_us": (after["load"] - cpu["load"]) / calls * 1e6,
            **each,
        }

    def hang_up(self) -> None:
        """Close the connection, however the measurement ended."""
        self._refill = False
        if not self._failed.cancel():
            self._failed.exception()  # somebody has heard of it
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is of no class of asyncio
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        self._transport.write(
            b"CONNECT %b\r\nSUB _INBOX.bench.* 1\r\nPING\r\n" % json.dumps(options).encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._flushed.done():
            self._fail(f"the NATS server closed the connection: {exc}")

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if self._pieces:
            # Put together once they are enough, or a large answer would be copied for each read.
            self._pieces.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        answer, slots, sent_at = self._answer, self._slots, self._sent_at
        latencies, came_at, each = self._latencies, self._came_at, self._cell.each
        free = []
        size, position, end = len(answer), 0, len(data)
        need = 0
        while True:
            line_end = data.find(b"\r\n", position)
            if line_end < 0:
                break
            slot, start = slots.get(data[position:line_end]), line_end + 2
            if slot is None:
                line = data[position:line_end]
                if line.startswith(b"HMSG "):
                    slot, length = self._with_headers(line)
                    start += length
                if slot is None:
                    if not self._told(line):
                        self._fail(f"not the right answer: {data[position:][:300]!r}")
                        return
                    position = start
                    continue
            after = start + size
            if after > end:
                need = after - position
                break
            if not data.startswith(answer, start):
                self._fail(f"not the right answer: {data[position:after][:300]!r}")
                return
            if not sent_at[slot]:
                self._fail(f"an answer nobody waits for: {data[position:after][:300]!r}")
                return
            latencies.append(now - sent_at[slot])
            if each:
                came_at.append(now)
            sent_at[slot] = 0.0
            free.append(slot)
            position = after
        if position < end:
            self._pieces.append(data[position:])
            self._have, self._need = end - position, need
        self._open -= len(free)
        if self._refill:
            self._write(free)
        elif not self._open and not self._drained.done():
            self._drained.set_result(None)

    def _write(self, slots: Sequence[int]) -> None:
        if not slots:
            return
        calls, sent_at = self._calls, self._sent_at
        data = b"".join([calls[slot] for slot in slots])
        self._open += len(slots)
        now = time.perf_counter()
        for slot in slots:
            sent_at[slot] = now
        self._transport.write(data)

    def _with_headers(self, line: bytes) -> tuple[int | None, int]:
        """The slot of an answer with headers, and their length. What they say is not looked at."""
        _, subject, sid, length, total = line.split(b" ")
        size = int(total) - int(length)
        return self._slots.get(b"MSG %b %b %d" % (subject, sid, size)), int(length)

    def _told(self, line: bytes) -> bool:
        """What the NATS server says besides answers; whether it may."""
        if line == b"PING":
            self._transport.write(b"PONG\r\n")
        elif line == b"PONG":
            waiting = self._flushed if self._connected.done() else self._connected
            if not waiting.done():
                waiting.set_result(None)
        return line in {b"PING", b"PONG"} or line.startswith(b"INFO ")

    def _cpu(self) -> dict[str, float]:
        processes = self._cell.processes.items()
        return {
            "load": time.process_time(),
            **{name: cpu_seconds(process) for name, process in processes},
        }

    def _fail(self, why: str) -> None:
        if not self._failed.done():
            self._failed.set_exception(Failed(why))
            self._refill = False

    async def _for(self, seconds: float) -> None:
        await asyncio.wait({self._failed}, timeout=seconds)
        if self._failed.done():
            self._failed.result()

    async def _within(self, what: asyncio.Future[None], otherwise: str) -> None:
        await asyncio.wait(
            {what, self._failed}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
        )
        if self._failed.done():
            self._failed.result()
        if not what.done():
            raise Failed(otherwise.format(open=self._open))


async def measure(cell: Cell) -> dict[str, Any]:
    """Measure one cell in this process.

    Raises:
        Failed: an answer was wrong, missing, or one too many.
    """
    loop = asyncio.get_running_loop()
    _, load = await loop.create_connection(lambda: _Load(cell), "127.0.0.1", cell.port)
    try:
        return await load.measure()
    finally:
        load.hang_up()


class LoadGenerator(Generator):
    """The other end of the load generator's process. A context manager."""

    module = "benchmarks.measuring.load"

    def measure(self, cell: Cell) -> dict[str, Any]:
        """One cell's numbers.

        Raises:
            Failed: as the load generator found.
        """
        return self.ask(cell)


def main() -> None:
    """Measure cells until there are no more."""
    answer(lambda cell: uvloop.run(measure(Cell(**cell))))


if __name__ == "__main__":
    main()
