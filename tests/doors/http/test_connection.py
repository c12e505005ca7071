"""Limits of what comes, in size and time, and clients that go, on sockets written by hand."""

from __future__ import annotations

import asyncio

import pytest

from tests.conftest import PATIENCE

HEAD = b"POST /call/echo HTTP/1.1\r\nHost: here\r\n"


async def test_a_connection_answers_one_request_after_the_other(door):
    wire = await door.connect()
    for number in range(3):
        wire.post("/call/echo", b"%d" % number)
        answer = await wire.answer()
        assert (answer.status, answer.body) == (200, b"%d" % number)


async def test_pipelined_requests_are_answered_in_their_order(door):
    wire = await door.connect()
    for number in range(10):
        wire.post("/call/echo", b"%d" % number)
    assert [(await wire.answer()).body for _ in range(10)] == [b"%d" % n for n in range(10)]


@pytest.mark.parametrize("size", [1, 2, 7, 64])
async def test_requests_may_come_in_pieces(door, size):
    wire = await door.connect()
    sent = (
        HEAD
        + b"Content-Length: 3\r\n\r\n123"
        + HEAD
        + b"Transfer-Encoding: chunked\r\n\r\n2\r\n45\r\n1\r\n6\r\n0\r\n\r\n"
        + HEAD
        + b"\r\n"
    )
    for start in range(0, len(sent), size):
        wire.send(sent[start : start + size])
        await wire.writer.drain()
        await asyncio.sleep(0)
    assert [(await wire.answer()).body for _ in range(3)] == [b"123", b"456", b"null"]


async def test_too_many_pipelined_requests_are_answered_and_then_refused(door):
    wire = await door.connect()
    wire.post("/call/wait", b"1")
    for _ in range(64):
        wire.post("/call/echo", b"1")
    await door.backend.begun.wait()
    door.backend.held.set()
    statuses = [(await wire.answer()).status for _ in range(64)]
    assert statuses == [200] * 64
    last = await wire.answer()
    assert last.status == 400
    assert "64 requests" in last.problem["detail"]


@pytest.mark.parametrize(
    "sent",
    [
        b"this is no HTTP\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 1x\r\n\r\n1",
        HEAD + b"A: b\rX-Evil: 1\r\n\r\n",
        HEAD + b"A: b\x00c\r\n\r\n",
        HEAD + b"A B: c\r\n\r\n",
        HEAD + b" folded: 1\r\n\r\n",
        b"POST /call/\xff HTTP/1.1\r\nHost: here\r\n\r\n",
        b"CONNECT here:80 HTTP/1.1\r\nHost: here\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: here\r\n\r\n",
        b"POST /call/echo HTTP/9.9\r\nHost: here\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nnothex\r\n",
    ],
    ids=range(15),
)
async def test_what_is_no_http_is_told_so_in_json(door, sent):
    wire = await door.connect()
    wire.send(sent)
    answer = await wire.answer()
    assert answer.status in (400, 404)
    assert answer.problem["kind"] in ("bad_request", "unknown_operation")
    if answer.status == 400:
        assert answer.headers["connection"] == "close"
        assert await wire.rest() == b""
    assert (await door.post("/call/echo", b"1")).status == 200


async def test_nonsense_after_a_good_request_does_not_overtake_its_answer(door):
    wire = await door.connect()
    wire.post("/call/wait", b"7")
    wire.send(b"nonsense\r\n\r\n")
    await door.backend.begun.wait()
    door.backend.held.set()
    first, second = await wire.answer(), await wire.answer()
    assert (first.status, first.body, second.status) == (200, b"7", 400)


async def test_nonsense_in_a_pipelined_body_is_refused_after_what_came_before(door):
    wire = await door.connect()
    wire.post("/call/wait", b"7")
    wire.send(HEAD, b"Transfer-Encoding: chunked\r\n\r\nnothex\r\n")
    await door.backend.begun.wait()
    door.backend.held.set()
    first, second = await wire.answer(), await wire.answer()
    assert (first.status, first.body, second.status) == (200, b"7", 400)
    assert [call.operation for call in door.backend.calls] == ["wait"]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"x" * 1100 + b" HTTP/1.1\r\n\r\n",
        b"GET /" + b"x" * 1100,
        HEAD + b"A: " + b"x" * 1100 + b"\r\n\r\n",
        HEAD + b"A: " + b"x" * 1100,
        HEAD + b"".join(b"H%d: 1\r\n" % n for n in range(110)) + b"\r\n",
        HEAD + b"A" * 1100,
    ],
    ids=["url", "endless url", "header", "endless header", "many headers", "endless name"],
)
async def test_a_head_over_its_limit_is_431(open_door, sent):
    door = await open_door(max_head=1000)
    wire = await door.connect()
    wire.send(sent)
    answer = await wire.answer()
    assert answer.status == 431
    assert answer.problem["kind"] == "too_large"


async def test_more_than_a_hundred_headers_are_431(door):
    wire = await door.connect()
    wire.send(HEAD, *(b"H%d: 1\r\n" % n for n in range(101)), b"\r\n")
    assert "100 headers" in (await wire.answer()).problem["detail"]


async def test_endless_trailers_are_cut_off_and_others_left_out(open_door):
    door = await open_door(max_head=1000)
    wire = await door.connect()
    wire.send(HEAD, b"Transfer-Encoding: chunked\r\n\r\n1\r\n5\r\n0\r\nX-Request-Id: late\r\n\r\n")
    answer = await wire.answer()
    assert (answer.status, answer.body) == (200, b"5")
    assert "x-request-id" not in door.backend.calls[0].headers
    assert answer.headers["x-request-id"] != "late"
    wire.send(HEAD, b"Transfer-Encoding: chunked\r\n\r\n1\r\n5\r\n0\r\nA: ", b"x" * 1_000_000)
    assert (await wire.answer()).status == 431


