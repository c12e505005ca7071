"""`POST /call/{operation}`, over real sockets."""

from __future__ import annotations

import json

import cbor2
import pytest

from provider.wire.frames import Encoding


async def test_json_passes_as_it_came(door):
    answer = await door.post("/call/py.echo", b' {"a": 1}', "Content-Type: application/json")
    assert (answer.status, answer.body) == (200, b' {"a": 1}')
    assert answer.headers["content-type"] == "application/json"
    (call,) = door.backend.calls
    assert (call.operation, call.encoding, call.timeout) == ("py.echo", Encoding.JSON, None)


async def test_cbor_passes_as_it_came(door):
    item = cbor2.dumps({"b": b"\xff"})
    answer = await door.post("/call/echo", item, "Content-Type: application/cbor")
    assert (answer.headers["content-type"], answer.body) == ("application/cbor", item)
    assert door.backend.calls[0].encoding == Encoding.CBOR


async def test_answers_come_in_the_form_that_is_accepted(door):
    answer = await door.post("/call/echo", b"[1]", "Accept: application/cbor")
    assert (answer.headers["content-type"], answer.body) == ("application/cbor", b"\x81\x01")
    answer = await door.post(
        "/call/echo", b"\x41\xff", "Content-Type: application/cbor", "Accept: application/json"
    )
    assert (answer.headers["content-type"], answer.body) == ("application/json", b'"/w=="')


async def test_no_body_is_no_argument_whatever_its_type(door):
    for headers in ((), ("Content-Type: text/plain",)):
        answer = await door.post("/call/echo", b"", *headers)
        assert (answer.status, answer.body) == (200, b"null")
    answer = await door.post("/call/echo", b"", "Accept: application/cbor")
    assert answer.body == b"\xf6"
    assert [call.encoding for call in door.backend.calls] == [
        Encoding.JSON_ABSENT,
        Encoding.JSON_ABSENT,
        Encoding.ABSENT,
    ]


async def test_forms_are_maps(door):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n\r\n\xff\r\n--x--\r\n'
    )
    answer = await door.post("/call/echo", body, "Content-Type: multipart/form-data; boundary=x")
    assert json.loads(answer.body) == {"a": "1", "f": "/w=="}
    assert cbor2.loads(door.backend.calls[0].payload) == {"a": "1", "f": b"\xff"}


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/call/py.echo", "py.echo"),
        ("/call/a%20b", "a b"),
        ("/call/a%2Fb", "a/b"),
        ("/call/%2e%2e", ".."),
        ("/call/%C3%A4?x=1", "ä"),
    ],
)
async def test_operations_are_one_segment(door, path, operation):
    for _ in range(2):  # the second time it is remembered
        assert (await door.post(path)).status == 200
        assert door.backend.calls.pop().operation == operation


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/call/", 400),
        ("/call/a/b", 404),
        ("/call/../../etc/passwd", 404),
        ("/call/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/call/%ff", 400),
        ("/call/a%0d%0aX-Evil:%201", 400),
        ("/call/a%00", 400),
        ("/call/" + "x" * 257, 400),
        ("/callecho", 404),
        ("/call", 404),
        ("//call/echo", 404),
        ("/../call/echo", 404),
    ],
)
async def test_other_paths_name_no_operation(door, path, status):
    answer = await door.post(path, b"1")
    assert answer.status == status
    assert answer.problem["code"] == status
    assert "x-evil" not in answer.headers
    assert door.backend.calls == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "PROPFIND"])
