"""The native protocol: requests are walked, not decoded; every answer can be written and read."""

from __future__ import annotations

import json
import time

import cbor2
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from provider.errors import (
    BY_KIND,
    BadRequest,
    BadResult,
    CallError,
    HandlerError,
    Overloaded,
    UnknownOperation,
)
from provider.wire import envelope
from provider.wire.envelope import (
    MAX_ID,
    MAX_KEYS,
    MAX_OPERATION,
    MAX_TIMEOUT_MS,
    Request,
    RequestReader,
    check_operation,
    error_answer,
    error_answer_json,
    error_headers,
    read_answer,
    result_answer,
    write_request,
)
from provider.wire.values import Limits, Values

VALUES = Values()
READER = RequestReader(VALUES)
OPERATION = b"\x69operation\x66py.add"
"""The pair that every request needs."""


def refusal(data):
    with pytest.raises(BadRequest) as caught:
        READER.read(data)
    return caught.value.message


def request(*pairs):
    """A request out of encoded pairs."""
    assert len(pairs) < 24
    return bytes((0xA0 + len(pairs),)) + b"".join(pairs)


def pair(key, value):
    return cbor2.dumps(key) + cbor2.dumps(value)


operations = st.text(min_size=1, max_size=60).filter(lambda name: len(name.encode()) <= 256)
payloads = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
).map(cbor2.dumps)
ids = st.text(max_size=60) | st.binary(max_size=100)
timeouts = st.integers(1, MAX_TIMEOUT_MS)


# --- requests that are read -----------------------------------------------------------------------


@given(operations, st.none() | payloads, st.none() | timeouts, st.none() | ids)
@settings(max_examples=80)
def test_a_request_that_is_written_is_read(operation, payload, timeout_ms, request_id):
    data = write_request(operation, payload, timeout_ms=timeout_ms, request_id=request_id)
    encoded_id = b"" if request_id is None else cbor2.dumps(request_id)
    assert READER.read(data) == Request(operation, payload, encoded_id, timeout_ms, False)


def text_head(length, form):
    """The head of a text in one of the ways CBOR has for it."""
    if form == "short" and length < 24:
        return bytes((0x60 + length,))
    width = {"short": 1, "u8": 1, "u16": 2, "u32": 4, "u64": 8}[form]
    return bytes((0x78 + width.bit_length() - 1,)) + length.to_bytes(width, "big")


def write_text(text, form):
    raw = text.encode()
    if form == "pieces":
        middle = len(text) // 2
        parts = (text[:middle].encode(), text[middle:].encode())
        return b"\x7f" + b"".join(text_head(len(part), "u8") + part for part in parts) + b"\xff"
    return text_head(len(raw), form) + raw


KNOWN = set(Request._fields)
forms = st.sampled_from(["short", "u8", "u16", "u32", "u64", "pieces"])


@given(
    operations,
    payloads,
    timeouts,
    ids,
    st.booleans(),
    st.dictionaries(
        st.text(max_size=30).filter(lambda key: key not in KNOWN),
        payloads,
        max_size=4,
    ),
    st.sampled_from(["short", "b8", "b9", "ba", "bb", "bf"]),
    st.data(),
)
@settings(max_examples=80)
def test_keys_come_in_any_order_and_any_form_and_unknown_ones_are_ignored(
    operation, payload, timeout_ms, request_id, stream, others, head, data
):
    fields = {
        "operation": write_text(operation, data.draw(forms)),
        "payload": payload,
        "timeout_ms": cbor2.dumps(timeout_ms),
        "id": cbor2.dumps(request_id),
        "stream": cbor2.dumps(stream),
        **others,
    }
    message = b"".join(
        write_text(key, data.draw(forms)) + fields[key]
        for key in data.draw(st.permutations(list(fields)))
    )
    count = len(fields)
    if head == "bf":
        message = b"\xbf" + message + b"\xff"
    elif head == "short":
        message = bytes((0xA0 + count,)) + message
    else:
        width = {"b8": 1, "b9": 2, "ba": 4, "bb": 8}[head]
        message = bytes.fromhex(head) + count.to_bytes(width, "big") + message
    wanted = Request(operation, payload, cbor2.dumps(request_id), timeout_ms, stream)
    assert READER.read(message) == wanted


def test_only_the_operation_is_needed():
    assert READER.read(request(OPERATION)) == Request("py.add", None, b"", None, False)
    assert READER.read(b"\xbf" + OPERATION + b"\xff") == Request("py.add", None)


