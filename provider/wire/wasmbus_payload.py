"""The argument and the result of a signed call: in what they are written, and what errors say.

The rule of this file: CBOR passes unseen, because the worker reads it; MessagePack is translated.
Words are those of the original provider where it had some. Sources: wasmbus-rpc 0.15 (`common.rs`),
and that provider.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from provider.errors import BadRequest, BadResult, CallError, HandlerError
from provider.wire.wasmbus import words_of

if TYPE_CHECKING:
    from provider.wire.values import Values

_NONE = b"\xf6"
_read_any = msgspec.msgpack.Decoder()
_TIMESTAMPS = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff")
"""How a timestamp starts in its three widths; other bytes may look like it."""


class Format(Enum):
    """How the argument of an invocation is written."""

    EMPTY = "empty"
    CBOR = "cbor"
    MSGPACK = "msgpack"
    UNKNOWN = "unknown"


class Payload(NamedTuple):
    """What `message_format` found.

    Attributes:
        format: of the argument.
        offset: bytes of the header before it.
    """

    format: Format
    offset: int


def message_format(arg: bytes) -> Payload:
    """How an argument is written, by its first byte and whether there is a second one."""
    if len(arg) < 2:
        return Payload(Format.MSGPACK if arg else Format.EMPTY, 0)
    head = arg[0]
    if head == 0x7F:
        return Payload(Format.CBOR, 1)
    if head == 0xC1:
        return Payload(Format.MSGPACK, 1)
    if head < 0x7F or head == 0xC0:
        return Payload(Format.UNKNOWN, 0)
    return Payload(Format.MSGPACK, 0)


def decode_argument(arg: bytes, values: Values) -> bytes | None:
    """The argument as a CBOR item for the worker, None when there is none.

    CBOR is passed on unseen, because the worker decodes it. MessagePack, which the original
    provider refused and real actors send, is translated.

    Args:
        arg: of the invocation, whole.
        values: whose limits hold for what is translated.

    Raises:
        BadRequest: a header nobody knows, or MessagePack that is not accepted.
    """
    kind, offset = message_format(arg)
    if kind is Format.CBOR:
        return arg[offset:]
    if kind is Format.EMPTY:
        return None
    if kind is Format.UNKNOWN:
        raise BadRequest("rpc: invalid message format")
    return values.encode(decode_msgpack(arg[offset:], values))


def decode_msgpack(data: bytes, values: Values) -> Any:
    """The value of one MessagePack item and nothing after it, under the limits of CBOR.

    Raises:
        BadRequest: undecodable, trailing bytes, over a limit, a key that is no text, or an
            extension type, timestamps among them.
    """
    try:
        value = _read_any.decode(data)
        values.check(value, thorough=len(data) > values.smallest)
    except Exception as error:  # noqa: BLE001  whatever the bytes did, the sender is told
        raise BadRequest(f"deserialization: {words_of(error)}") from None
    if any(head in data for head in _TIMESTAMPS) and _has_timestamp(value):
        raise BadRequest("deserialization: a value of type timestamp is not accepted")
    return value


def _has_timestamp(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_timestamp, value.values()))
    if isinstance(value, list):
        return any(map(_has_timestamp, value))
    return isinstance(value, datetime)


def encode_result(item: bytes) -> bytes:
    """The `msg` for a result: bare CBOR, and nothing at all for None.

    Args:
        item: one CBOR item, as the worker wrote it.
    """
    return b"" if item == _NONE else item


def error_text(error: CallError) -> str:
    """What stands in `InvocationResponse.error` for a call that was accepted and then failed.

    In the words of the original provider, so that actors which look into them go on working; where
    it had none, the kind of the error and its message.
    """
    if isinstance(error, HandlerError) and error.type is not None:
        if error.type in ("SystemExit", "KeyboardInterrupt"):
            return f"error: {error.message}"
        text = f"Exception raised {error.type}: {error.message}\n"
        # A traceback of Python's ends its last line, and the original ended it once more.
        return text + error.traceback.rstrip("\n") + "\n\n" if error.traceback else text
    if isinstance(error, BadResult):
        return f"error: {error.message}"
    if isinstance(error, BadRequest):
        return f"serialization: {error.message}"
    return f"{error.kind}: {error.message}"
