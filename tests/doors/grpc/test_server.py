"""The listening end: limits, and how it ends."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest

from provider.doors.grpc import server
from provider.errors import StartError
from tests.conftest import PATIENCE
from tests.doors.grpc.conftest import TEXT, Texts, fails


async def test_a_call_is_answered(door):
    assert await door.unary()(b"hello") == b"hello"
    assert door.server.address.startswith("127.0.0.1:")


async def test_a_method_that_is_not_there(door):
    async with fails("UNIMPLEMENTED"):
        await door.unary("/t.Text/Nothing")(b"")


async def test_a_request_over_the_limit_is_refused_with_both_sizes(open_door):
    door = await open_door(max_message=1000)
    assert len(await door.unary()(b"x" * 1000)) == 1000
    async with fails("RESOURCE_EXHAUSTED") as caught:
        await door.unary()(b"x" * 1001)
    assert "1001" in caught[0].details()
    assert "1000" in caught[0].details()
    assert len(door.backend.calls) == 1


async def test_an_answer_over_the_limit_is_refused_with_both_sizes(open_door):
    door = await open_door(max_message=1000)
    async with fails("RESOURCE_EXHAUSTED") as caught:
        await door.unary()(b"1001")
    assert "1001" in caught[0].details()
    assert "1000" in caught[0].details()


async def test_so_many_calls_and_no_more(open_door):
    door = await open_door(concurrency=1)
    waiting = asyncio.ensure_future(door.unary(f"/{TEXT}/Wait")(b"1"))
    async with asyncio.timeout(PATIENCE):
        await door.backend.begun.wait()
    async with fails("RESOURCE_EXHAUSTED") as caught:
        await door.unary()(b"2")
    assert "PROVIDER_GRPC_CONCURRENCY" in caught[0].details()
    door.backend.held.set()
    assert await waiting == b"1"
    assert await door.unary()(b"three") == b"three"


async def test_a_port_that_is_taken(door, open_door):
    port = int(door.server.address.rpartition(":")[2])
    with pytest.raises(StartError, match=r"PROVIDER_GRPC\): Address already in use"):
        await open_door(port=port)


async def test_two_services_of_one_method(open_door):
    with pytest.raises(StartError, match=r"two services have a method t.Text/Call"):
        await open_door(Texts)


async def test_who_stops_finishes_what_has_begun_and_takes_no_more(door):
    waiting = asyncio.ensure_future(door.unary(f"/{TEXT}/Wait")(b"1"))
    async with asyncio.timeout(PATIENCE):
        await door.backend.begun.wait()
        door.server.stop_listening()
        async with grpc.aio.insecure_channel(door.server.address) as other:
            with pytest.raises(grpc.aio.AioRpcError):
                await other.unary_unary(f"/{TEXT}/Call")(b"2")
        assert not waiting.done()
        door.backend.held.set()
        assert await waiting == b"1"
        await door.server.settled()


async def test_who_calls_all_the_time_is_told_that_it_stops(door, monkeypatch):
    monkeypatch.setattr(server, "REFUSING", 1.0)  # however slow this machine is
    told = []

    async def call():
        try:
            while True:
                await door.unary()(b"x")
        except grpc.aio.AioRpcError as error:
            told.append((error.code().name, error.details()))

    async with asyncio.timeout(PATIENCE):
        calling = [asyncio.ensure_future(call()) for _ in range(8)]
        while not door.backend.calls:
            await asyncio.sleep(0)
        door.server.stop_listening()
        await asyncio.gather(*calling)
        await door.server.settled()
    assert set(told) == {("UNAVAILABLE", "the provider is stopping; call another instance")}


async def test_the_end_cancels_what_does_not_end(door):
    async with fails("UNAVAILABLE"):
        waiting = asyncio.ensure_future(door.unary(f"/{TEXT}/Wait")(b"1"))
        async with asyncio.timeout(PATIENCE):
            await door.backend.begun.wait()
            await door.server.close()
        await waiting
    assert door.backend.cancelled == ["Wait"]


async def test_a_door_that_was_never_opened_closes(open_door):
    from provider.doors.grpc.options import GrpcOptions
    from provider.doors.grpc.server import GrpcServer

    server = GrpcServer(None, GrpcOptions())
    server.stop_listening()
    await server.settled()
    await server.close()


async def test_metadata_over_the_limit_are_refused(door):
    assert await door.unary()(b"a", metadata=(("x-long", "x" * 12_000),)) == b"a"
    async with fails("RESOURCE_EXHAUSTED"):
        await door.unary()(b"a", metadata=(("x-long", "x" * 20_000),))
    assert await door.unary()(b"next") == b"next"


async def test_connections_over_the_limit_are_closed(open_door):
    door = await open_door(connections=1)
    assert await door.unary()(b"a") == b"a"
    # Channels with the same options would share one connection.
    other = grpc.aio.insecure_channel(door.server.address, options=[("x", 1)])
    async with other, fails("UNAVAILABLE"):
        await other.unary_unary(f"/{TEXT}/Call")(b"b")
    assert await door.unary()(b"c") == b"c"


async def test_it_listens_on_all_addresses_of_a_name(open_door):
    door = await open_door(host="localhost")
    assert await door.unary()(b"a") == b"a"
    assert door.server.address.startswith("localhost:")


async def test_a_message_that_is_large_once_it_is_unpacked(open_door):
    door = await open_door(max_message=1000)
    options = [("grpc.max_send_message_length", -1)]
    other = grpc.aio.insecure_channel(door.server.address, options=options)
    async with other, fails("RESOURCE_EXHAUSTED"):
        call = other.unary_unary(f"/{TEXT}/Call")
        await call(b"x" * 500_000, compression=grpc.Compression.Gzip)
    assert door.backend.calls == []


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 5000,
        b"\0" * 5000,
    ],
)
async def test_bytes_that_are_no_grpc_end_their_connection_and_no_other(door, data):
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(*door.server.address.split(":"))
        writer.write(data)
        writer.write_eof()
        await reader.read()
        writer.close()
    assert await door.unary()(b"next") == b"next"
