"""The short way in and out of nats-py, and what it assumes of nats-py's inside."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os

import nats
import nats.errors
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nats.aio.transport import TcpTransport

from provider.burst_client import BurstClient, hpub, pub
from provider.doors.subscriptions import settle
from provider.host.burst import Burst
from tests.conftest import PATIENCE


class Taker:
    """Remembers messages, and when bursts ended."""

    def __init__(self) -> None:
        self.burst = Burst()
        self.burst.at_end(lambda: self.bursts.append(len(self.taken)))
        self.bursts: list[int] = []
        self.taken: list[tuple[bytes, bytes, bytes, dict | None]] = []
        self.came = asyncio.Condition()

    def take(self, subject, reply, data, headers):
        assert self.burst.open
        self.taken.append((subject, reply, data, headers))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.taken) < count:
                await asyncio.sleep(0.005)  # nothing tells a test that the parser went on


@contextlib.asynccontextmanager
async def connected(url: str):
    taker = Taker()
    client = BurstClient(taker.burst)
    await client.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
    other = await nats.connect(url)
    try:
        yield client, taker, other
    finally:
        await client.close()
        await other.close()


async def test_messages_are_taken_in_order_with_subject_reply_and_data(shared_nats):
    async with connected(shared_nats.url) as (client, taker, other):
        await client.subscribe_directly("burst.in.>", "q", taker.take)
        await settle(client)
        for number in range(500):
            await other.publish(f"burst.in.{number}", b"x" * number, reply=f"back.{number}")
        await other.publish("burst.in.none", b"")
        await taker.until(501)
    assert taker.taken[:500] == [
        (b"burst.in.%d" % number, b"back.%d" % number, b"x" * number, None) for number in range(500)
    ]
    assert taker.taken[500] == (b"burst.in.none", b"", b"", None)
    # Many to a burst, or nothing was gained.
    assert len([count for count in taker.bursts if count]) < 250


async def test_joining_and_leaving_again_and_again_keeps_nothing(shared_nats):
    async with connected(shared_nats.url) as (client, taker, other):
        for number in range(20):
            joined = await client.subscribe_directly("burst.again", "q", taker.take)
            await settle(client)
            await other.publish("burst.again", b"%d" % number)
            await settle(other)  # one flush may be ahead of what was published
            await client.unsubscribe_directly(joined)
            await settle(client)
            client.forget([joined])
        await other.publish("burst.again", b"nobody listens")
        await settle(other)
        await settle(client)
        assert [data for _, _, data, _ in taker.taken] == [b"%d" % number for number in range(20)]
        assert not client.takers


async def test_headers_large_messages_and_other_subscriptions_keep_their_order(shared_nats):
    async with connected(shared_nats.url) as (client, taker, other):
        await client.subscribe_directly("burst.mixed", "q", taker.take)
        got: list[bytes] = []

        async def by_queue(message):
            got.append(message.data)

        await client.subscribe("burst.plain", cb=by_queue)
        await settle(client)
        large = os.urandom(700_000)
        await other.publish("burst.mixed", b"1")
        await other.publish("burst.mixed", b"2", headers={"A": "b"})
        await other.publish("burst.plain", b"plain")
        await other.publish("burst.mixed", large)
        await other.publish("burst.mixed", b"5")
        await taker.until(4)
        await client.flush()
    assert [data for _, _, data, _ in taker.taken] == [b"1", b"2", large, b"5"]
    assert taker.taken[1][3] == {"A": "b"}
    assert got == [b"plain"]


async def test_what_is_posted_arrives_as_published(shared_nats):
    async with connected(shared_nats.url) as (client, _taker, other):
        subscription = await other.subscribe("burst.out.*")
        await settle(other)
        headers = {"A": "b", "C": ""}
        client.post([pub(b"burst.out.1", b"one"), hpub(b"burst.out.2", b"two", headers)])
        client.post([pub(b"burst.out.3", b"")])
        first, second, third = [await subscription.next_msg(PATIENCE) for _ in range(3)]
    assert (first.subject, first.data, first.headers) == ("burst.out.1", b"one", None)
    assert (second.data, second.headers) == (b"two", headers)
    assert third.data == b""
    assert client.stats["out_msgs"] >= 3


async def test_what_is_posted_apart_arrives_like_all_else_and_in_its_order(shared_nats):
    async with connected(shared_nats.url) as (client, _taker, other):
        subscription = await other.subscribe("burst.apart")
        await settle(other)
        body = os.urandom(900_000)
        client.post([pub(b"burst.apart", b"before")])
        for view in (body, memoryview(body)):
            client.post_apart(b"PUB burst.apart %d\r\nhead" % (len(body) + 4), view)
        client.post([pub(b"burst.apart", b"after")])
        came = [(await subscription.next_msg(PATIENCE)).data for _ in range(4)]
        await client.unconfirmed.empty()
    assert came == [b"before", b"head" + body, b"head" + body, b"after"]


async def test_what_was_posted_apart_while_the_server_is_away_is_sent_when_it_is_back(nats_server):
    async with connected(nats_server.url) as (client, taker, _other):
        await client.subscribe_directly("burst.apart", "q", taker.take)
        await client.flush()
        nats_server.stop()
        async with asyncio.timeout(PATIENCE):
            while client.is_connected:
                await asyncio.sleep(0.01)  # nats-py has no event for it
        body = os.urandom(100_000)
        for _ in range(3):  # the same object each time, as a result that is kept
            client.post_apart(b"PUB burst.apart %d\r\n" % len(body), body)
        nats_server.start()
        await taker.until(3)
    assert [data for _, _, data, _ in taker.taken] == [body] * 3


async def test_a_taker_that_raises_does_not_end_the_reading(shared_nats):
    async with connected(shared_nats.url) as (client, taker, other):

        def take(subject, reply, data, headers):
            taker.take(subject, reply, data, headers)
            if data == b"bad":
                raise ValueError(data)

        await client.subscribe_directly("burst.bad", "q", take)
        await settle(client)
        for data in (b"bad", b"good", b"bad", b"good"):
            await other.publish("burst.bad", data)
        await taker.until(4)


async def test_answers_given_while_the_server_is_away_are_sent_when_it_is_back(nats_server):
    async with connected(nats_server.url) as (client, taker, other):
        await client.subscribe_directly("burst.again", "q", taker.take)
        await client.flush()
        nats_server.stop()
        async with asyncio.timeout(PATIENCE):
            while client.is_connected:
                await asyncio.sleep(0.01)  # nats-py has no event for it
        client.post([pub(b"burst.again", b"late")])
        nats_server.start()
        # Its own subscription is renewed before what waited is sent.
        await taker.until(1)
        async with asyncio.timeout(PATIENCE):
            while not other.is_connected:
                await asyncio.sleep(0.01)  # nats-py has no event for it
        await other.publish("burst.again", b"again")
        await taker.until(2)
    assert [data for _, _, data, _ in taker.taken] == [b"late", b"again"]


async def test_a_closed_connection_refuses(shared_nats):
    async with connected(shared_nats.url) as (client, _taker, _other):
        await client.close()
        with pytest.raises(nats.errors.ConnectionClosedError):
            client.post([pub(b"a", b"b")])


async def test_too_much_for_a_connection_that_is_away_is_refused(nats_server):
    async with connected(nats_server.url) as (client, _taker, _other):
        client._max_pending_size = 100
        nats_server.stop()
        async with asyncio.timeout(PATIENCE):
            while client.is_connected:
                await asyncio.sleep(0.01)  # nats-py has no event for it
        with pytest.raises(nats.errors.OutboundBufferLimitError):
            client.post([pub(b"a", b"x" * 200)])


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from([b"a", b"a.b.c"]),
        st.sampled_from([7, 8]),
        st.sampled_from([b"", b"_INBOX.x.1"]),
        st.binary(max_size=40) | st.sampled_from([b"MSG a 7 3\r\n", b"\r\n", b"ok", b"PING"]),
        st.booleans(),
    ),
    max_size=8,
)


def written(messages):
    """What a server writes, and what is to be taken of it."""
    stream, expected = b"", []
    for subject, sid, reply, data, with_headers in messages:
        head = b"%b %d %b" % (subject, sid, reply + b" " if reply else b"")
        if with_headers:
            block = b"NATS/1.0\r\nA: b\r\n\r\n"
            size = len(block) + len(data)
            stream += b"HMSG %b%d %d\r\n%b%b\r\n" % (head, len(block), size, block, data)
            expected.append((subject, reply, data, {"A": "b"}))
        else:
            stream += b"MSG %b%d\r\n%b\r\n" % (head, len(data), data)
            expected.append((subject, reply, data, None))
        if data == b"ok":
            stream += b"+OK\r\n"
    return stream + b"+OK\r\n", expected


def parts(stream, cuts):
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    return [stream[start:end] for start, end in itertools.pairwise(places)]


CUTS = st.lists(st.integers(0, 600), max_size=6)


@settings(max_examples=100)
@given(messages=MESSAGES, cuts=CUTS)
async def test_wherever_the_bytes_are_split_the_messages_are_the_same(messages, cuts):
    taker = Taker()
    client = BurstClient(taker.burst)
    client.takers = {b"7": taker.take, b"8": taker.take}
    stream, expected = written(messages)
    for part in parts(stream, cuts):
        await client._ps.parse(part)
    assert taker.taken == expected


class Everything(BurstClient):
    """What nats-py's own parser calls is taken down beside what takers are given."""

    def __init__(self, taker):
        super().__init__(taker.burst)
        self.taker = taker
        self.options = {"verbose": False}
        self._status = BurstClient.CONNECTED
        self._transport = TcpTransport()
        self.reader = self._transport._io_reader = asyncio.StreamReader()

    async def _process_msg(self, sid, subject, reply, data, headers):
        if b"%d" % sid in self.takers:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        await asyncio.sleep(0)
        fields = {"A": "b"} if headers else None
        self.taker.taken.append((subject, reply, data, fields))

    async def _process_op_err(self, error):
        assert isinstance(error, nats.errors.UnexpectedEOF)