@pytest.mark.parametrize("last", [True, False], ids=["last", "first"])
@pytest.mark.parametrize(
    "payload",
    [
        *("f6", "80", "f7", "a10102", "d90102 80", "d81c81d81d00", "d84045 0102030405", "d82a 01"),
        *("c11b" + "ff" * 8, "fb7ff8000000000000"),
    ],
)
def test_a_payload_is_cut_out_and_not_looked_at(payload, last):
    payload = bytes.fromhex(payload)
    pairs = [OPERATION, b"\x67payload" + payload]
    assert READER.read(request(*pairs[:: 1 if last else -1])).payload == payload


def test_a_request_is_the_same_when_it_comes_again():
    # Written so that what looks like the key of a last payload stands inside another value.
    lure = pair("zz", "gpayload" + cbor2.dumps("wrong").decode())
    data = request(OPERATION, b"\x78\x07payload" + cbor2.dumps("right"), lure)
    reader = RequestReader(VALUES)
    first, again = reader.read(data), reader.read(data)
    assert first == again
    assert again.payload == cbor2.dumps("right")


NAMES = st.sampled_from(["a", "b", "payload", "gpayload", "x" * 30, "py.gpayload"])
BODIES = st.sampled_from([0, "payload", b"gpayload", [1, "gpayload"], {"payload": 1}, None])


@given(
    requests=st.lists(st.tuples(NAMES, BODIES), min_size=1, max_size=6),
    data=st.binary(max_size=20),
)
def test_what_begins_as_the_newest_plain_request_means_the_same(requests, data):
    reader = RequestReader(VALUES)
    assert reader.size > len(data)  # before the first one nothing does
    for operation, payload in requests:
        written = cbor2.dumps({"operation": operation, "payload": payload})
        reader.read(written)
        if reader.plain(written) is not None:
            assert written == reader.head + written[reader.size :]
            assert reader.operation == operation
        alike = reader.head + data
        if data and reader.operation:
            assert reader.size == len(reader.head)
            fresh = RequestReader(VALUES).read(alike)
            assert fresh == Request(reader.operation, alike[reader.size :])


def test_what_says_nothing_but_operation_and_payload_is_plain_from_the_second_time_on():
    reader = RequestReader(VALUES)
    first = request(OPERATION, b"\x67payload" + cbor2.dumps(1))
    again = request(OPERATION, b"\x67payload" + cbor2.dumps([2, b"gpayload"]))
    assert reader.plain(first) is None
    reader.read(first)
    assert reader.plain(again) == ("py.add", cbor2.dumps([2, b"gpayload"]))
    assert reader.plain(again) == reader.read(again)[:2]
    assert reader.plain(request(OPERATION, b"\x67payload")) is None


@pytest.mark.parametrize(
    "more",
    [pair("timeout_ms", 5), pair("id", "a"), pair("stream", True), pair("flow", False)],
    ids=lambda more: more[1:5].decode(),
)
def test_what_says_more_is_never_plain(more):
    reader = RequestReader(VALUES)
    data = request(OPERATION, more, b"\x67payload" + cbor2.dumps(1))
    reader.read(data)
    assert reader.plain(data) is None
    payload_inside = request(OPERATION, b"\x67payload" + cbor2.dumps(1), more)
    reader.read(payload_inside)
    assert reader.plain(payload_inside) is None


def test_ids_are_echoed_as_they_came():
    for item in (b"\x7f\x61a\x61b\xff", b"\x78\x02ab", b"\x40", b"\x60", b"\x5f\x41a\xff"):
        read = READER.read(request(b"\x62id" + item, OPERATION))
        assert read.id == item
        assert result_answer(b"\x01", read.id) == b"\xa2\x62id" + item + b"\x66result\x01"


# --- requests that are refused --------------------------------------------------------------------


