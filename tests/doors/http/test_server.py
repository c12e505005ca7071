"""Listening, making room for connections, and ending."""

from __future__ import annotations

import asyncio
import resource
import socket

import pytest

from provider.doors.http.options import HttpOptions
from provider.doors.http.server import HttpServer
from provider.errors import StartError
from tests.conftest import PATIENCE
from tests.doors.http.conftest import Echo


async def test_it_listens_on_loopback_unless_told(door):
    assert door.server.url == f"http://127.0.0.1:{door.port}"


async def test_it_listens_on_all_addresses_of_a_name(open_door):
    door = await open_door(host="localhost")
    for address in {info[4][0] for info in socket.getaddrinfo("localhost", 0)}:
        reader, writer = await asyncio.open_connection(address, door.port)
        writer.write(b"POST /call/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.close()
        await writer.wait_closed()


async def test_a_port_that_is_taken_is_named(door):
    server = HttpServer(Echo(), HttpOptions(port=door.port))
    with pytest.raises(StartError, match=rf"127\.0\.0\.1:{door.port} \(PROVIDER_HTTP\)"):
        await server.open()
    await server.close()


async def test_a_name_that_is_none_is_named():
    server = HttpServer(Echo(), HttpOptions(host="no such host"))
    with pytest.raises(StartError, match="no such host"):
        await server.open()
    await server.close()


async def test_too_many_requests_at_once_are_429_but_for_probes(open_door):
    door = await open_door(concurrency=1)
    wire = await door.connect()
    wire.post("/call/wait", b"1")
    await door.backend.begun.wait()
    answer = await door.post("/call/echo", b"1")
    assert (answer.status, answer.problem["kind"]) == (429, "overloaded")
    assert answer.headers["retry-after"] == "1"
    probe = await door.connect()
    probe.send(b"GET /health/live HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert (await probe.answer()).status != 429
    door.backend.held.set()
    assert (await wire.answer()).status == 200
    assert (await door.post("/call/echo", b"1")).status == 200


async def test_the_connection_that_was_idle_longest_makes_room(open_door):
    door = await open_door(connections=3)
    wires = []
    for _ in range(3):
        wires.append(await door.connect())
        wires[-1].post("/call/echo", b"1")
        assert (await wires[-1].answer()).status == 200
    assert (await door.post("/call/echo", b"2")).body == b"2"
    assert await wires[0].rest() == b""
    wires[1].post("/call/echo", b"3")
    assert (await wires[1].answer()).body == b"3"


async def test_where_all_connections_are_busy_another_is_told_so(open_door):
    door = await open_door(connections=2)
    busy = [await door.connect() for _ in range(2)]
    for wire in busy:
        wire.post("/call/wait", b"1")
    while len(door.backend.calls) < 2:
        await asyncio.sleep(0.005)  # asked again until it is so
    answer = await (await door.connect()).answer()
    assert (answer.status, answer.problem["kind"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    door.backend.held.set()
    assert [(await wire.answer()).status for wire in busy] == [200, 200]


async def test_there_are_no_more_connections_than_descriptors(open_door, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (200, 200))
    door = await open_door(connections=1000)
    assert door.server._most == 136


# --- Ending ---------------------------------------------------------------------------------------


async def test_who_stops_finishes_what_has_begun(open_door):
    door = await open_door()
    idle, busy, halfway = [await door.connect() for _ in range(3)]
    idle.post("/call/echo", b"1")
    await idle.answer()
    busy.post("/call/wait", b"2")
    halfway.send(b"POST /call/echo HTTP/1.1\r\nHost: h\r\nContent-")
    await door.backend.begun.wait()
    while [each.phase for each in door.server._connections()].count(1) < 1:
        await asyncio.sleep(0.005)
    door.server.stop_listening()
    assert await idle.rest() == b""
    with pytest.raises(ConnectionError):
        await door.connect()
    halfway.send(b"Length: 1\r\n\r\n3")
    answer = await halfway.answer()
    assert (answer.body, answer.headers["connection"]) == (b"3", "close")
    assert await halfway.rest() == b""
    settled = asyncio.create_task(door.server.settled())
    await asyncio.sleep(0.05)
    assert not settled.done()
    door.backend.held.set()
    answer = await busy.answer()
    assert (answer.body, answer.headers["connection"]) == (b"2", "close")
    async with asyncio.timeout(PATIENCE):
        await settled


async def test_who_closes_cancels_what_is_left(open_door):
    door = await open_door()
    wire = await door.connect()
    wire.post("/call/wait", b"2")
    await door.backend.begun.wait()
    await door.server.close()
    assert door.backend.cancelled == ["wait"]
    answer = await wire.answer()
    assert (answer.status, answer.problem["kind"]) == (503, "unavailable")
    assert await wire.rest() == b""
    assert not door.server._connections()


async def test_many_idle_connections_keep_nobody_out(open_door):
    door = await open_door(connections=200)
    crowd = [await door.connect() for _ in range(200)]
    assert (await door.post("/call/echo", b"1")).status == 200
    del crowd
