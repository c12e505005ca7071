"""A connection that comes and goes: tried for ever, said in the log, given up only if refused."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import statistics
from pathlib import Path

import pytest
from nats.aio.client import Client

from provider import client as provider_client
from provider import connection, reconnecting
from provider.burst_client import BurstClient
from provider.connection import NatsOptions
from provider.host.burst import Burst
from provider.reconnecting import MOST_REFUSALS, Connecting, pause
from tests.conftest import PATIENCE
from tests.proxy import Proxy

HANDLER = "def handle(command, arg): return arg\n"


@contextlib.asynccontextmanager
async def connected(url: str, **more):
    client = BurstClient(Burst())
    await connection.connect(NatsOptions((url,)), name="test", wait=False, client=client, **more)
    try:
        yield client
    finally:
        await client.close()


async def until(truth, patience: float = PATIENCE) -> None:
    """Wait for something nothing tells of."""
    async with asyncio.timeout(patience):
        while not truth():
            await asyncio.sleep(0.01)


# --- pauses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tries", [0, 1, 5, 60, 10_000])
def test_pauses_differ_and_have_bounds(tries):
    many = [pause(tries) for _ in range(500)]
    about = statistics.mean(many)
    assert reconnecting.SHORTEST_PAUSE * 0.9 <= about <= reconnecting.LONGEST_PAUSE * 1.1
    # Those that lost the same server at the same moment are spread over as long as they wait.
    assert max(many) - min(many) > 0.8 * about


@pytest.mark.long
async def test_many_that_lost_a_server_do_not_come_back_in_one_wave(nats_server):
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(nats_server.url)) for _ in range(12)]
        # Another one for each client, and for each of its tries.
        pauses = {client.options["reconnect_time_wait"] for client in clients}
        nats_server.stop()
        await until(lambda: all(client.numbers.tries >= 3 for client in clients))
        pauses |= {client.options["reconnect_time_wait"] for client in clients}
        assert len(pauses) == 2 * len(clients)
        nats_server.start()
        await until(lambda: all(client.is_connected for client in clients))


# --- for ever ------------------------------------------------------------------------------------


async def test_a_server_that_is_away_is_tried_on_and_on(nats_server, monkeypatch, events):
    monkeypatch.setattr(reconnecting, "SHORTEST_PAUSE", 0.002)
    monkeypatch.setattr(reconnecting, "LONGEST_PAUSE", 0.01)
    async with connected(nats_server.url) as client:
        nats_server.stop()
        # nats-py by itself gives up after 60.
        await until(lambda: client.numbers.tries > 150)
        nats_server.start()
        await until(lambda: client.is_connected)
        await client.flush()
        # The pause of a server that was away long is not that of one that goes now.
        assert client.numbers.lost == 1
    away = [line["tries"] for line in events if line["event"] == "nats_away"]
    assert away == [1, 2, 4, 8, 16, 32, 64, 128][: len(away)]
    assert len(away) >= 8
    (back,) = [line for line in events if line["event"] == "nats_reconnected"]
    assert back["tries"] > 150
    assert back["server"] == f"127.0.0.1:{nats_server.port}"


@pytest.mark.parametrize("callback", ["on_error", "on_disconnected", "on_reconnected"])
async def test_a_callback_that_raises_ends_nothing(nats_server, monkeypatch, events, callback):
    raised = 0

    async def raising(self, *_arguments):
        nonlocal raised
        raised += self.made
        raise RuntimeError("this callback fails")

    # What is under the guard of each, whatever it does.
    guarded = reconnecting._safely(raising)
    guarded.__name__ = callback
    monkeypatch.setattr(Connecting, callback, guarded)
    async with connected(nats_server.url) as client:
        for _ in range(3):
            nats_server.stop()
            await until(lambda: not client.is_connected)
            nats_server.start()
            await until(lambda: client.is_connected)
            await client.flush()
        await until(lambda: raised >= 3)
    failed = [line for line in events if line["event"] == "nats_callback_failed"]
    assert len(failed) >= 3


async def test_what_is_said_of_a_server_that_leaves_may_raise(nats_server, monkeypatch, events):
    def raising(_self):
        raise RuntimeError("nobody knows where")

    async with connected(nats_server.url) as client:
        monkeypatch.setattr(BurstClient, "connected_url", property(raising))
        await client._process_info({"ldm": True})
        await client.flush()
        assert [line["callback"] for line in events.of("nats_callback_failed")] == ["on_lame_duck"]


async def test_who_is_told_of_the_end_may_raise(nats_server, events):
    def raising():
        raise RuntimeError("not now")

    async with connected(nats_server.url, on_lost=raising) as client:
        await client.close()
        assert client.is_closed
    assert [line["callback"] for line in events.of("nats_callback_failed")] == ["on_closed"]


async def test_a_log_that_cannot_be_written_ends_nothing(nats_server, monkeypatch):
    class Broken:
        def __getattr__(self, _name):
            raise OSError("the disk is full")

    async with connected(nats_server.url) as client:
        monkeypatch.setattr(reconnecting, "_log", Broken())
        for _ in range(2):
            nats_server.stop()
            await until(lambda: not client.is_connected)
            nats_server.start()
            await until(lambda: client.is_connected)
            await client.flush()


# --- given up ------------------------------------------------------------------------------------


def test_a_provider_that_is_refused_on_its_way_back_ends(start_provider, nats_server, tmp_path):
    config = tmp_path / "auth.conf"
    config.write_text('authorization { users = [{user: u, password: "old"}] }\n')
    server = type(nats_server)("-c", str(config))
    try:
        provider = start_provider(HANDLER, nats=server.url, NATS_USER="u", NATS_PASSWORD="old")
        server.stop()
        provider.wait_for("nats_away")
        config.write_text('authorization { users = [{user: u, password: "new"}] }\n')
        server.start()
        assert provider.wait() == 1
    finally:
        server.stop()
    refused = provider.events("nats_refused")
    assert [line["times"] for line in refused] == list(range(1, MOST_REFUSALS + 1))
    gave_up = provider.wait_for("nats_gave_up")
    assert "refused 10 times in a row; check NATS_USER" in gave_up["reason"]
    assert provider.events("nats_connection_lost_for_good")
    assert provider.events("drained")
    assert "old" not in provider.text


async def test_a_server_that_lets_us_in_again_in_time_has_us_back(nats_server, tmp_path, events):
    config = tmp_path / "auth.conf"
    old, new = (f"authorization {{ user: u, password: {word} }}\n" for word in ("old", "new"))
    config.write_text(old)
    server = type(nats_server)("-c", str(config))
    lost: list[bool] = []
    client = BurstClient(Burst())
    options = NatsOptions((server.url,), user="u", password="old")
    try:
        await connection.connect(
            options, name="t", wait=False, client=client, on_lost=lambda: lost.append(True)
        )
        for _ in range(2):
            config.write_text(new)
            # It is told at once that the login counts no more.
            os.kill(server.pid, signal.SIGHUP)
            refused = len([line for line in events if line["event"] == "nats_refused"])
            await until(
                lambda refused=refused: (
                    len([line for line in events if line["event"] == "nats_refused"]) >= refused + 3
                )
            )
            config.write_text(old)
            os.kill(server.pid, signal.SIGHUP)
            await until(lambda: client.is_connected)
            await client.flush()
        assert not lost
    finally:
        await client.close()
        server.stop()


# --- seen from outside ---------------------------------------------------------------------------


def test_a_provider_whose_server_is_away_is_not_ready(
    start_provider, nats_server, provider_command
):
    provider = start_provider(HANDLER, nats=nats_server.url)
    where = {
        name: provider.environment[name]
        for name in ("NATS_URL", "PROVIDER_LATTICE", "PROVIDER_NAME")
    }
    assert provider_command("probe", **where).returncode == 0
    os.kill(nats_server.pid, signal.SIGKILL)
    provider.wait_for("nats_disconnected")
    assert provider_command("probe", **where).returncode != 0
    nats_server.stop()
    nats_server.start()
    provider.wait_for("nats_reconnected")
    assert provider_command("probe", **where).returncode == 0
    assert provider.call("x", 5) == 5


def test_a_provider_whose_server_stands_still_can_be_stopped(start_provider, nats_server):
    provider = start_provider(HANDLER, nats=nats_server.url)
    os.kill(nats_server.pid, signal.SIGSTOP)
    assert provider.stop() == 0
    assert provider.events("drained")


async def test_messages_that_come_too_fast_are_told_of_with_their_subject(nats_server, events):
    async with connected(nats_server.url) as client:
        other = Client()
        await other.connect(nats_server.url)
        free = asyncio.Event()

        async def slow(_message):
            await free.wait()

        await client.subscribe("too.fast.*", cb=slow, pending_msgs_limit=4)
        await client.flush()
        for number in range(40):
            await other.publish(f"too.fast.{number}", b"x" * 10)
        await other.flush()
        await until(lambda: client.numbers.missed.get("too.fast.*", 0) >= 30)
        free.set()
        await other.close()
    told = [line for line in events if line["event"] == "nats_slow_consumer"]
    assert [line["missed"] for line in told] == [1, 2, 4, 8, 16, 32]
    assert all(line["subject"] == "too.fast.*" for line in told)
    assert told[0]["waiting"] == 4
    assert told[0]["waiting_bytes"] >= 40


def test_a_provider_that_stops_while_it_is_away_still_answers(start_provider, nats_server):
    way = Proxy(nats_server.port)
    try:
        provider = start_provider(
            """
            import os, time
            def handle(command, arg):
                print("at work")
                while not os.path.exists(arg):
                    time.sleep(0.01)
                return "done"
            """,
            nats=way.url,
        )
        gate = Path(provider.environment["PYTHON_DISPATCH"]).with_name("gate")

        async def work():
            async with provider_client.connect(
                nats_server.url, timeout=PATIENCE, **provider.address
            ) as python:
                call = asyncio.create_task(python.call("x", str(gate)))
                await asyncio.to_thread(provider.wait_for, "printed", text="at work")
                way.refuse()
                await asyncio.to_thread(provider.wait_for, "nats_disconnected")
                provider.signal(signal.SIGTERM)
                await asyncio.to_thread(provider.wait_for, "draining")
                gate.touch()
                way.accept()
                return await call

        assert asyncio.run(work()) == "done"
        assert provider.wait() == 0
        assert not provider.events("answers_not_delivered")
    finally:
        way.close()


def test_answers_nobody_takes_are_told_of_at_the_end(start_provider, nats_server):
    way = Proxy(nats_server.port)
    try:
        provider = start_provider(
            "import time\ndef handle(command, arg): return time.sleep(arg)", nats=way.url
        )

        async def work():
            async with provider_client.connect(nats_server.url, **provider.address) as python:
                call = asyncio.create_task(python.call("x", 0.5))
                while (await python.status())["open"] == 0:
                    pass
                way.refuse()
                await asyncio.to_thread(provider.wait_for, "nats_disconnected")
                call.cancel()

        asyncio.run(work())
        assert provider.stop() == 0
        assert provider.wait_for("answers_not_delivered")["bytes"] > 0
    finally:
        way.close()