async def test_other_methods_are_405(door, method):
    wire = await door.connect()
    wire.send(f"{method} /call/echo HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    if method == "HEAD":
        head = await wire.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405 ")
        assert b"allow: POST\r\n" in head
        wire.post("/call/echo", b"1")  # nothing of a body stands in the way
        assert (await wire.answer()).body == b"1"
        return
    answer = await wire.answer()
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert answer.problem["kind"] == "bad_request"


@pytest.mark.parametrize(
    ("headers", "status", "told"),
    [
        (["Content-Type: text/plain"], 415, "application/json"),
        (["Content-Type: application/x-www-form-urlencoded"], 415, "application/json"),
        (["Accept: text/html"], 406, "text/event-stream"),
        (["Provider-Timeout-Ms: soon"], 400, "Provider-Timeout-Ms"),
        (["Provider-Timeout-Ms: 0"], 400, "Provider-Timeout-Ms"),
        (["Provider-Timeout-Ms: -1"], 400, "Provider-Timeout-Ms"),
        (["Content-Type: multipart/form-data"], 400, "boundary"),
    ],
)
async def test_headers_that_cannot_be_heeded_are_named(door, headers, status, told):
    answer = await door.post("/call/echo", b"1", *headers)
    assert answer.status == status
    assert told in answer.problem["detail"]
    assert door.backend.calls == []


async def test_callers_say_how_long_they_wait(door):
    await door.post("/call/echo", b"1", "Provider-Timeout-Ms: 1500")
    assert door.backend.calls[0].timeout == 1.5


async def test_functions_see_headers_and_trace(door):
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    await door.post("/call/echo", b"1", f"Traceparent: {trace}", "X-Mine: \xe4")
    headers = door.backend.calls[0].headers
    assert (headers["traceparent"], headers["x-mine"]) == (trace, "ä")
    assert "content-length" not in headers


async def test_errors_of_functions_are_problems(open_door):
    door = await open_door(tracebacks=True)
    answer = await door.post("/call/fail", b"1", "X-Request-Id: mine")
    told = answer.problem
    assert (answer.status, told["kind"], told["detail"]) == (500, "handler_error", "no luck")
    assert (told["exception"], told["traceback"]) == ("Luck", "line 1")
    assert (told["details"], told["request_id"]) == ({"a": "AQ=="}, "mine")
    door = await open_door()
    assert "traceback" not in (await door.post("/call/fail")).problem


async def test_what_we_do_wrong_is_not_told_to_callers(door):
    answer = await door.post("/call/crash", b"1")
    assert answer.status == 500
    assert "secret" not in answer.body.decode()
    assert "log" in answer.problem["detail"]


async def test_a_body_over_the_limit_is_413(open_door):
    door = await open_door(max_body=100)
    assert (await door.post("/call/echo", b"[" + b"1," * 49 + b"1]")).status == 413
    assert (await door.post("/call/echo", b"1" * 100)).status == 200
    # It is refused before it has come, and the connection is of use when it has.
    wire = await door.connect()
    wire.send(b"POST /call/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
    answer = await wire.answer()
    assert (answer.status, answer.problem["kind"]) == (413, "too_large")
    wire.send(b"1" * 100_000)
    wire.post("/call/echo", b"2")
    assert (await wire.answer()).body == b"2"


async def test_a_body_in_parts_is_counted(open_door):
    door = await open_door(max_body=100)
    head = b"POST /call/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire = await door.connect()
    wire.send(head, b"a\r\n1234567890\r\n" * 2, b"0\r\n\r\n")
    assert (await wire.answer()).body == b"1234567890" * 2
    wire.send(head, b"a\r\n1234567890\r\n" * 11)
    assert (await wire.answer()).status == 413


async def test_bodies_that_are_read_together_have_a_limit(open_door):
    door = await open_door(max_body=100_000, max_bodies=150_000)
    head = b"POST /call/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"
    first, second = await door.connect(), await door.connect()
    first.send(head, b"1" * 99_999)
    while door.server.door.numbers.bodies < 99_999:
        await _turn()
    second.send(head, b"1" * 99_999)
    answer = await second.answer()
    assert (answer.status, answer.problem["kind"]) == (429, "overloaded")
    assert answer.headers["retry-after"] == "1"
    first.send(b"1")
    assert (await first.answer()).status == 200
    assert door.server.door.numbers.bodies == 0


async def _turn():
    import asyncio

    await asyncio.sleep(0.005)  # its callers ask again until it is so
