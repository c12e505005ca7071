"""A client that stays: whatever becomes of its connection, and what nats-py leaves open there."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import time

import nats.errors
import pytest
import uvloop
from nats.aio.client import Client

from provider import connection, steady_client
from provider.burst_client import BurstClient, pub
from provider.connection import NatsOptions
from provider.doors.subscriptions import settle
from provider.host.burst import Burst
from provider.unconfirmed import MOST_AGAIN
from tests.conftest import PATIENCE
from tests.proxy import Proxy
from tests.test_connection import free_port


@pytest.fixture
def proxy(nats_server):
    """A way to a server of the test's own."""
    way = Proxy(nats_server.port)
    yield way
    way.close()


@contextlib.asynccontextmanager
async def connected(url: str, *, ping: float = 60.0, **more):
    client = BurstClient(Burst())
    client.seen = 0
    await connection.connect(
        NatsOptions((url,), ping=ping), name="test", wait=False, client=client, **more
    )
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def listener(server, subject: str):
    """Everything that arrives at a subject, over a connection nothing happens to."""
    heard: list[bytes] = []
    client = Client()
    await client.connect(server.url)

    async def hear(message):
        heard.append(message.data)

    await client.subscribe(subject, cb=hear)
    await settle(client)
    try:
        yield heard
    finally:
        await client.close()


async def until(truth, patience: float = PATIENCE) -> None:
    """Wait for something nothing tells of."""
    async with asyncio.timeout(patience):
        while not truth():
            await asyncio.sleep(0.01)


async def back(client) -> None:
    """Wait for another connection than the first, or than that of the last time."""
    await until(lambda: client.stats["reconnects"] > client.seen and client.is_connected)
    client.seen = client.stats["reconnects"]


# --- what was sent -------------------------------------------------------------------------------


async def test_what_the_server_has_read_is_forgotten(nats_server):
    async with connected(nats_server.url) as client:
        for number in range(100):
            client.post([pub(b"some.where", b"%d" % number)])
        assert client.unconfirmed.size > 0
        await client.unconfirmed.empty()
        assert client.unconfirmed.size == 0
        client.post([pub(b"some.where", b"x" * 900_000)] * 3)
        await until(lambda: client.unconfirmed.size == 0)


async def test_what_a_connection_took_along_is_sent_again(nats_server, proxy):
    async with connected(proxy.url) as client, listener(nats_server, "to.be.kept") as heard:
        proxy.freeze()
        for number in range(500):
            client.post([pub(b"to.be.kept", b"%d" % number)])
        proxy.cut()
        await until(lambda: not client.is_connected)
        client.post([pub(b"to.be.kept", b"500")])
        proxy.thaw()
        await client.unconfirmed.empty()
        await until(lambda: len(heard) >= 501)
        assert client.numbers.sent_again > 0
    assert heard == [b"%d" % number for number in range(501)]


