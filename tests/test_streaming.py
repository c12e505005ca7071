"""The caller's end of a stream, against somebody who plays the provider over a real server."""

from __future__ import annotations

import asyncio
import contextlib
import math

import cbor2
import nats
import nats.errors
import pytest

from provider.doors.subscriptions import settle
from provider.errors import BadResult, CallTimeout, HandlerError, TooLarge, Unavailable
from provider.streaming import streamed_answer
from provider.wire.streamed import StreamReader
from provider.wire.values import Values
from provider.wire.window import BYTES, CHUNKS
from tests.conftest import PATIENCE

SUBJECT = "played.provider"
FLOW = "played.flow"


class Player:
    """Takes a request, sends what it is told to, hears what the caller says."""

    def __init__(self, connection) -> None:
        self.connection = connection
        self._said: asyncio.Queue[dict] = asyncio.Queue()
        self._asked: asyncio.Queue = asyncio.Queue()

    async def open(self) -> None:
        await self.connection.subscribe(SUBJECT, cb=self._asked.put)
        await self.connection.subscribe(FLOW, cb=self._said.put)
        await self.connection.flush()

    async def asked(self) -> str:
        """The reply subject of the next request."""
        return (await asyncio.wait_for(self._asked.get(), PATIENCE)).reply

    async def said(self) -> dict:
        """What the caller says next of its stream; None for the server's word that it has gone."""
        data = (await asyncio.wait_for(self._said.get(), PATIENCE)).data
        return cbor2.loads(data) if data else None

    async def send(self, reply: str, *messages: dict, flow: str = FLOW) -> None:
        for message in messages:
            await self.connection.publish(reply, cbor2.dumps(message), reply=flow)
        await self.connection.flush()


@pytest.fixture
async def player(shared_nats):
    made = Player(await nats.connect(shared_nats.url))
    await made.open()
    yield made
    await made.connection.close()


@pytest.fixture
async def client(shared_nats):
    made = await nats.connect(shared_nats.url)
    yield made
    await made.close()


def asking(client, *, patience=PATIENCE, subject=SUBJECT, request=b"x", on_progress=None):
    return streamed_answer(client, subject, request, patience, StreamReader(Values()), on_progress)


def chunk(number, value=None):
    return {"chunk": number if value is None else value, "seq": number}


async def begun(player, client, *messages, **options):
    """A stream whose first item is waited for, and where its messages go."""
    items = asking(client, **options)
    first = asyncio.ensure_future(anext(items))
    reply = await player.asked()
    await player.send(reply, *messages)
    return items, first, reply


async def test_items_come_until_the_end(player, client):
    items, first, reply = await begun(player, client, chunk(0), chunk(1), {"end": 2})
    assert await first == 0
    assert [item async for item in items] == [1]
    # Nobody listens any more, and nothing was said about a stream that has ended.
    await settle(client)
    await player.send(reply, chunk(2))
    assert await player.said() is None


async def test_what_is_said_of_progress_is_no_item(player, client):
    told = []
    word = {"done": 1, "total": None, "note": ""}
    messages = ({"progress": None}, {"progress": word}, chunk(0), {"progress": word}, {"end": 1})
    items, first, _ = await begun(player, client, *messages, on_progress=told.append)
    assert await first == 0
    assert [item async for item in items] == []
    assert told == [word, word]


async def test_what_the_callback_raises_ends_the_stream(player, client):
    def fail(_word):
        raise ZeroDivisionError

    _, first, _ = await begun(player, client, {"progress": {"done": 1}}, on_progress=fail)
    with pytest.raises(ZeroDivisionError):
        await first
    assert await player.said() == {"cancel": True}


async def test_credit_is_given_for_what_was_used(player, client):
    half = CHUNKS // 2
    items, first, reply = await begun(player, client, *map(chunk, range(CHUNKS)))
    await first
    for _ in range(half - 1):
        await anext(items)
    last = asyncio.ensure_future(anext(items))
    assert await player.said() == {"credit": half}
    assert await last == half
    await player.send(reply, chunk(CHUNKS), {"end": CHUNKS + 1})
    assert len([item async for item in items]) == half