@pytest.mark.parametrize("head", [*range(0xA0), *range(0xC0, 0x100)])
def test_what_is_no_map_is_refused_by_its_first_byte(head):
    assert f"starts with 0x{head:02x}; a request is a CBOR map" in refusal(
        bytes((head,)) + OPERATION
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty message; send a CBOR map with operation and payload"),
        (b"\xa0", "the request has no operation"),
        (b"\xbf\xff", "the request has no operation"),
        (b"\xb8\x00", "the request has no operation"),
        (b"\xbc" + OPERATION, "the message is a broken CBOR map"),
        (b"\xbd" + OPERATION, "the message is a broken CBOR map"),
        (b"\xbe" + OPERATION, "the message is a broken CBOR map"),
        (b"\xb8", "the message is a broken CBOR map"),
        (b"\xb9\x00", "the message is a broken CBOR map"),
        (b"\xba\x00\x00\x00", "the message is a broken CBOR map"),
        (b"\xbb" + bytes(7), "the message is a broken CBOR map"),
        (b"\xa1" + pair("payload", 1), "the request has no operation"),
        (b"\xa1\x67payload", "the message ends after the key payload"),
        (b"\xa2" + OPERATION, "premature end"),
        (b"\xbb" + b"\xff" * 8 + OPERATION, "premature end"),
        (b"\xbf" + OPERATION, "premature end"),
        (b"\xbf" + OPERATION + b"\xff\x00", "1 bytes after the request"),
        (b"\xa1" + OPERATION + b"\x00", "1 bytes after the request; send one map only"),
        (b"\xa1" + OPERATION + b"\xa1" + OPERATION, "18 bytes after the request"),
        (request(OPERATION, OPERATION), "duplicate key operation"),
        (request(b"\x67payload\x01", b"\x67payload\x01", OPERATION), "duplicate key payload"),
        (request(OPERATION, b"\x67payload\x01", b"\x78\x07payload\x01"), "duplicate key payload"),
        (request(OPERATION, b"\x61x\x01", b"\x7f\x61x\xff\x01"), "duplicate key x"),
        (request(b"\x01\x01", OPERATION), "the keys of a request are text, not int"),
        (request(b"\x41x\x01", OPERATION), "the keys of a request are text, not bytes"),
        (request(b"\xf6\x01", OPERATION), "the keys of a request are text, not NoneType"),
        (request(b"\x80\x01", OPERATION), "the keys of a request are text, not list"),
        (request(b"\xd9\x01\x02\x80\x01", OPERATION), "set (tag 258) is not accepted"),
        (request(b"\xff", OPERATION), "break code"),
        (request(OPERATION, b"\x61\xff\x01"), "a key of the request is not UTF-8"),
        (request(OPERATION, b"\x78\x01\xff\x01"), "utf-8"),
        (request(b"\x61\xff\x01", b"\x61\xff\x01"), "not UTF-8"),
        (request(b"\x69operation"), "operation: "),
        (request(b"\x69operation\x65abc"), "the message ends inside operation"),
        (request(b"\x69operation\x78\x05abc"), "operation: not CBOR"),
        (request(b"\x69operation\x61\xff"), "operation is not UTF-8"),
        (request(b"\x69operation\x63\xed\xa0\x80"), "operation is not UTF-8"),
        (request(b"\x69operation\x78\x01\xff"), "operation: not CBOR"),
    ],
    ids=lambda value: value[:12].hex() if isinstance(value, bytes) else "",
)  # fmt: skip
def test_what_is_wrong_with_the_message_is_said(data, words):
    assert words in refusal(data)


WRONG = {
    "int": 5, "negative": -1, "zero": 0, "big": 2**70, "float": 1.5, "nan": float("nan"),
    "bool": True, "null": None, "text": "5", "bytes": b"5", "list": [1], "map": {"a": 1},
    "undefined": cbor2.undefined, "simple": cbor2.CBORSimpleValue(99), "set": {1},
    "tag": cbor2.CBORTag(55799, 1), "array": cbor2.CBORTag(64, b"\1\2"), "huge": 2**40_000,
}  # fmt: skip
RIGHT = {
    "operation": {"text"},
    "id": {"text", "bytes"},
    "timeout_ms": {"int"},
    "stream": {"bool"},
}


@pytest.mark.parametrize("field", RIGHT)
@pytest.mark.parametrize("kind", WRONG)
def test_a_field_of_the_wrong_type_is_named(field, kind):
    pairs = [OPERATION] if field != "operation" else []
    data = request(pair(field, WRONG[kind]), *pairs)
    if kind in RIGHT[field]:
        READER.read(data)
    else:
        assert refusal(data).startswith(field)
        assert refusal(request(*pairs, pair(field, WRONG[kind]))).startswith(field)


@pytest.mark.parametrize("value", [1, 23, 24, 255, 256, 65_536, 2**32, MAX_TIMEOUT_MS])
def test_timeouts_are_positive_integers_up_to_the_largest(value):
    assert MAX_TIMEOUT_MS == 2**53  # what a number of JSON holds
    assert READER.read(request(OPERATION, pair("timeout_ms", value))).timeout_ms == value