@settings(max_examples=200)
@given(
    messages=MESSAGES,
    cuts=CUTS,
    direct=st.sampled_from([(b"7", b"8"), (b"7",), ()]),
    turns=st.lists(st.booleans(), min_size=7, max_size=7),
)
async def test_whoever_takes_them_messages_keep_the_order_of_the_connection(
    messages, cuts, direct, turns
):
    taker = Taker()
    client = Everything(taker)
    client.takers = dict.fromkeys(direct, taker.take)
    stream, expected = written(messages)
    reading = asyncio.create_task(client._read_loop())
    for part, turn in zip(parts(stream, cuts), turns, strict=False):
        if turn:
            await asyncio.sleep(0)
        client.reader.feed_data(part)
    client.reader.feed_eof()
    async with asyncio.timeout(PATIENCE):
        await reading
    assert taker.taken == expected


async def test_what_is_inside_a_message_of_others_is_no_message():
    taker = Taker()
    client = Everything(taker)
    client.takers = {b"7": taker.take}
    reading = asyncio.create_task(client._read_loop())
    inside = b"MSG a 7 back 3\r\nabc\r\n"
    for part in (b"MSG other 9 %d\r\n" % len(inside), inside, b"\r\nMSG a 7 3\r\nd", b"ef\r\n"):
        await asyncio.sleep(0)
        client.reader.feed_data(part)
    client.reader.feed_eof()
    async with asyncio.timeout(PATIENCE):
        await reading
    assert taker.taken == [(b"other", b"", inside, None), (b"a", b"", b"def", None)]


