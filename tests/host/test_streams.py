"""Chunks one way and credit the other, with a real worker, and with one that keeps no rule."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import cbor2
import pytest

from provider.errors import CallTimeout, Cancelled, HandlerError, WorkerLost
from provider.host.call import StreamedCall
from provider.host.slot import AHEAD_CALLS
from provider.host.streams import MOST_GONE
from provider.wire.frames import Encoding
from provider.wire.window import CHUNKS
from tests.conftest import PATIENCE

SOURCE = """
    closed = []

    def count(to):
        try:
            yield from range(to)
        finally:
            closed.append(to)

    def handle(command, arg):
        return closed if command == "closed" else globals()[command](arg)
"""


class Reader:
    """One streamed call, and what came of it."""

    def __init__(self, house, operation, argument=None, *, timeout=None):
        self.chunks: list = []
        self.numbers: list[int] = []
        self._news = asyncio.Event()
        self._ended = asyncio.get_running_loop().create_future()
        self.call = StreamedCall(
            operation,
            cbor2.dumps(argument),
            Encoding.CBOR,
            house.path.deadline(timeout),
            answer=self._end,
            on_chunk=self._take,
        )
        house.path.submit(self.call)

    def _take(self, call, chunk, number):
        assert call is self.call
        self.chunks.append(cbor2.loads(chunk))
        self.numbers.append(number)
        self._news.set()

    def _end(self, _call, result, error):
        if error is None:
            self._ended.set_result(result)
        else:
            self._ended.set_exception(error)

    async def until(self, count):
        async with asyncio.timeout(PATIENCE):
            while len(self.chunks) < count:
                self._news.clear()
                await self._news.wait()

    async def end(self):
        return await asyncio.wait_for(self._ended, PATIENCE)


async def test_chunks_are_numbered_and_credit_brings_more(house):
    await house.start(SOURCE)
    reader = Reader(house, "count", 2 * CHUNKS + 1)
    for window in (1, 2):
        await reader.until(window * CHUNKS)
        assert not reader.call.window.open
        house.path.streams.credit(reader.call, CHUNKS)
    assert await reader.end() == b""
    assert reader.numbers == reader.chunks == list(range(2 * CHUNKS + 1))
    assert house.admission.open == 0


async def test_who_is_stopped_is_told_why_and_the_worker_serves_on(house):
    await house.start(SOURCE)
    reader = Reader(house, "count", 10**6)
    await reader.until(CHUNKS)
    house.path.streams.stop(reader.call, Cancelled("enough"))
    house.path.streams.stop(reader.call, Cancelled("twice"))
    with pytest.raises(Cancelled, match="enough"):
        await reader.end()
    assert await house.submit("closed") == [10**6]
    assert (house.admission.errors, house.fleet.restarts) == ({"cancelled": 1}, 0)


async def test_who_leaves_the_function_waiting_too_long_is_stopped(house):
    await house.start(SOURCE)
    house.path.streams.patience = 0.1
    reader = Reader(house, "count", 10**6)
    with pytest.raises(Cancelled, match=r"no credit came within 0\.100 s for 64 chunks"):
        await reader.end()
    assert len(reader.chunks) == CHUNKS
    assert await house.submit("closed") == [10**6]


async def test_who_leaves_while_the_stream_waits_leaves_nothing_in_the_queue(house):
    await house.start()
    running = await house.at_the_gate("a")
    readers = [Reader(house, "echo", number) for number in range(AHEAD_CALLS + 5 * MOST_GONE)]
    await house.turn()
    for reader in readers:
        house.path.streams.stop(reader.call, Cancelled("enough"))
    assert len(house.fleet._waiting) < MOST_GONE
    assert house.admission.open == 1
    house.open_gate()
    assert await running == "a"
    for reader in readers:
        with pytest.raises(Cancelled, match="enough"):
            await reader.end()
    assert await house.call("echo", "b") == "b"
    assert house.ran == ["gate a", "echo b"]


async def test_credit_in_time_keeps_a_stream_alive(house):
    await house.start(SOURCE)
    reader = Reader(house, "count", CHUNKS + 1)
    await reader.until(CHUNKS)
    assert reader.call.stall is not None
    house.path.streams.credit(reader.call, 2**40)
    assert reader.call.stall is None
    assert await reader.end() == b""
    assert reader.call.window.chunks == 1  # and not less, whatever was said


async def test_a_deadline_says_what_the_stream_was_waiting_for(house):
    await house.start(SOURCE)
    unread = Reader(house, "count", 10**6, timeout=PATIENCE)
    await unread.until(CHUNKS)
    # As if it had been this short from the beginning.
    unread.call.deadline = time.monotonic()
    house.path._wake_for(unread.call.deadline)
    with pytest.raises(Cancelled, match="no credit"):
        await unread.end()
    waiting = Reader(house, "count", 10**6)
    await waiting.until(CHUNKS)
    with pytest.raises(CallTimeout, match="the call was still waiting"):
        await Reader(house, "count", 1, timeout=0.2).end()
    house.path.streams.stop(waiting.call, Cancelled("enough"))
    with pytest.raises(Cancelled, match="enough"):
        await waiting.end()
    with pytest.raises(HandlerError):
        await Reader(house, "nothing").end()


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ("for _ in range(65): frame(FrameType.CHUNK, 1)", "more of stream 1 came"),
        ("os._exit(5)", "exit code 5"),
    ],
)
async def test_a_worker_that_keeps_no_rule_is_ended(house, fake_python, frames, reason):
    await lost(house, fake_python, frames)
    with pytest.raises(WorkerLost, match=reason):
        await Reader(house, "count", 5).end()


@pytest.mark.parametrize("kind", ["CHUNK", "END"])
async def test_parts_of_a_call_that_is_no_stream_end_the_worker(house, fake_python, kind):
    await lost(house, fake_python, f"frame(FrameType.{kind}, 1)")
    with pytest.raises(WorkerLost, match="part of a stream came for call 1"):
        await house.submit("count", 5)


async def lost(house, fake_python, frames):
    """Serve with a worker that answers its first call with these frames."""
    house.build(SOURCE)
    python = fake_python(
        f"""
        from provider.wire.progress import Progress
        progress = Progress(int(sys.argv[5]))
        frame(FrameType.HELLO, 0, {{'version': VERSION}})
        frame(FrameType.READY, 0, {{'files': [], 'programs': []}})
        while b"count" not in link.recv(65536):
            pass
        progress.begin(1)
        {frames}
        time.sleep(3600)
        """
    )
    await house.start(SOURCE, setup=dataclasses.replace(house.setup, python=python))