async def test_large_chunks_bring_credit_earlier(player, client):
    large = b"x" * (BYTES // 4)
    items, first, reply = await begun(player, client, chunk(0, large), chunk(1, large))
    await first
    await anext(items)
    waiting = asyncio.ensure_future(anext(items, None))
    assert await player.said() == {"credit": 2}
    await player.send(reply, {"end": 2})
    assert await waiting is None


async def test_who_leaves_says_so_and_listens_no_more(player, client):
    items, first, reply = await begun(player, client, chunk(0))
    await first
    await items.aclose()
    assert await player.said() == {"cancel": True}
    await settle(client)
    await player.send(reply, chunk(1))
    assert await player.said() is None


async def test_who_leaves_before_anything_came_waits_a_moment_to_say_so(player, client):
    items = asking(client)
    first = asyncio.ensure_future(anext(items))
    reply = await player.asked()
    first.cancel()
    await player.send(reply, {"progress": None})
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await player.said() == {"cancel": True}


@pytest.mark.parametrize("turns", range(10))
async def test_who_leaves_in_the_moment_the_first_message_comes_says_so(
    player, client, monkeypatch, turns
):
    process, come = client._process_msg, asyncio.Event()

    async def processed(*message):
        await process(*message)
        come.set()

    monkeypatch.setattr(client, "_process_msg", processed)
    first = asyncio.ensure_future(anext(asking(client)))
    reply = await player.asked()
    await player.send(reply, {"progress": None})
    await come.wait()
    for _ in range(turns):
        await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await player.said() == {"cancel": True}


async def test_who_leaves_and_hears_nothing_is_gone_all_the_same(player, client):
    first = asyncio.ensure_future(anext(asking(client)))
    reply = await player.asked()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await settle(client)
    await player.send(reply, {"progress": None})
    assert await player.said() is None


async def test_errors_end_it(player, client):
    error = {"error": {"kind": "handler_error", "code": 500, "message": "broke"}}
    items, first, _ = await begun(player, client, chunk(0), error)
    await first
    with pytest.raises(HandlerError, match="broke"):
        await anext(items)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (chunk(1), "chunk 0 of the stream is missing"),
        ({"end": 1}, "chunk 0 of the stream is missing"),
        ({"result": 1}, "does not stream"),
        ({"other": 1}, "no part of a stream"),
    ],
)
async def test_what_is_no_stream_is_said_so(player, client, message, words):
    _, first, _ = await begun(player, client, message)
    with pytest.raises(BadResult, match=words):
        await first


async def test_deadlines_hold_for_the_whole_stream(player, client):
    items, first, _ = await begun(player, client, chunk(0), patience=5.0)
    await first
    with pytest.raises(CallTimeout, match=r"the stream on played\.provider did not end in time"):
        await anext(items)
    assert await player.said() == {"cancel": True}


async def test_without_a_deadline_it_waits(player, client):
    items, first, reply = await begun(player, client, chunk(0), patience=math.inf)
    assert await first == 0
    await player.send(reply, {"end": 1})
    assert [item async for item in items] == []


async def test_where_nobody_listens_and_what_nobody_carries(client):
    with pytest.raises(nats.errors.NoRespondersError):
        await anext(asking(client, subject="played.nobody"))
    with pytest.raises(TooLarge, match="max_payload"):
        await anext(asking(client, request=b"x" * (client.max_payload + 1)))


async def test_a_request_that_is_not_taken_leaves_nobody_listening(client):
    before = len(client._subs)
    with pytest.raises(Unavailable, match="did not take"):
        await anext(asking(client, subject="played provider"))
    assert len(client._subs) == before


async def test_a_connection_that_is_closed_carries_no_credit(player, shared_nats):
    other = await nats.connect(shared_nats.url)
    items, first, _ = await begun(player, other, *map(chunk, range(CHUNKS // 2)))
    await first
    for _ in range(CHUNKS // 2 - 1):
        await asyncio.wait_for(anext(items), PATIENCE)
    await other.close()
    with pytest.raises(Unavailable, match="did not carry"):
        await asyncio.wait_for(anext(items), PATIENCE)


async def test_a_connection_that_is_closed_does_not_carry_it(player, shared_nats):
    other = await nats.connect(shared_nats.url)
    items, first, _ = await begun(player, other, chunk(0))
    await first
    await other.close()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(anext(items), PATIENCE)
    with pytest.raises(Unavailable, match="did not take"):
        await anext(asking(other))
    with contextlib.suppress(nats.errors.Error):
        await other.close()