@settings(max_examples=60)
@given(
    cuts=st.lists(st.integers(0, 200_200), max_size=5),
    at_ends=st.lists(st.integers(-4, 4), max_size=4),
    reply=st.sampled_from([b"", b"back"]),
    headers=st.booleans(),
)
async def test_large_messages_are_put_together_wherever_they_were_cut(
    cuts, at_ends, reply, headers
):
    taker = Taker()
    client = Everything(taker)
    client.takers = {b"7": taker.take}
    large = bytes(range(251)) * 400
    messages = [(b"a", 7, reply, each, headers) for each in (large, b"x", large[:70_000], large)]
    stream, expected = written(messages)
    line = stream.index(b"\r\n") + 2
    ends = [line + len(large) + 2 + each for each in at_ends] + [line + each for each in at_ends]
    reading = asyncio.create_task(client._read_loop())
    for part in parts(stream, [cut for cut in (*cuts, *ends) if cut >= 0]):
        await asyncio.sleep(0)
        client.reader.feed_data(part)
    client.reader.feed_eof()
    async with asyncio.timeout(PATIENCE):
        await reading
    assert taker.taken == expected
    assert client.stats["in_msgs"] == len(messages)


async def test_pongs_among_messages_leave_them_their_way():
    taker = Taker()
    client = Everything(taker)
    client.takers = {b"7": taker.take}
    pongs = []

    async def note():
        pongs.append(len(taker.taken))

    client._process_pong = note
    message = b"MSG a 7 back 3\r\nabc\r\n"
    await client._ps.parse(message + b"PONG\r\n" + message * 2 + b"PONG\r\nPONG\r\n" + message)
    assert (pongs, len(taker.taken), client._ps.buf) == ([1, 3, 3], 4, b"")