async def test_cut_in_the_middle_of_a_message_it_arrives_whole(nats_server, proxy):
    async with connected(proxy.url) as client, listener(nats_server, "to.be.kept") as heard:
        sent = [b"%d." % number + b"x" * 5000 for number in range(200)]
        for number, data in enumerate(sent):
            if number % 50 == 20:
                proxy.cut_in_message("up")
            client.post([pub(b"to.be.kept", data)])
            if number % 50 == 20:
                await until(lambda number=number: proxy.cuts == number // 50 + 1)
        await client.unconfirmed.empty()
        await until(lambda: set(heard) >= set(sent))
    # Twice is possible: the server may have read what it could not say so of any more.
    assert set(heard) == set(sent)


async def test_half_of_a_message_that_comes_is_nothing(nats_server, proxy):
    taken: list[bytes] = []
    async with connected(proxy.url) as client, connected(nats_server.url) as other:
        await client.subscribe_directly(
            "in.pieces", "q", lambda _s, _r, data, _h: taken.append(data)
        )
        await settle(client)
        messages = [b"%d." % number + b"y" * 20_000 for number in range(60)]
        for number, data in enumerate(messages):
            if number in (10, 30, 50):
                proxy.cut_in_message("down")
            other.post([pub(b"in.pieces", data)])
            if number in (10, 30, 50):
                await until(lambda number=number: proxy.cuts == (number + 10) // 20)
                await back(client)
                await settle(client)
            else:
                await until(lambda data=data: taken[-1:] == [data])
    assert set(taken) <= set(messages)
    assert len(taken) == 57


async def test_a_try_that_fails_late_takes_nothing_along(nats_server, proxy):
    async with connected(proxy.url, ping=0.2) as client, listener(nats_server, "kept") as heard:
        for round_ in range(5):
            proxy.freeze()
            client.post([pub(b"kept", b"%d" % round_)])
            proxy.cut()
            await until(lambda: not client.is_connected)
            proxy.thaw()
            # Before what waited can have been confirmed.
            await until(lambda: client.is_connected)
            proxy.cut()
        await client.unconfirmed.empty()
        await until(lambda: len(set(heard)) == 5)


async def test_what_a_server_refuses_is_not_sent_again_and_again(nats_server):
    async with connected(nats_server.url) as client:
        client.post([pub(b"too.large", b"x" * (client.max_payload + 1))])
        await back(client)
        await client.flush()
        assert client.unconfirmed.size == 0
        assert client.numbers.given_up > client.max_payload
        # It may have hung up before it could be heard why.
        assert client.numbers.lost <= MOST_AGAIN + 1


async def test_too_much_that_is_not_read_is_refused(proxy):
    async with connected(proxy.url) as client:
        client._max_pending_size = 64 << 20
        proxy.freeze()
        kept = 0
        with pytest.raises(nats.errors.OutboundBufferLimitError):
            for _ in itertools.count():
                client.post([pub(b"too.much", b"x" * 1_000_000)])
                kept += 1
        assert 60 <= kept <= 70
        proxy.thaw()
        async with asyncio.timeout(60):
            await client.unconfirmed.empty()
        client.post([pub(b"too.much", b"x")])


# --- servers that stand still --------------------------------------------------------------------


async def test_a_server_that_stands_still_is_noticed_and_left(nats_server, proxy):
    async with connected(proxy.url, ping=0.2) as client:
        proxy.freeze()
        # More than the buffers of the system hold, so that it cannot be closed in order.
        for _ in range(30):
            client.post([pub(b"a.b", b"x" * 1_000_000)])
        await until(lambda: not client.is_connected)
        began = time.monotonic()
        await until(lambda: proxy.connections >= 3)
        assert time.monotonic() - began < PATIENCE
        proxy.thaw()
        await until(lambda: client.is_connected)
        await client.flush()


async def test_a_server_that_says_something_is_not_left(nats_server, proxy):
    async with connected(proxy.url, ping=0.2) as client, connected(nats_server.url) as other:
        taken: list[bytes] = []
        await client.subscribe_directly("still", "q", lambda _s, _r, data, _h: taken.append(data))
        await settle(client)
        proxy.slow("up", 20_000)
        # The PINGs wait for five seconds behind this.
        client.post([pub(b"a.b", b"x" * 100_000)])
        end = time.monotonic() + 3
        while time.monotonic() < end:
            other.post([pub(b"still", b"here")])
            await asyncio.sleep(0.1)
        assert client.is_connected
        assert proxy.connections == 1


async def test_closing_does_not_wait_for_a_server_that_stands_still(proxy):
    async with connected(proxy.url) as client:
        proxy.freeze()
        for _ in range(30):
            client.post([pub(b"a.b", b"x" * 1_000_000)])
        async with asyncio.timeout(10):
            await client.close()
        assert client.is_closed


async def test_a_pong_that_comes_too_late_changes_nothing(nats_server, proxy):
    async with connected(proxy.url) as client:
        proxy.freeze()
        with pytest.raises(nats.errors.FlushTimeoutError):
            await client.flush(1)
        proxy.thaw()
        await client.flush()
        assert proxy.connections == 1


async def test_a_try_that_fails_late_leaves_no_task_behind(proxy, monkeypatch):
    async with connected(proxy.url, ping=0.3) as client:
        flush, fails = client.flush, 3

        async def fail(timeout=10):
            nonlocal fails
            fails -= 1
            if fails >= 0:
                raise nats.errors.FlushTimeoutError
            await flush(timeout)

        monkeypatch.setattr(client, "flush", fail)
        proxy.cut()
        await until(lambda: fails < 0)
        await back_to_work(client)
        names = [task.get_coro().__name__ for task in asyncio.all_tasks()]
        for name in ("_read_loop", "_ping_interval", "_flusher"):
            assert names.count(name) == 1


async def back_to_work(client) -> None:
    await until(lambda: client.is_connected)
    await client.flush()


# --- errors --------------------------------------------------------------------------------------


async def test_an_error_nobody_thought_of_does_not_end_the_reconnecting(proxy, monkeypatch):
    async with connected(proxy.url) as client:
        original, fails = client._connect_command, 2

        def fail():
            nonlocal fails
            fails -= 1
            if fails >= 0:
                raise ValueError("nobody thought of this")
            return original()

        monkeypatch.setattr(client, "_connect_command", fail)
        proxy.cut()
        await back(client)
        await client.flush()
        assert fails < 0


async def test_an_error_of_the_server_is_no_reason_to_end(nats_server):
    lost: list[bool] = []
    async with connected(nats_server.url, on_lost=lambda: lost.append(True)) as client:
        client._transport.write(b"NONSENSE\r\n")
        await back(client)
        await client.flush()
        assert not lost
    assert lost  # closed now


async def test_closing_while_away_with_much_to_send_ends_in_order(nats_server):
    lost: list[bool] = []
    async with connected(nats_server.url, on_lost=lambda: lost.append(True)) as client:
        nats_server.stop()
        await until(lambda: not client.is_connected)
        client.post([pub(b"a.b", b"x" * 100_000)] * 10)
        await client.close()
        assert lost


async def test_what_breaks_every_connection_is_given_up(nats_server, proxy):
    async with connected(proxy.url) as client:
        for _ in range(MOST_AGAIN + 1):
            seen = proxy.cuts
            proxy.cut_in_message("up")
            if not seen:
                client.post([pub(b"a.b", b"poison")])
            await until(lambda seen=seen: proxy.cuts > seen)
        await until(lambda: client.numbers.given_up > 0)
        await back_to_work(client)


def test_what_is_sent_on_a_connection_that_has_just_gone_is_kept(nats_server):
    async def work() -> None:
        async with connected(nats_server.url) as client, listener(nats_server, "kept") as heard:
            client._transport._io_writer.transport.abort()
            sent = []
            # nats-py has not noticed; uvloop raises for what is written now.
            while client.is_connected:
                sent.append(b"%d" % len(sent))
                client.post([pub(b"kept", sent[-1])])
                await asyncio.sleep(0)
            await client.unconfirmed.empty()
            await until(lambda: heard == sent)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # how nats-py calls aiohttp
async def test_over_a_websocket_it_is_the_same(nats_server, tmp_path):
    pytest.importorskip("aiohttp")
    config = tmp_path / "ws.conf"
    port = free_port()
    config.write_text(f'websocket {{ listen: "127.0.0.1:{port}", no_tls: true }}\n')
    server = type(nats_server)("-c", str(config))
    try:
        async with connected(f"ws://127.0.0.1:{port}") as client, listener(server, "k") as heard:
            client.post([pub(b"k", b"0")])
            await client.unconfirmed.empty()
            server.stop()
            client.post([pub(b"k", b"1")])
            await until(lambda: not client.is_connected)
            client.post([pub(b"k", b"2")])
            server.start()
            await client.unconfirmed.empty()
            await until(lambda: set(heard) >= {b"0"})
            assert client.numbers.lost == 1
    finally:
        server.stop()


async def test_a_server_that_stood_still_is_not_tried_first(nats_server):
    other = type(nats_server)()
    try:
        client = BurstClient(Burst())
        options = NatsOptions((nats_server.url, other.url), ping=0.1)
        await connection.connect(options, name="test", wait=False, client=client)
        servers = {server.port: server for server in (nats_server, other)}
        # By chance it would be, half of the time.
        for number in range(6):
            here = client.connected_url.port
            os.kill(servers[here].pid, signal.SIGSTOP)
            await until(lambda number=number: client.stats["reconnects"] > number)
            assert client.connected_url.port != here
            assert client.numbers.tries == 0
            os.kill(servers[here].pid, signal.SIGCONT)
        await client.close()
    finally:
        other.stop()


async def test_a_server_that_hangs_up_before_we_move_is_left_once(nats_server, monkeypatch):
    other = type(nats_server)()
    try:
        client = BurstClient(Burst())
        client.seen = 0
        options = NatsOptions((nats_server.url, other.url))
        await connection.connect(options, name="test", wait=False, client=client)
        monkeypatch.setattr(steady_client, "MOVING", 1.0)
        monkeypatch.setattr(steady_client.random, "uniform", lambda _least, most: most)
        servers = {server.port: server for server in (nats_server, other)}
        moving = asyncio.create_task(client.leave_lame_duck())
        servers[client.connected_url.port].stop()
        assert not await moving
        await back(client)
        await client.flush()
        assert client.stats["reconnects"] == 1
        # And in order, where it stays.
        servers[client.connected_url.port].stop()
        await until(lambda: not client.is_connected)
        assert not await client.leave_lame_duck()
        await client.close()
    finally:
        other.stop()
