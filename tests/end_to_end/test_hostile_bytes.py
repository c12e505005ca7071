"""Whatever bytes arrive, each message gets one clear answer, and the provider goes on."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.end_to_end.conftest import Talk, asked, request, text

ECHO = """
    def handle(command, arg):
        return arg
"""
LIMIT = 96 * 1024


@pytest.fixture(scope="module")
def echo(serve):
    provider = serve(ECHO, PROVIDER_MAX_MESSAGE="96KiB", PROVIDER_MAX_ITEMS="1000")
    yield provider
    assert provider.process.poll() is None
    assert provider.call("echo", "still here") == "still here"
    assert len(provider.events("worker_ready")) == 1
    # Bad bytes are their sender's fault, and nobody else's log is filled with them.
    assert not [line for line in provider.lines if isinstance(line, str) or line["level"] != "info"]


@pytest.fixture(scope="module")
def talk(echo):
    """Sends a message to the provider from a connection that lives as long as the module."""
    with asyncio.Runner() as runner:
        talk = Talk(runner, echo, barrier=asked("echo", 1))
        yield talk
        talk.close()


OPERATION = text("operation") + text("echo")


def with_payload(item: bytes) -> bytes:
    """A request whose payload stands last, where the host does not look into it."""
    return request(OPERATION, b"", text("payload"), item)


def with_early_payload(item: bytes) -> bytes:
    """A request whose payload stands first, where the host has to find its end."""
    return request(text("payload"), item, OPERATION, b"")


def with_field(name: str, item: bytes) -> bytes:
    return request(text(name), item, *([] if name == "operation" else [OPERATION, b""]))


# --- the message ----------------------------------------------------------------------------------

MESSAGES = {
    "empty": (b"", "empty message"),
    "zeros": (bytes(100), "starts with 0x00; a request is a CBOR map"),
    "text": (b"hello provider", "starts with 0x68"),
    "JSON": (b'{"operation": "echo"}', "starts with 0x7b"),
    "msgpack": (b"\x82\xa9operation\xa4echo", "starts with 0x82"),
    "a list": (b"\x81\x01", "starts with 0x81"),
    "all ones": (b"\xff" * 64, "starts with 0xff"),
    "empty map": (b"\xa0", "no operation"),
    "only payload": (request(text("payload"), b"\x01"), "no operation"),
    "broken map head": (b"\xb9\x00", "broken"),
    "reserved map head": (b"\xbc" + OPERATION, "broken"),
    "fewer pairs than declared": (b"\xa3" + OPERATION, "premature end"),
    "2**64 pairs": (b"\xbb" + b"\xff" * 8 + OPERATION, "premature end"),
    "bytes after": (request(OPERATION, b"") + b"\x00", "1 bytes after the request"),
    "a second request": (asked("echo", 1) + asked("echo", 1), "bytes after"),
    "bytes after an open map": (b"\xbf" + OPERATION + b"\xff\xff", "1 bytes after the request"),
    "an open map without end": (b"\xbf" + OPERATION, "premature end"),
    "payload is only a key": (request(OPERATION, b"", text("payload"), b""), "payload"),
    "operation twice": (request(OPERATION, b"", OPERATION, b""), "duplicate key operation"),
    "payload twice": (
        request(OPERATION, b"", text("payload"), b"\x01", text("payload"), b"\x02"),
        "duplicate key payload",
    ),
    "unknown key twice": (
        request(OPERATION, b"", text("x"), b"\x01", text("x"), b"\x02"),
        "duplicate key x",
    ),
    "a number as key": (request(b"\x01", b"\x02", OPERATION, b""), "keys of a request are text"),
    "bytes as key": (request(b"\x41x", b"\x02", OPERATION, b""), "keys of a request are text"),
    "null as key": (request(b"\xf6", b"\x02", OPERATION, b""), "keys of a request are text"),
    "a list as key": (request(b"\x81\x01", b"\x02", OPERATION, b""), "keys of a request"),
    "a key that is no UTF-8": (request(b"\x62\xff\xfe", b"\x01", OPERATION, b""), "UTF-8"),
    "too many keys": (
        b"\xb8\x66" + OPERATION + b"".join(text(f"k{n}") + b"\x00" for n in range(101)),
        "more than 64 keys",
    ),
    "a key of 50 kB": (request(text("k" * 50_000), b"\x01\x01"), "1 bytes after the request"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_no_request_is_refused_with_the_reason(talk, name):
    message, reason = MESSAGES[name]
    told = talk.refused(message)
    assert reason in told
    assert 10 < len(told) < 500


# --- the fields -----------------------------------------------------------------------------------

WRONG = {
    "operation": {
        "a number": (b"\x07", "operation is int; it must be text"),
        "bytes": (b"\x44echo", "operation is bytes; it must be text"),
        "null": (b"\xf6", "operation is NoneType"),
        "a list": (b"\x81\x64echo", "operation is list"),
        "a map": (b"\xa0", "operation is dict"),
        "empty": (b"\x60", "operation is empty"),
        "too long": (text("x" * 257), "longer than 256 bytes"),
        "too long in bytes": (text("é" * 129), "longer than 256 bytes"),
        "no UTF-8": (b"\x64\xff\xfe\xfd\xfc", "operation is not UTF-8"),
        "half a character": (b"\x63\xed\xa0\x80", "operation is not UTF-8"),
        "longer than the message": (b"\x74echo", "ends inside operation"),
        "of a declared size beyond everything": (b"\x7b" + b"\xff" * 8, "operation: "),
        "missing": (b"", "operation"),
    },
    "id": {
        "a number": (b"\x07", "id is int; it must be text or bytes"),
        "null": (b"\xf6", "id is NoneType"),
        "a list": (b"\x80", "id is list"),
        "a map": (b"\xa1\x61a\x01", "id is dict"),
        "too long": (text("x" * 300), "id is longer than 256 bytes"),
        "no UTF-8": (b"\x62\xff\xff", "id: "),
        "deep": (b"\x81" * 5000 + b"\x00", "id: "),
    },
    "timeout_ms": {
        "zero": (b"\x00", "timeout_ms is 0; it must be a positive integer"),
        "negative": (b"\x20", "timeout_ms is -1"),
        "a float": (b"\xfb" + bytes.fromhex("408f400000000000"), "timeout_ms is 1000.0"),
        "true": (b"\xf5", "timeout_ms is True"),
        "text": (b"\x6410ms", "timeout_ms is '10ms'"),
        "null": (b"\xf6", "timeout_ms is None"),
        "larger than time": (b"\xc2\x58\x40" + b"\xff" * 64, "timeout_ms is "),
        "not a number": (b"\xf9\x7e\x00", "timeout_ms is nan"),
    },
    "stream": {
        "a number": (b"\x01", "stream is int; it must be true or false"),
        "text": (b"\x64true", "stream is str"),
        "null": (b"\xf6", "stream is NoneType"),
    },
    "flow": {
        "a number": (b"\x00", "flow is int; it must be true or false"),
        "null": (b"\xf6", "flow is NoneType"),
    },
}


@pytest.mark.parametrize(
    ("field", "name"), [(field, name) for field, cases in WRONG.items() for name in cases]
)
def test_a_field_of_the_wrong_type_is_named(talk, field, name):
    item, reason = WRONG[field][name]
    assert reason in talk.refused(with_field(field, item))


def test_fields_at_their_limits_pass(talk):
    for pairs in (
        (text("id"), text("x" * 200)),
        (text("id"), b"\x40"),
        (text("timeout_ms"), b"\x1b\x00\x1f\xff\xff\xff\xff\xff\xff"),
        (text("stream"), b"\xf4"),
        (text("something else"), b"\xd8\x23\x61["),
    ):
        answer = talk.send(request(*pairs, OPERATION, b"", text("payload"), b"\x07"))
        assert answer["result"] == 7
    assert talk.send(with_field("operation", text("x" * 256))) == {"result": None}


# --- the payload ----------------------------------------------------------------------------------

PAYLOADS = {
    "nothing but a break": (b"\xff", "break code"),
    "reserved": (b"\x1c", "subtype 0x1c"),
    "two items": (b"\x01\x02", "1 bytes after the CBOR item"),
    "a cut number": (b"\x1a\x00\x00", "premature end"),
    "a cut text": (b"\x65abc", "premature end"),
    "a cut list": (b"\x83\x01", "premature end"),
    "a cut map": (b"\xa1\x61a", "premature end"),
    "an endless list": (b"\x9f\x01", "premature end"),
    "an endless text": (b"\x7f\x61a", "premature end"),
    "a chunk of another type": (b"\x7f\x41a\xff", "non-text string"),
    "a list of 2**63 members": (b"\x9b\x80" + bytes(7), "premature end"),
    "a list of 2**40 members": (b"\x9b\x00\x00\x01" + bytes(5), "premature end"),
    "a map of 2**60 members": (b"\xbb\x10" + bytes(7), "premature end"),
    "a text of 2**62 bytes": (b"\x7b\x40" + bytes(7), "premature end"),
    "bytes of 2**31": (b"\x5a\x80" + bytes(3), "premature end"),
    "no UTF-8": (b"\x62\xff\xfe", "utf-8"),
    "deep lists": (b"\x81" * 1000 + b"\x00", "deeper than 64 levels"),
    "very deep lists": (b"\x81" * 90_000 + b"\x00", "deeper than 64 levels"),
    "deep open lists": (b"\x9f" * 50_000, "deeper than 64 levels"),
    "deep maps": (b"\xa1\x61a" * 1000 + b"\x00", "deeper than 64 levels"),
    "deep tags": (b"\xc1" * 50_000 + b"\x00", "deeper than 64 levels"),
    "the same key twice": (b"\xa2\x61a\x01\x61a\x02", "Duplicate map key"),
    "the same key twice, inside": (b"\x81\xa1\x61b\xa2\x61a\x01\x61a\x02", "Duplicate map key"),
    "numbers as keys": (b"\xa1\x01\x02", "map keys must be text"),
    "bytes as keys": (b"\xa1\x41a\x02", "map keys must be text"),
    "null as key": (b"\xa1\xf6\x02", "map keys must be text"),
    "too many members": (b"\x99\x03\xe9" + bytes(1001), "1001 members, over the limit of 1000"),
    "undefined": (b"\xf7", "undefined"),
    "a simple value": (b"\xf8\x64", "simple value"),
    "regular expression": (b"\xd8\x23\x65(a+)+", "regular expression (tag 35) is not accepted"),
    "a list that holds itself": (b"\xd8\x1c\x81\xd8\x1d\x00", "shared value"),
    "a reference to nothing": (b"\xd8\x1d\x05", "shared value (tag 29) is not accepted"),
    "string reference": (b"\xd9\x01\x00\x82\x61a\xd8\x19\x00", "string reference"),
    "a set": (b"\xd9\x01\x02\x81\x01", "set (tag 258) is not accepted"),
    "rational": (b"\xd8\x1e\x82\x01\x02", "rational (tag 30) is not accepted"),
    "bigfloat": (b"\xc5\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01", "bigfloat (tag 5)"),
    "MIME": (b"\xd8\x24\x6aFrom: a\n\nb", "MIME message (tag 36) is not accepted"),
    "an IP address": (b"\xd8\x34\x44\x7f\x00\x00\x01", "IPv4 address (tag 52) is not accepted"),
    "a day": (b"\xd8\x64\x00", "date (tag 100) is not accepted"),
    "self-described": (b"\xd9\xd9\xf7\x01", "self-described CBOR (tag 55799) is not accepted"),
    "an unknown tag": (b"\xd9\x30\x39\x01", "tag 12345 is not accepted"),
    "the largest tag": (b"\xdb" + b"\xff" * 8 + b"\x00", "tag 18446744073709551615"),
    "a decimal of a billion digits": (b"\xc4\x82\x1a\x3b\x9a\xca\x00\x01", "decimal with exponent"),
    "a decimal of a tiny exponent": (b"\xc4\x82\x3b" + b"\xff" * 8 + b"\x01", "decimal with"),
    "a decimal of three": (b"\xc4\x83\x01\x01\x01", "a decimal (tag 4) holds"),
    "a decimal of text": (b"\xc4\x6a1e99999999", "a decimal (tag 4) holds"),
    "a decimal of half a million bits": (
        b"\xc4\x82\x00\xc2\x59\xff\xff" + b"\xff" * 65535,
        "524280 bits",
    ),
    "an integer over the limit": (b"\xc2\x59\x20\x01" + b"\xff" * 8193, "over the limit of 65536"),
    "an integer of text": (b"\xc2\x61a", "big integer"),
    "an integer that is an integer": (b"\xc2\x01", "big integer"),
    "a moment without zone": (b"\xc0\x732024-01-01T00:00:00", "date-time"),
    "a moment out of any month": (b"\xc0\x742024-13-01T00:00:00Z", "date-time"),
    "a moment that is a number": (b"\xc0\x01", "date-time"),
    "a moment beyond years": (b"\xc1\x1b" + b"\x7f" * 8, "date-time"),
    "a moment that is none": (b"\xc1\xf9\x7e\x00", "date-time"),
    "a UUID of three bytes": (b"\xd8\x25\x43abc", "a UUID (tag 37) holds 16 bytes"),
    "a UUID of text": (b"\xd8\x25\x63abc", "a UUID (tag 37) holds 16 bytes"),
    "an array of half a number": (b"\xd8\x46\x43abc", "no array of 4-byte numbers"),
    "an array of text": (b"\xd8\x40\x61a", "holds str, not bytes"),
    "an array of 128-bit floats": (b"\xd8\x53\x50" + bytes(16), "tag 83 is not accepted"),
    "a shape that does not fit": (b"\xd8\x28\x82\x82\x02\x03\xd8\x40\x44abcd", "shape [2, 3]"),
    "a shape of 2**62": (b"\xd8\x28\x82\x81\x1b\x40" + bytes(7) + b"\xd8\x40\x40", "shape"),
    "a shape below zero": (b"\xd8\x28\x82\x81\x20\xd8\x40\x40", "shape"),
    "a shape of 100 dimensions": (
        b"\xd8\x28\x82\x98\x64" + b"\x01" * 100 + b"\xd8\x40\x41a",
        "at most 32",
    ),
    "an array of objects": (b"\xd8\x28\x82\x81\x01\x81\xa0", "numbers or booleans"),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_that_is_no_value_is_refused_with_the_reason(talk, name):
    item, reason = PAYLOADS[name]
    told = talk.refused(with_payload(item))
    assert reason in told
    assert 10 < len(told) < 500
    # Standing first, what does not end is seen by the host, everything else by the worker.
    assert talk.refused(with_early_payload(item))
    # By subject the body is the payload alone.
    by_subject = talk.refused(item, "echo")
    assert by_subject == told


def test_a_request_id_comes_back_with_the_refusal(talk):
    message = request(text("id"), text("mine"), OPERATION, b"", text("payload"), b"\xf7")
    answer = talk.send(message)
    assert answer["id"] == "mine"
    assert "undefined" in answer["error"]["message"]


# --- sizes ----------------------------------------------------------------------------------------


def test_a_message_over_the_limit_is_too_large_with_both_sizes(talk):
    for operation in (None, "echo"):
        error = talk.send(bytes(LIMIT + 1), operation)["error"]
        assert (error["kind"], error["code"]) == ("too_large", 413)
        assert str(LIMIT + 1) in error["message"]
        assert str(LIMIT) in error["message"]
    # At the limit it is only wrong.
    assert talk.refused(bytes(LIMIT))


# --- by subject -----------------------------------------------------------------------------------

JSON_BODIES = {
    "no JSON": (b"hello", "not JSON"),
    "cut": (b'{"a": [1, ', "not JSON"),
    "two": (b"1 2", "not JSON"),
    "white space": (b"  ", "not JSON"),
    "NaN": (b"[NaN]", "NaN is no JSON number"),
    "infinity": (b"-Infinity", "-Infinity is no JSON number"),
    "the same key twice": (b'{"a": 1, "a": 2}', "duplicate key 'a'"),
    "no UTF-8": (b'"\xff"', "not UTF-8 at byte 1"),
    "UTF-16": ('"a"'.encode("utf-16"), "not JSON"),
    "a byte order mark": (b"\xef\xbb\xbf1", "not JSON"),
    "half a character": (b'"\\ud800"', "not JSON"),
    "deep": (b"[" * 45_000 + b"]" * 45_000, "deeper than 64 levels"),
    "65 levels": (b"[" * 65 + b"]" * 65, "deeper than 64 levels"),
    "too many digits": (b"9" * 90_000, "not JSON"),
    "too many members": (b"[" + b"0," * 1000 + b"0]", "1001 members"),
    "CBOR": (b"\x0a", "not JSON"),
}


@pytest.mark.parametrize("name", JSON_BODIES)
def test_a_body_that_is_no_json_is_refused_in_json(talk, name):
    body, reason = JSON_BODIES[name]
    (answer,) = talk.send_all([body], "echo", **{"Content-Type": "application/json"})
    error = json.loads(answer.data)["error"]
    assert (error["kind"], error["code"]) == ("bad_request", 400)
    assert reason in error["message"]
    assert len(error["message"]) < 500


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Content-Type": "text/html"}, "Content-Type 'text/html' is not spoken here"),
        ({"Content-Type": "x" * 5000}, "is not spoken here"),
        ({"Provider-Timeout-Ms": "soon"}, "Provider-Timeout-Ms is 'soon'"),
        ({"Provider-Timeout-Ms": "0"}, "Provider-Timeout-Ms is '0'"),
        ({"Provider-Timeout-Ms": "-5"}, "Provider-Timeout-Ms is '-5'"),
        ({"Provider-Timeout-Ms": "1e3"}, "Provider-Timeout-Ms is '1e3'"),
        ({"Provider-Timeout-Ms": "9" * 400}, "Provider-Timeout-Ms is '999"),
        ({"Provider-Timeout-Ms": "١٢"}, "Provider-Timeout-Ms is "),
    ],
)
def test_a_wrong_header_is_named(talk, headers, reason):
    told = talk.refused(b"\x01", "echo", **headers)
    assert reason in told
    assert len(told) < 300


def test_a_name_over_the_limit_is_refused_by_subject_too(talk):
    assert "longer than 256 bytes" in talk.refused(b"\x01", "x" * 300)
    assert talk.send(b"\x01", "x" * 256) == 1


# --- nobody to answer -----------------------------------------------------------------------------


async def test_messages_without_a_reply_subject_hurt_nobody(echo, wire):
    async with wire(echo) as w, echo.connect() as python:
        before = (await python.status())["unanswerable"]
        messages = [b"", b"\xff" * 20, asked("echo", 1), with_payload(b"\xf7"), bytes(LIMIT + 1)]
        for message in messages:
            await w.connection.publish(w.native, message)
            await w.connection.publish(f"{w.operations}.echo", message)
        assert cbor2.loads(await w.ask(asked("echo", 7))) == {"result": 7}
        assert (await python.status())["unanswerable"] == before + 2 * len(messages)


# --- at random ------------------------------------------------------------------------------------

atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.binary(max_size=10)
    | st.builds(cbor2.CBORTag, st.integers(0, 2**16), st.integers(0, 10))
)
trees = st.recursive(atoms, lambda inner: st.lists(inner, max_size=4), max_leaves=8)
requests = st.dictionaries(
    st.sampled_from(["operation", "payload", "id", "timeout_ms", "stream", "other"])
    | st.text(max_size=3)
    | st.integers(0, 3),
    trees | st.sampled_from(["echo", "x", 50, True]),
    max_size=7,
)
shaped = st.builds(
    cbor2.dumps,
    requests
    | st.builds(
        lambda others, payload: {**others, "operation": "echo", "payload": payload}, requests, trees
    ),
)


@st.composite
def damaged(draw):
    """A request with a few bytes changed, cut out, or put in."""
    data = bytearray(draw(shaped))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        cut = draw(st.integers(0, 3))
        data[place : place + cut] = draw(st.binary(max_size=3))
    return bytes(data)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(message=st.binary(max_size=200) | shaped | damaged())
def test_any_message_gets_exactly_one_answer(talk, message):
    answer = talk.send(message)
    assert set(answer) - {"id"} in ({"result"}, {"error"})
    if "error" in answer:
        assert answer["error"]["kind"] in {"bad_request", "bad_result", "timeout"}
        assert answer["error"]["message"]


# --- memory ---------------------------------------------------------------------------------------


def resident(pid: int) -> int:
    """Bytes of memory a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the process is gone")


def test_two_thousand_hostile_messages_leave_nothing_in_memory(echo, talk):
    chosen = random.Random(8949)
    kinds = [message for message, _ in MESSAGES.values()]
    kinds += [with_field(field, item) for field, all_ in WRONG.items() for item, _ in all_.values()]
    kinds += [with_payload(item) for item, _ in PAYLOADS.values()]
    kinds += [with_early_payload(item) for item, _ in PAYLOADS.values()]

    def burst() -> None:
        messages = [
            chosen.choice(kinds) if chosen.random() < 0.8 else chosen.randbytes(200)
            for _ in range(250)
        ]
        talk.send_all(messages)

    for _ in range(4):
        burst()
    processes = (echo.pid, echo.worker_pid)
    before = [resident(pid) for pid in processes]
    for _ in range(8):
        burst()
    grown = [resident(pid) - was for pid, was in zip(processes, before, strict=True)]
    assert max(grown) < 2 * 1024 * 1024, grown
