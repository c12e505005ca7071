"""Streamed answers over NATS: where they are steered, what they may weigh, and who is missed."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import cbor2
import nats
import pytest

from provider.errors import TooLarge
from provider.wire.window import BYTES, CHUNKS
from tests.conftest import PATIENCE, NatsServer, _starting

PROGRAM = """
    import os, time
    from provider.dispatch import Context, operation

    HERE = os.path.dirname(os.path.abspath(__file__))

    @operation
    def count(to: int, call: Context):
        try:
            call.progress(0)
            for number in range(to):
                yield number
        finally:
            print("closed", flush=True)

    @operation
    def slow(call: Context):
        print("begun", flush=True)
        try:
            while not call.cancelled:
                time.sleep(0.005)
            yield "too late"
        finally:
            print("closed", flush=True)

    @operation
    def large(sizes: list[int]):
        for size in sizes:
            yield b"x" * size

    @operation
    def taken(data: bytes):
        yield len(data)

    @operation
    def wait():
        print("waits", flush=True)
        with open(os.path.join(HERE, "gate"), "rb", buffering=0) as gate:
            gate.read(1)
        yield "item"
"""


@pytest.fixture(scope="module")
def house(start_module_provider):
    return start_module_provider(PROGRAM)


class Caller:
    """Asks for a stream without our client."""

    def __init__(self, connection, house, subscription, inbox) -> None:
        self.connection = connection
        self.subscription = subscription
        self._house = house
        self._inbox = inbox

    async def ask(self, operation, payload=None, **more) -> None:
        request = {"operation": operation, "stream": True, **more, "payload": payload}
        lattice = self._house.address["lattice"]
        await self.connection.publish(
            f"wasmbus.rpc.{lattice}.python.default", cbor2.dumps(request), reply=self._inbox
        )

    async def next(self):
        """The next message: what it holds, and where its stream is steered."""
        message = await self.subscription.next_msg(PATIENCE)
        return cbor2.loads(message.data), message.reply

    async def say(self, where, **said) -> None:
        await self.connection.publish(where, cbor2.dumps(said))


@contextlib.asynccontextmanager
async def calling(house):
    connection = await nats.connect(house.url)
    try:
        inbox = connection.new_inbox()
        yield Caller(connection, house, await connection.subscribe(inbox), inbox)
    finally:
        await connection.close()


async def closed(house, before):
    await asyncio.to_thread(house.wait_for, "printed", before + 1, text="closed")


async def test_each_stream_is_steered_at_a_place_of_its_own_that_nobody_can_guess(house):
    places = set()
    async with calling(house) as caller:
        for _ in range(3):
            await caller.ask("count", 1)
            told, place = await caller.next()
            assert told == {"chunk": 0, "seq": 0}
            assert await caller.next() == ({"end": 1}, "")
            places.add(place)
    heads = {place.rpartition(".")[0] for place in places}
    keys = {place.rpartition(".")[2] for place in places}
    assert len(heads) == 1
    assert len(keys) == 3
    assert all(len(key) == 16 for key in keys)


async def test_who_asks_for_progress_can_leave_before_the_first_chunk(house):
    async with calling(house) as caller:
        before = len(house.events("printed", text="closed"))
        await caller.ask("slow", progress=True)
        told, place = await caller.next()
        assert told == {"progress": None}
        await asyncio.to_thread(house.wait_for, "printed", text="begun")
        await caller.say(place, cancel=True)
        while "error" not in told:
            told, where = await caller.next()
            assert where in (place, "")
        assert told["error"]["kind"] == "cancelled"
        await closed(house, before)


async def test_who_does_not_ask_is_told_of_no_progress(house):
    async with calling(house) as caller:
        await caller.ask("count", 1)
        assert [(await caller.next())[0] for _ in range(2)] == [{"chunk": 0, "seq": 0}, {"end": 1}]


async def test_of_a_stream_that_has_ended_nothing_is_kept(start_provider):
    """With progress asked for, it is said again every few seconds that a stream is there."""
    house = start_provider(PROGRAM)
    async with house.connect() as python:

        async def memory() -> int:
            async with contextlib.aclosing(python.stream("taken", b"x" * 900_000)) as items:
                assert [item async for item in items] == [900_000]
            text = Path(f"/proc/{house.pid}/status").read_text()
            return int(text.partition("VmRSS:")[2].split()[0]) * 1024

        before = [await memory() for _ in range(20)][-1]
        for _ in range(200):
            after = await memory()
    assert after - before < 60e6  # of 180e6 that came


async def test_a_stream_that_waits_is_said_to_be_there_again(start_provider, tmp_path):
    import os

    os.mkfifo(tmp_path / "gate")
    gate = os.open(tmp_path / "gate", os.O_RDWR)
    try:
        provider = start_provider(PROGRAM)
        async with calling(provider) as caller:
            await caller.ask("wait", progress=True)
            first = await caller.next()
            assert await caller.next() == first
            os.write(gate, b"x")
            told = [(await caller.next())[0] for _ in range(2)]
            assert {"chunk": "item", "seq": 0} in told
            # One who has gone is missed with the next such message, though no chunk comes.
            await caller.ask("wait", progress=True)
            await caller.next()
        async with provider.connect() as python:
            async with asyncio.timeout(PATIENCE):
                while (await python.status())["open"]:
                    await asyncio.sleep(0.1)
            assert (await python.status())["errors"] == {"cancelled": 1}
        os.write(gate, b"x")
    finally:
        os.close(gate)


async def test_what_is_said_about_a_stream_and_cannot_be_read_changes_nothing(house):
    async with calling(house) as caller:
        before = len(house.events("printed", text="closed"))
        await caller.ask("count", CHUNKS + 1)
        _, place = await caller.next()
        for said in (b"\xff", b"{", b"x" * 1000, cbor2.dumps({"credit": -1}), cbor2.dumps(5)):
            await caller.connection.publish(place, said)
        await caller.connection.publish(f"{place}x", cbor2.dumps({"cancel": True}))
        for number in range(1, CHUNKS):
            assert (await caller.next())[0] == {"chunk": number, "seq": number}
        await caller.say(place, credit=CHUNKS)
        assert (await caller.next())[0] == {"chunk": CHUNKS, "seq": CHUNKS}
        assert (await caller.next())[0] == {"end": CHUNKS + 1}
        await closed(house, before)
        # What comes about a stream that has ended is about nothing.
        await caller.say(place, cancel=True)
        await caller.ask("count", 0)
        assert (await caller.next())[0] == {"end": 0}


async def test_without_flow_control_more_comes_than_any_window(house):
    sizes = [BYTES // 4] * 12
    async with calling(house) as caller:
        await caller.ask("large", sizes, flow=False)
        for number in range(len(sizes)):
            told, _ = await caller.next()
            assert (told["seq"], len(told["chunk"])) == (number, sizes[number])
        assert (await caller.next())[0] == {"end": len(sizes)}


async def test_what_the_server_does_not_carry_ends_the_stream(tmp_path):
    config = tmp_path / "nats.conf"
    config.write_text("max_payload: 2048\n")
    server = NatsServer("-c", str(config))
    start, started = _starting(tmp_path, server.url)
    try:
        provider = start(PROGRAM)
        async with provider.connect() as python:
            for sizes, fits in (([1500, 2100], 1), ([2500], 0)):
                items = []
                with pytest.raises(TooLarge, match="carries 2048"):
                    async for item in python.stream("large", sizes):
                        items.append(len(item))
                assert items == sizes[:fits]
    finally:
        for provider in started:
            provider.close()
        server.stop()