@pytest.mark.parametrize("value", [0, -1, MAX_TIMEOUT_MS + 1, 2**64 - 1, 2**64, -(2**64)])
def test_other_timeouts_are_shown(value):
    said = refusal(request(OPERATION, pair("timeout_ms", value)))
    assert said == f"timeout_ms is {value}; it must be a positive integer"


def test_a_timeout_too_large_to_print_is_refused_all_the_same():
    said = refusal(request(OPERATION, pair("timeout_ms", 2**40_000)))
    assert said.startswith("timeout_ms is an integer of 40001 bits")


def test_names_and_ids_are_limited_in_bytes():
    for name in ("a" * MAX_OPERATION, "\u00e9" * (MAX_OPERATION // 2)):
        assert READER.read(request(pair("operation", name))).operation == name
        assert f"longer than {MAX_OPERATION} bytes" in refusal(
            request(pair("operation", name + "a"))
        )
    assert (
        refusal(request(pair("operation", ""))) == "operation is empty; name the operation to call"
    )
    fits = "a" * (MAX_ID - 2)
    assert READER.read(request(pair("id", fits), OPERATION)).id == cbor2.dumps(fits)
    assert f"id is longer than {MAX_ID} bytes" in refusal(
        request(pair("id", fits + "a"), OPERATION)
    )


MESSAGE = request(
    b"\x61x\x82\x01\x02",
    b"\x62id\x63abc",
    b"\x78\x0atimeout_ms\x19\x03\xe8",
    b"\x66stream\xf4",
    OPERATION,
    b"\x67payload\x83\x01\x61a\xf6",
)


def test_a_request_cut_anywhere_is_a_bad_request():
    payload = MESSAGE.index(b"\x83\x01\x61a\xf6")
    for cut in range(len(MESSAGE)):
        if cut <= payload:
            refusal(MESSAGE[:cut])
            continue
        # The last payload is all that is left; whoever decodes it sees that it was cut.
        with pytest.raises(BadRequest):
            VALUES.decode(READER.read(MESSAGE[:cut]).payload)
    turned = request(
        b"\x67payload\x83\x01\x61a\xf6", b"\x62id\x63abc", b"\x66stream\xf4", OPERATION
    )
    for cut in range(len(turned)):
        refusal(turned[:cut])
    endless = b"\xbf" + turned[1:] + b"\xff"
    for cut in range(len(endless)):
        refusal(endless[:cut])


def test_bytes_after_a_last_payload_are_seen_where_it_is_decoded():
    payload = READER.read(MESSAGE + b"\x00").payload
    with pytest.raises(BadRequest, match="1 bytes after the CBOR item"):
        VALUES.decode(payload)


@given(st.binary(max_size=60).map(lambda rest: b"\xa2" + rest) | st.binary(max_size=60))
@settings(max_examples=160)
@example(b"\xa1\x6apayload")
@example(b"\xa2\x6apayload")
@example(b"\xa2\x62id\x58")
def test_any_bytes_are_a_request_or_a_bad_request(data):
    try:
        READER.read(data)
    except BadRequest:
        return


@given(st.integers(0, len(MESSAGE) - 1), st.integers(0, 255))
@settings(max_examples=160)
def test_any_byte_may_be_wrong(position, byte):
    data = MESSAGE[:position] + bytes((byte,)) + MESSAGE[position + 1 :]
    try:
        READER.read(data)
    except BadRequest:
        return


def test_unknown_keys_are_ignored_up_to_a_number_of_keys():
    others = b"".join(b"\x63%03d\x00" % number for number in range(MAX_KEYS - 1))
    assert READER.read(b"\xb8\x40" + OPERATION + others).operation == "py.add"
    more = b"\xb8\x41" + OPERATION + others + b"\x61x\x00"
    assert refusal(more) == f"the request has more than {MAX_KEYS} keys"


def test_values_of_unknown_keys_may_hold_what_is_refused_elsewhere():
    for value in ({1}, cbor2.CBORTag(64, b"\1\2"), cbor2.undefined, cbor2.CBORTag(99, {1: 2})):
        READER.read(request(pair("x", value), OPERATION))


MILLION = 1 << 20


@pytest.mark.parametrize(
    "make",
    [
        lambda: request(b"\x67payload\x5a\0\x10\0\0" + bytes(MILLION), OPERATION),
        lambda: request(b"\x67payload\x9f" + b"\x01" * MILLION + b"\xff", OPERATION),
        lambda: request(b"\x67payload\x5f" + b"\x40" * MILLION + b"\xff", OPERATION),
        lambda: request(b"\x67payload" + b"\x81" * MILLION, OPERATION),
        lambda: request(b"\x67payload" + b"\xc1" * MILLION, OPERATION),
        lambda: request(b"\x67payload\x9f" + b"\xd8\x64\xa0" * (MILLION // 3) + b"\xff", OPERATION),
        lambda: request(b"\x69operation\x7a" + MILLION.to_bytes(4, "big") + b"a" * MILLION),
        lambda: request(b"\x7a" + MILLION.to_bytes(4, "big") + b"a" * MILLION + b"\0", OPERATION),
        lambda: request(b"\x62id\x7a" + MILLION.to_bytes(4, "big") + b"a" * MILLION, OPERATION),
        lambda: request(b"\x69timeout_ms\xc2\x5a" + MILLION.to_bytes(4, "big") + bytes(MILLION)),
        lambda: b"\xba\0\1\0\0" + b"".join(b"\x64%04x\0" % n for n in range(65_536)),
        lambda: b"\xbf" + b"".join(b"\x78\x05%05x\x80" % n for n in range(100_000)) + b"\xff",
        lambda: b"\xbf" + b"\x60\x00" * (MILLION // 2),
        lambda: b"\xbb" + b"\xff" * 8 + OPERATION,
    ],
)  # fmt: skip
def test_a_megabyte_of_anything_is_read_or_refused_in_no_time(make):
    data = make()
    began = time.process_time()
    try:
        READER.read(data)
    except BadRequest as error:
        said = error.message
        assert len(said) < 300
    assert time.process_time() - began < 20


# --- writing requests -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ("", "operation is empty"),
        ("a" * 257, "operation is longer than 256 bytes"),
        ("\u00e9" * 129, "operation is longer than 256 bytes"),
        ("\ud800", "operation is not UTF-8"),
    ],
)
def test_an_operation_that_cannot_be_one_is_refused_before_it_is_sent(operation, words):
    for check in (check_operation, write_request):
        with pytest.raises(BadRequest, match=words):
            check(operation)


def test_an_operation_is_any_other_text():
    for name in ("a", "py.add", "\u00e9" * 128, "a b\n\x00"):
        assert check_operation(name) == name


@pytest.mark.parametrize("request_id", [object(), {1}, "\ud800", "a" * 300, b"a" * 300])
def test_an_id_that_cannot_be_one_is_refused_before_it_is_sent(request_id):
    with pytest.raises(BadRequest, match=r"^id"):
        write_request("f", request_id=request_id)


# --- answers --------------------------------------------------------------------------------------


@given(payloads, st.none() | ids)
@settings(max_examples=50)
def test_a_result_is_wrapped_and_unwrapped(payload, request_id):
    assume(b"\xf9\x7e\x00" not in payload and b"\xfb\x7f\xf8" not in payload)
    item = b"" if request_id is None else cbor2.dumps(request_id)
    answer = result_answer(payload, item)
    assert cbor2.loads(answer).get("id") == request_id
    assert read_answer(answer, VALUES) == cbor2.loads(payload)


@pytest.mark.parametrize("kind", BY_KIND)
@pytest.mark.parametrize("item", [b"", b"\x63abc"])
def test_an_error_is_wrapped_and_raised_again_as_its_kind(kind, item):
    error = BY_KIND[kind](
        "what was wrong", type="ValueError", retry_after_ms=5, details=[1, {"a": b"x"}]
    )
    answer = error_answer(error, item)
    assert cbor2.loads(answer) == {**({"id": "abc"} if item else {}), "error": error.as_map()}
    with pytest.raises(BY_KIND[kind]) as caught:
        read_answer(answer, VALUES)
    assert caught.value.as_map() == error.as_map()
    assert json.loads(error_answer_json(error))["error"]["message"] == "what was wrong"


@pytest.mark.parametrize(
    "details",
    [{1}, object(), cbor2.CBORTag(64, b"\1\2"), "\ud800", [10**25_000], {1: 2}, [[]] * 3 + [{1}]],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("write", [error_answer, error_answer_json])
def test_an_error_whose_details_cannot_travel_is_an_answer_without_them(write, details):
    answer = write(HandlerError("no luck", details=details))
    told = (cbor2.loads(answer) if write is error_answer else json.loads(answer))["error"]
    assert told["message"].startswith("no luck (its details are left out: the result cannot travel")
    assert "details" not in told
    assert told["kind"] == "handler_error"


def test_details_may_be_any_value():
    answer = error_answer(HandlerError("x", details=np.arange(3)))
    with pytest.raises(HandlerError) as caught:
        read_answer(answer, VALUES)
    assert caught.value.details.tolist() == [0, 1, 2]
    assert json.loads(error_answer_json(HandlerError("x", details=np.arange(3)))) == {
        "error": {"kind": "handler_error", "code": 500, "message": "x", "details": [0, 1, 2]}
    }


def test_errors_with_half_characters_everywhere_are_answers():
    error = HandlerError("\ud800", type="\ud801", traceback="line\udc80\n")
    for answer in (cbor2.loads(error_answer(error)), json.loads(error_answer_json(error))):
        assert answer["error"] == {
            "kind": "handler_error",
            "code": 500,
            "message": "?",
            "type": "?",
            "traceback": "line?\n",
        }


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the answer cannot be read: empty"),
        (b"{}", "the answer cannot be read"),
        (b"\xff", "the answer cannot be read"),
        (b"\xa1\x66result\x01\x01", "the answer cannot be read: 1 bytes after"),
        (b"\xa1\x66result\xd9\x01\x02\x80", "the answer cannot be read"),
        (b"\x01", "neither result nor error; is another service on this subject?"),
        (b"\x80", "neither result nor error"),
        (b"\xa0", "neither result nor error"),
        (b"\xa1\x61a\x01", "neither result nor error"),
        (b"\xa1\x65error\x01", "an error that is not a map but int"),
        (b"\xa1\x65error\xf6", "an error that is not a map but NoneType"),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else "",
)
def test_an_answer_that_is_none_is_a_bad_result(data, words):
    with pytest.raises(BadResult) as caught:
        read_answer(data, VALUES)
    assert words in caught.value.message


@given(st.binary(max_size=40).map(lambda rest: b"\xa1\x65error" + rest) | st.binary(max_size=60))
@settings(max_examples=120)
@example(b"\xa1\x65error\xa1\x67message\xc2\x59\x08\x00" + b"\xff" * 2048)
@example(b"\xa1\x65error\x81\xc2\x59\x08\x00" + b"\xff" * 2048)
def test_any_bytes_are_an_answer_or_an_error(data):
    try:
        read_answer(data, VALUES)
    except CallError:
        return


def test_an_error_wins_over_a_result():
    with pytest.raises(UnknownOperation):
        read_answer(cbor2.dumps({"result": 1, "error": {"kind": "unknown_operation"}}), VALUES)


def test_an_answer_takes_one_level_more_than_its_result():
    result = b"\x81" * 64 + b"\x01"
    with pytest.raises(BadResult, match="deeper than 64 levels"):
        read_answer(result_answer(result), VALUES)
    assert read_answer(result_answer(result), Values(Limits(depth=65))) == cbor2.loads(result)


# --- headers --------------------------------------------------------------------------------------


def test_the_headers_say_kind_text_and_number():
    assert error_headers(Overloaded("the queue is full")) == {
        "Nats-Service-Error": "overloaded: the queue is full",
        "Nats-Service-Error-Code": "429",
    }


@given(st.text(st.characters(), max_size=700), st.sampled_from([None, 400, 599]))
@settings(max_examples=80)
@example("a\r\nNats-Service-Error-Code: 200\r\n\r\n\x00\x7f\x85\u2028\u2029\u200e\ud800", None)
def test_headers_hold_no_control_characters_and_no_stories(message, code):
    headers = error_headers(HandlerError(message, code=code))
    text = headers["Nats-Service-Error"]
    assert text.isprintable()
    assert text.encode("utf-8")
    assert text.startswith("handler_error: ")
    assert len(text) <= 512 + len("... (999999 more characters)")
    assert 400 <= int(headers["Nats-Service-Error-Code"]) <= 599


def test_sizes_told_by_the_first_byte_are_those_of_the_codec():
    for head in range(256):
        size = envelope._SIZES[head]
        if size:
            content = b"\x61" * (size - 1)
            assert VALUES.end_of_item(bytes((head,)) + content + b"\x00", 0) == size