async def test_who_is_refused_while_sending_gets_to_read_why(open_door):
    door = await open_door(max_head=1000)
    wire = await door.connect()
    wire.send(HEAD, b"A: ", b"x" * 3_000_000)
    assert (await wire.answer()).status == 431


async def test_a_slow_body_behind_a_call_is_refused_once_and_after_it(open_door):
    door = await open_door(read_timeout=0.2)
    wire = await door.connect()
    wire.post("/call/wait", b"7")
    wire.send(HEAD, b"Content-Length: 5\r\n\r\n12")
    await door.backend.begun.wait()
    await asyncio.sleep(0.6)  # longer than the time that is tried
    door.backend.held.set()
    first, second = await wire.answer(), await wire.answer()
    assert (first.status, first.body, second.status) == (200, b"7", 408)
    assert await wire.rest() == b""
    assert len(door.backend.calls) == 1


@pytest.mark.parametrize(
    "sent", [b"POST /call/echo HT", HEAD, HEAD + b"Content-Length: 5\r\n\r\n12"]
)
async def test_a_request_that_comes_too_slowly_is_408(open_door, sent):
    door = await open_door(read_timeout=0.2)
    wire = await door.connect()
    wire.send(sent)
    answer = await wire.answer()
    assert answer.status == 408
    assert answer.problem["kind"] == "bad_request"
    assert await wire.rest() == b""
    assert door.backend.calls == []


async def test_drops_of_a_body_do_not_keep_a_connection(open_door):
    door = await open_door(read_timeout=0.3)
    wire = await door.connect()
    wire.send(HEAD, b"Content-Length: 100000\r\n\r\n")

    async def drip():
        while True:
            wire.send(b"1")
            await asyncio.sleep(0.02)  # a client that is slow on purpose

    dripping = asyncio.create_task(drip())
    try:
        assert (await wire.answer()).status == 408
    finally:
        dripping.cancel()


async def test_a_connection_that_asks_nothing_is_closed(open_door):
    door = await open_door(idle_timeout=0.2)
    silent = await door.connect()
    assert await silent.rest() == b""
    used = await door.connect()
    used.post("/call/echo", b"1")
    assert (await used.answer()).body == b"1"
    assert await used.rest() == b""


async def test_a_call_may_take_longer_than_a_request_may_take_to_come(open_door):
    door = await open_door(read_timeout=0.2, idle_timeout=0.2)
    wire = await door.connect()
    wire.post("/call/wait", b"1")
    await door.backend.begun.wait()
    await asyncio.sleep(0.6)  # longer than the time that is tried
    door.backend.held.set()
    assert (await wire.answer()).body == b"1"


async def test_a_client_who_goes_is_not_waited_for(door):
    wire = await door.connect()
    wire.post("/call/wait", b"1")
    await door.backend.begun.wait()
    await wire.close()
    async with asyncio.timeout(PATIENCE):
        await door.backend.left.wait()
    assert door.backend.cancelled == ["wait"]
    assert door.server.door.numbers.open == 0


async def test_half_a_connection_is_no_connection(door):
    wire = await door.connect()
    wire.post("/call/wait", b"1")
    await door.backend.begun.wait()
    wire.writer.write_eof()
    answer = await wire.answer()
    assert (answer.status, answer.problem["kind"]) == (499, "cancelled")
    assert door.backend.cancelled == ["wait"]


async def test_half_a_request_is_told_so(door):
    wire = await door.connect()
    wire.send(HEAD, b"Content-Length: 5\r\n\r\n12")
    wire.writer.write_eof()
    answer = await wire.answer()
    assert answer.status == 400
    assert "before it was whole" in answer.problem["detail"]
    assert await wire.rest() == b""
    assert door.backend.calls == []


async def test_a_client_who_reads_nothing_is_cut_off(open_door):
    door = await open_door(read_timeout=0.5)
    wire = await door.connect()
    wire.reader._transport.pause_reading()
    wire.post("/call/endless", b"", "Accept: application/x-ndjson")
    async with asyncio.timeout(PATIENCE):
        await door.backend.left.wait()
    # It did not run on meanwhile either: only what fits into the buffers on the way was made.
    assert door.backend.made < 3000


async def test_an_upgrade_is_answered_in_http_1_or_refused_with_a_body(door):
    wire = await door.connect()
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    wire.send(HEAD, upgrade, b"\r\n")
    answer = await wire.answer()
    assert (answer.status, answer.body) == (200, b"null")
    assert await wire.rest() == b""
    wire = await door.connect()
    wire.send(HEAD, upgrade, b"Content-Length: 1\r\n\r\n5")
    assert "Upgrade" in (await wire.answer()).problem["detail"]
    assert len(door.backend.calls) == 1


async def test_expecting_clients_are_told_to_go_on_or_not_to(open_door):
    door = await open_door(max_body=10)
    wire = await door.connect()
    wire.send(HEAD, b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        assert await wire.reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        await wire.reader.readline()
    wire.send(b"12")
    assert (await wire.answer()).body == b"12"
    wire.send(HEAD, b"Content-Length: 20\r\nExpect: 100-continue\r\n\r\n")
    assert (await wire.answer()).status == 413


async def test_http_1_0_ends_with_its_answer(door):
    wire = await door.connect()
    wire.send(b"POST /call/echo HTTP/1.0\r\nContent-Length: 1\r\n\r\n5")
    answer = await wire.answer()
    assert (answer.body, await wire.rest()) == (b"5", b"")
