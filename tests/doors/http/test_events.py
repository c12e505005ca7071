"""Streams as server-sent events and as lines, over real sockets."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.conftest import PATIENCE

EVENTS, LINES = "text/event-stream", "application/x-ndjson"


async def read(wire) -> tuple[str, bytes]:
    """The head, and the body put together from its chunks."""
    async with asyncio.timeout(PATIENCE):
        head = (await wire.reader.readuntil(b"\r\n\r\n")).decode()
        assert "transfer-encoding: chunked" in head
        body = b""
        while size := int(await wire.reader.readline(), 16):
            body += await wire.reader.readexactly(size)
            await wire.reader.readline()
        return head, body


async def ask(door, operation: str, body: bytes, accept: str, *headers: str):
    wire = await door.connect()
    wire.post(f"/call/{operation}", body, f"Accept: {accept}", *headers)
    return wire


async def test_items_are_events_and_the_end_is_one(door):
    head, body = await read(await ask(door, "count", b"3", EVENTS, "X-Request-Id: mine"))
    assert "HTTP/1.1 200 OK" in head
    assert "content-type: text/event-stream" in head
    assert "x-request-id: mine" in head
    assert body == b"data: 0\n\ndata: 1\n\ndata: 2\n\nevent: end\ndata: {}\n\n"


async def test_items_are_lines(door):
    wire = await ask(door, "count", b"3", LINES)
    head, body = await read(wire)
    assert "content-type: application/x-ndjson" in head
    assert body == b"0\n1\n2\n"
    wire.post("/call/echo", b"1")
    assert (await wire.answer()).body == b"1"


@pytest.mark.parametrize(("accept", "body"), [(EVENTS, b"event: end\ndata: {}\n\n"), (LINES, b"")])
async def test_a_stream_of_nothing_ends_well(door, accept, body):
    assert (await read(await ask(door, "count", b"0", accept)))[1] == body


@pytest.mark.parametrize("accept", [EVENTS, LINES])
async def test_who_fails_before_the_first_item_is_answered_with_a_status(door, accept):
    answer = await (await ask(door, "fail", b"3", accept)).answer()
    assert (answer.status, answer.problem["detail"]) == (500, "no luck")


async def test_who_fails_later_is_the_last_event(door):
    _, body = await read(await ask(door, "fail_late", b"1", EVENTS))
    first, last, rest = body.split(b"\n\n")
    assert (first, rest) == (b"data: 0", b"")
    assert last.startswith(b"event: error\ndata: ")
    assert json.loads(last.partition(b"data: ")[2])["detail"] == "no luck later"


async def test_who_fails_later_is_the_last_line(door):
    _, body = await read(await ask(door, "fail_late", b"1", LINES))
    first, last = body.splitlines()
    assert first == b"0"
    assert json.loads(last)["error"]["kind"] == "handler_error"


async def test_who_leaves_ends_the_stream(door):
    wire = await ask(door, "endless", b"", LINES)
    await wire.reader.readuntil(b"\r\n\r\n")
    assert not door.backend.left.is_set()
    await wire.close()
    async with asyncio.timeout(PATIENCE):
        await door.backend.left.wait()


async def test_who_leaves_ends_a_stream_that_misses_it(door):
    # As asyncio.wait_for does before Python 3.12, when what it waits for comes at that moment.
    wire = await ask(door, "stubborn", b"", LINES)
    await wire.reader.readuntil(b"\r\n\r\n")
    await wire.close()
    async with asyncio.timeout(PATIENCE):
        await door.backend.left.wait()
    assert door.backend.cancelled == ["stubborn"]


async def test_who_reads_slowly_slows_the_function_down(door):
    wire = await ask(door, "endless", b"", LINES)
    await wire.reader.readuntil(b"\r\n\r\n")
    wire.reader._transport.pause_reading()
    made = -1
    while made != door.backend.made:
        made = door.backend.made
        await asyncio.sleep(0.2)  # nothing tells that nothing more comes
    assert 0 < made < 3000
    assert not door.backend.left.is_set()
