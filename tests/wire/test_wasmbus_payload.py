"""In what arguments and results of signed calls are written, and what their errors say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.errors import BadRequest, BadResult, CallError, CallTimeout, HandlerError, Overloaded
from provider.wire.values import Limits, Values
from provider.wire.wasmbus_payload import (
    Format,
    decode_argument,
    decode_msgpack,
    encode_result,
    error_text,
    message_format,
)

VECTORS = json.loads(
    (Path(__file__).parents[1] / "lattice" / "wasmbus_vectors.json").read_text("utf-8")
)
VALUES = Values(Limits())
SMALL = Values(Limits(depth=3, items=4, string=8))
pack = msgspec.msgpack.encode

texts = st.text(st.characters(codec="utf-8"), max_size=20)


def refusal(read: Any, *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(BadRequest) as caught:
        read(*arguments, **keywords)
    return str(caught.value)


@pytest.mark.parametrize(
    ("arg", "kind", "offset"),
    [
        ("", Format.EMPTY, 0),
        ("7f", Format.MSGPACK, 0),
        ("c1", Format.MSGPACK, 0),
        ("00", Format.MSGPACK, 0),
        ("7f0a", Format.CBOR, 1),
        ("c10a", Format.MSGPACK, 1),
        ("000a", Format.UNKNOWN, 0),
        ("7e0a", Format.UNKNOWN, 0),
        ("c00a", Format.UNKNOWN, 0),
        ("800a", Format.MSGPACK, 0),
        ("bf0a", Format.MSGPACK, 0),
        ("c20a", Format.MSGPACK, 0),
        ("ff0a", Format.MSGPACK, 0),
    ],
)
def test_the_format_of_an_argument(arg: str, kind: Format, offset: int) -> None:
    assert message_format(bytes.fromhex(arg)) == (kind, offset)


@pytest.mark.parametrize("name", ["arg_10", "arg_Alice", "null_arg"])
def test_a_cbor_argument_is_passed_on_as_it_is(name: str) -> None:
    arg = bytes.fromhex(VECTORS["cbor"][name])
    assert decode_argument(arg, VALUES) == arg[1:]


def test_cbor_that_is_broken_is_left_to_the_worker() -> None:
    assert decode_argument(b"\x7f\xff\xff", VALUES) == b"\xff\xff"


def test_an_empty_argument_is_none_at_all() -> None:
    assert decode_argument(b"", VALUES) is None


@pytest.mark.parametrize("arg", ["000a", "7e7e", "c0c0"])
def test_a_reserved_header_is_refused(arg: str) -> None:
    assert refusal(decode_argument, bytes.fromhex(arg), VALUES) == "rpc: invalid message format"


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=40)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(plain, st.booleans())
def test_legacy_msgpack_is_translated(value: object, with_header: bool) -> None:
    arg = pack(value)
    if with_header:
        arg = b"\xc1" + arg
    elif message_format(arg) != (Format.MSGPACK, 0):
        return
    item = decode_argument(arg, VALUES)
    assert item is not None
    assert cbor2.loads(item) == value


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"\xc1", "MessagePack data is malformed: invalid opcode '\\xc1' (byte 0)"),
        (b"\x81\xa1a", "Input data was truncated"),
        (b"\xa1\xff", "text that is not UTF-8"),
        (b"\xc3\xc3", "MessagePack data is malformed: trailing characters (byte 1)"),
        (b"\xdd\xff\xff\xff\xff", "Input data was truncated"),
        (pack([[[1]]]), None),
        (pack([[[[1]]]]), "deeper than 3 levels, or it contains itself, at value[0][0][0]"),
        (b"\x91" * 200_000, "nested too deeply"),
        (pack([1] * 5), "5 members, over the limit of 4"),
        (pack("x" * 9), "a string of 9 bytes, over the limit of 8"),
        (pack({"a": b"x" * 9}), "a string of 9 bytes, over the limit of 8, at value['a']"),
        (pack({1: 2}), "map keys must be text, not int (1)"),
        (pack({b"a": 2}), "map keys must be text, not bytes (b'a')"),
        (pack([msgspec.msgpack.Ext(5, b"x")]), "a value of type Ext is not accepted, at value[0]"),
        (b"\xd6\xff\x00\x00\x00\x00", "a value of type timestamp is not accepted"),
        (b"\x91\xd7\xff" + b"\x00" * 8, "a value of type timestamp is not accepted"),
        (b"\x81\xa1a\xc7\x0c\xff" + b"\x00" * 12, "a value of type timestamp is not accepted"),
        (pack(b"\xd6\xff"), None),
        (pack({"a": [b"\xd6\xff"]}), None),
    ],
)
def test_legacy_msgpack_is_held_to_the_limits(data: bytes, detail: str | None) -> None:
    if detail is None:
        assert decode_msgpack(data, SMALL) == msgspec.msgpack.decode(data)
    else:
        assert refusal(decode_msgpack, data, SMALL) == f"deserialization: {detail}"


def test_a_result_is_bare_cbor_and_none_is_nothing() -> None:
    assert encode_result(VALUES.encode(3628800)).hex() == VECTORS["cbor"]["reply_3628800"]
    assert encode_result(VALUES.encode("Hello Alice!")).hex() == VECTORS["cbor"]["reply_Hello"]
    assert encode_result(VALUES.encode(True)).hex() == VECTORS["cbor"]["reload_reply"]
    assert encode_result(VALUES.encode(None)) == b""
    assert encode_result(VALUES.encode([None])) == b"\x81\xf6"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            HandlerError("no", type="ValueError", traceback="Traceback:\n  line\n"),
            "Exception raised ValueError: no\nTraceback:\n  line\n\n",
        ),
        (
            HandlerError("no", type="ValueError", traceback="Traceback:\n  line"),
            "Exception raised ValueError: no\nTraceback:\n  line\n\n",
        ),
        (HandlerError("no", type="ValueError"), "Exception raised ValueError: no\n"),
        (
            HandlerError("the handler called sys.exit(3)", type="SystemExit"),
            "error: the handler called sys.exit(3)",
        ),
        (HandlerError("stop", type="KeyboardInterrupt"), "error: stop"),
        (HandlerError("from elsewhere"), "handler_error: from elsewhere"),
        (BadResult("the result cannot travel: a set"), "error: the result cannot travel: a set"),
        (BadRequest("not CBOR"), "serialization: not CBOR"),
        (Overloaded("1024 calls wait"), "overloaded: 1024 calls wait"),
        (CallTimeout("after 2 s"), "timeout: after 2 s"),
    ],
)
def test_what_a_failed_call_says(error: CallError, text: str) -> None:
    assert error_text(error) == text


@given(st.binary(max_size=60) | plain.map(pack).map(lambda packed: packed[:-1]))
def test_garbage_is_a_bad_request_and_nothing_else(data: bytes) -> None:
    error = None
    try:
        VALUES.encode(decode_msgpack(data, VALUES))
    except BadRequest as refused:
        error = str(refused)
    assert error is None or error.startswith("deserialization: ")