async def test_messages_are_taken_where_they_come_in(shared_nats):
    async with connected(shared_nats.url) as (client, taker, other):
        await client.subscribe_directly("burst.first", "q", taker.take)
        await settle(client)

        async def never(data):
            await asyncio.Event().wait()

        client._ps.parse = never  # nats-py's task may be as late as it likes
        for data in (b"1", os.urandom(700_000), b"3"):
            await other.publish("burst.first", data, reply="back")
        await taker.until(3)


@pytest.mark.parametrize("line", [b"MSG a x 3\r\nabc\r\n", b"MSG a\r\n", b"MSG a 7 y\r\n"])
async def test_a_line_that_is_none_is_nats_pys_to_refuse(line):
    taker = Taker()
    client = BurstClient(taker.burst)
    client.takers = {b"7": taker.take}
    with pytest.raises(nats.errors.ProtocolError):
        await client._ps.parse(line)
    assert taker.taken == []


async def test_what_is_settled_the_server_knows(shared_nats):
    # One flush of nats-py lets about one in thirty of these messages find nobody.
    for number in range(60):
        async with connected(shared_nats.url) as (client, taker, other):
            await client.subscribe_directly(f"burst.settled.{number}", "q", taker.take)
            await settle(client)
            await other.publish(f"burst.settled.{number}", b"x")
            await taker.until(1)


async def test_messages_on_the_way_are_taken_after_unsubscribing(shared_nats):
    async with connected(shared_nats.url) as (client, taker, other):
        subscription = await client.subscribe_directly("burst.end", "q", taker.take)
        await settle(client)
        # On one connection the server obeys in order, and nothing has been read yet.
        client.post([pub(b"burst.end", b"x")] * 2000)
        await client.unsubscribe_directly(subscription)
        assert not taker.taken
        await settle(client)
        taken = len(taker.taken)
        await other.publish("burst.end", b"too late")
        await settle(other)
        await settle(client)
    assert taken == len(taker.taken) == 2000
