"""Streams while something else happens: a save, a NATS server that restarts, a caller who signs."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from provider.client import connect_wasmbus
from provider.errors import CallError
from provider.lattice.nkeys import KeyPair, Kind
from provider.wire.window import CHUNKS
from tests.conftest import PATIENCE, NatsServer, write

PROGRAM = """
    from provider.dispatch import operation

    WORD = "old"

    @operation
    def words(count: int):
        try:
            for _ in range(count):
                yield WORD
        finally:
            print("closed", WORD, flush=True)

    @operation
    async def words_on_the_loop(count: int):
        for _ in range(count):
            yield WORD

    @operation
    def word():
        return WORD
"""
CLUSTER = KeyPair.generate(Kind.CLUSTER)


@pytest.fixture(
    params=["1", pytest.param("4", marks=pytest.mark.long)], ids=["alone", "overlapping"]
)
def concurrency(request):
    return request.param


async def test_a_stream_ends_with_the_code_it_began_with(serve, concurrency):
    provider = serve(PROGRAM, PROVIDER_CONCURRENCY=concurrency)
    many = 4 * CHUNKS
    async with provider.connect() as python:
        for operation, before, after in (
            ("words", "old", "new"),
            ("words_on_the_loop", "new", "newer"),
        ):
            items = python.stream(operation, many)
            assert await anext(items) == before
            text = PROGRAM.replace('"old"', f'"{after}"')
            await asyncio.to_thread(write, provider.folder / "dispatch.py", text)
            # It comes after the save, and so waits for the reload, which waits for the stream.
            next_call = asyncio.ensure_future(python.call("word"))
            assert [item async for item in items] == [before] * (many - 1)
            assert await asyncio.wait_for(next_call, PATIENCE) == after
            assert [item async for item in python.stream(operation, 2)] == [after] * 2
    assert provider.events("printed", text="closed old")
    assert not provider.events("worker_lost")


@pytest.fixture
def restarting_nats():
    server = NatsServer()
    yield server
    server.stop()


async def test_a_nats_server_that_restarts_ends_a_stream_or_carries_its_rest(
    start_provider, restarting_nats, concurrency
):
    server = restarting_nats
    provider = start_provider(PROGRAM, nats=server.url, PROVIDER_CONCURRENCY=concurrency)
    # Both ends find the server again by themselves.
    async with provider.connect() as python, asyncio.timeout(3 * PATIENCE):
        # What ends it may be lost as well; then its deadline does.
        items = python.stream("words", 10**9, timeout=12)
        assert await anext(items) == "old"
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        with contextlib.suppress(CallError):  # a part of it was lost, and is missed
            for _ in range(10 * CHUNKS):
                await anext(items)
        await items.aclose()
        await asyncio.to_thread(provider.wait_for, "printed", text="closed old")
        assert await until_answered(python, "word") == "old"
        assert [item async for item in python.stream("words", 2)] == ["old"] * 2
        assert (await python.status(timeout=PATIENCE))["open"] == 0
    assert not provider.events("worker_lost")


async def until_answered(python, operation):
    """The answer to the first call that gets through."""
    while True:
        with contextlib.suppress(CallError):
            return await python.call(operation, timeout=2)


async def test_a_signed_caller_of_a_generator_gets_a_list(serve):
    provider = serve(PROGRAM, PROVIDER_CLUSTER_ISSUERS=CLUSTER.public)
    lattice = provider.environment["PROVIDER_LATTICE"]
    async with connect_wasmbus(
        provider.url,
        cluster=CLUSTER,
        lattice=lattice,
        actor=KeyPair.generate(Kind.MODULE).public,
        timeout=PATIENCE,
    ) as wasmbus:
        await wasmbus.link()
        await wasmbus.health(timeout=PATIENCE)
        assert await wasmbus.call("words", 3) == ["old"] * 3
        assert await wasmbus.call("words_on_the_loop", 2 * CHUNKS) == ["old"] * (2 * CHUNKS)
        assert await wasmbus.call("words", 0) == []
