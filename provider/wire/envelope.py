"""What a caller sends and what comes back: the native protocol, version 1 (docs/protocol.md).

The rule of this file: a request is read without decoding its payload. The keys are walked by hand,
the payload is cut out as bytes, and only the worker turns it into a value. Pure functions; whoever
calls them owns sockets and clocks.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from provider.errors import BadRequest, BadResult, CallError, clip
from provider.wire import json_form
from provider.wire.values import Limits, Values, shown

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_OPERATION = 256
"""Most bytes of an operation's name."""
MAX_ID = 256
"""Most bytes of a caller's id."""
MAX_KEYS = 64
"""Most keys of a request. Each unknown one costs the host time before it is ignored."""
MAX_TIMEOUT_MS = 2**53
"""Largest timeout a caller may write; the provider's own maximum is far below."""

MOST_HEADS, LONGEST_HEAD = 1024, 512
"""How many beginnings of requests are remembered, and most bytes of one."""

_PAYLOAD = b"\x67payload"
_request: Any = tuple.__new__
_RESULT = b"\x66result"
_ERROR = b"\x65error"
_ID = b"\x62id"
_MAP_OF_1, _MAP_OF_2 = b"\xa1", b"\xa2"


def _size_of(head: int) -> int:
    kind, low = head >> 5, head & 0x1F
    if kind in (2, 3):
        return 1 + low if low < 24 else 0
    if kind in (0, 1, 7) and low < 28:
        return 1 if low < 24 else 1 + (1 << (low - 24))
    return 0


_SIZES = bytes(map(_size_of, range(256)))
"""Bytes of the item that starts with each byte, where it has no members and so few bytes that the
first one tells; otherwise 0."""


class Request(NamedTuple):
    """A native request, its payload still bytes.

    Attributes:
        operation: its name, UTF-8, 1..256 bytes.
        payload: one CBOR item not yet looked at, or None when the key was absent.
        id: the caller's id as the CBOR item it came as, empty when absent.
        timeout_ms: the caller's patience in milliseconds, None when it said nothing.
        stream: whether a streamed answer was asked for.
        flow: whether its chunks wait for the caller's credit.
        progress: whether the caller wants to know how far it is, and first that it was accepted.
    """

    operation: str
    payload: bytes | None
    id: bytes = b""
    timeout_ms: int | None = None
    stream: bool = False
    flow: bool = True
    progress: bool = False


def check_operation(name: str) -> str:
    """The operation's name, when it can be one.

    Raises:
        BadRequest: empty, over 256 bytes, or no UTF-8.
    """
    if not name:
        raise BadRequest("operation is empty; name the operation to call")
    try:
        size = len(name) if name.isascii() else len(name.encode())
    except UnicodeEncodeError:
        raise BadRequest("operation is not UTF-8") from None
    if size > MAX_OPERATION:
        raise BadRequest(f"operation is longer than {MAX_OPERATION} bytes")
    return name


class RequestReader:
    """Reads native requests.

    Args:
        values: whose limits hold for what has to be looked at.
    """

    __slots__ = ("_heads", "_plain", "_values", "head", "operation", "size")

    def __init__(self, values: Values) -> None:
        self._values = values
        self.head = b""
        """The bytes before the payload of the newest request that `plain` knew. Callers come in
        bursts that begin alike: what begins so, and has more than `size` bytes, is a call of
        `operation`, and what comes after them is its payload."""
        self.operation = ""
        self.size = sys.maxsize
        """Bytes of `head`; before there is one, more than anything has."""
        self._heads: dict[bytes, Request] = {}
        self._plain: dict[bytes, str] = {}

    def read(self, data: bytes) -> Request:
        """The request in these bytes.

        A payload that is the last key is taken as all that is left; whether that is one item and
        nothing more is seen where it is decoded.

        Raises:
            BadRequest: not one CBOR map, or a key has the wrong type; the text names it.
        """
        # Callers write the same bytes before each payload. Those that were walked once, up to a
        # payload that stood last, mean the same again.
        start = data.find(_PAYLOAD, 0, LONGEST_HEAD) + len(_PAYLOAD)
        head = self._heads.get(data[:start])
        if head is not None and start < len(data):
            operation, _, *others = head
            request: Request = _request(Request, (operation, data[start:], *others))
            return request
        request, last = self._walk(data)
        if last == start and not request.id:
            if len(self._heads) >= MOST_HEADS:
                self._heads.clear()
                self._plain.clear()
            head = self._heads[data[:start]] = request._replace(payload=None)
            if head == Request(head.operation, None):
                self._plain[data[:start]] = head.operation
        return request

    def plain(self, data: bytes) -> tuple[str, bytes] | None:
        """Operation and payload of a request that says nothing else, if `read` met one like it.

        It is what nearly all callers send, and worth not being taken apart. None says nothing of
        the request: it is for `read`.
        """
        start = data.find(_PAYLOAD, 0, LONGEST_HEAD) + len(_PAYLOAD)
        head = data[:start]
        operation = self._plain.get(head)
        if operation is None or start >= len(data):
            return None
        self.head, self.operation, self.size = head, operation, start
        return operation, data[start:]

    def _walk(self, data: bytes) -> tuple[Request, int]:  # noqa: C901  one walk over the keys
        """The request, and where the payload begins that is its last key, 0 when there is none."""
        if not data:
            raise BadRequest("empty message; send a CBOR map with operation and payload")
        head = data[0]
        if 0xA0 <= head <= 0xB7:
            left, position = head & 0x1F, 1
        elif 0xB8 <= head <= 0xBF:
            left, position = self._long_head(data, head)
        else:
            raise BadRequest(
                f"the message starts with 0x{head:02x}; a request is a CBOR map (0xa0 to 0xbf)"
            )
        operation: str | None = None
        payload: bytes | None = None
        request_id = b""
        timeout_ms: int | None = None
        wishes = {b"stream": False, b"flow": True, b"progress": False}
        last = 0
        seen: set[bytes] = set()
        end = len(data)
        while left:
            if left < 0 and data[position : position + 1] == b"\xff":
                position += 1
                break
            left -= 1
            size = data[position] - 0x60 if position < end else -1
            if 0 <= size <= 23:
                key = data[position + 1 : position + 1 + size]
                position += 1 + size
            else:
                key, position = self._long_key(data, position)
            if key in seen:
                raise BadRequest(f"duplicate key {_key_name(key)}")
            seen.add(key)
            if key == b"payload":
                if left == 0:
                    last, payload, position = position, data[position:], end
                    if not payload:
                        raise BadRequest("the message ends after the key payload")
                    break
                start, position = position, self._values.end_of_item(data, position)
                payload = data[start:position]
            elif key == b"operation":
                operation, position = self._operation(data, position)
            elif key == b"id":
                start = position
                value, position = self._field("id", data, start)
                request_id = _id(value, data[start:position])
            elif key == b"timeout_ms":
                value, position = self._field("timeout_ms", data, position)
                timeout_ms = _timeout(value)
            elif key in wishes:
                wishes[key], position = self._truth(key.decode(), data, position)
            else:
                _ignore(key, len(seen))
                position = self._values.end_of_item(data, position)
        if position < end:
            raise BadRequest(f"{end - position} bytes after the request; send one map only")
        if operation is None:
            raise BadRequest("the request has no operation")
        stream, flow, progress = wishes.values()
        return Request(operation, payload, request_id, timeout_ms, stream, flow, progress), last

    def _long_head(self, data: bytes, head: int) -> tuple[int, int]:
        if head == 0xBF:
            return -1, 1
        width = 1 << (head - 0xB8)
        if width > 8 or len(data) < 1 + width:
            raise BadRequest("the message is a broken CBOR map")
        return int.from_bytes(data[1 : 1 + width], "big"), 1 + width

    def _long_key(self, data: bytes, position: int) -> tuple[bytes, int]:
        end = self._values.end_of_item(data, position)
        key = self._values.decode(data[position:end])
        if not isinstance(key, str):
            raise BadRequest(f"the keys of a request are text, not {type(key).__name__}")
        return key.encode(), end

    def _field(self, name: str, data: bytes, position: int) -> tuple[Any, int]:
        """The value of a field and the position after it."""
        # Short ones end where their first byte says.
        size = _SIZES[data[position]] if position < len(data) else 0
        end = position + size
        try:
            if not size or end > len(data):
                end = self._values.end_of_item(data, position)
            return self._values.decode(data[position:end]), end
        except BadRequest as error:
            raise BadRequest(f"{name}: {error.message}") from None

    def _truth(self, name: str, data: bytes, position: int) -> tuple[bool, int]:
        value, position = self._field(name, data, position)
        if type(value) is not bool:
            raise BadRequest(f"{name} is {type(value).__name__}; it must be true or false")
        return value, position

    def _operation(self, data: bytes, position: int) -> tuple[str, int]:
        size = data[position] - 0x60 if position < len(data) else -1
        if 0 <= size <= 23:
            end = position + 1 + size
            raw = data[position + 1 : end]
            if len(raw) < size:
                raise BadRequest("the message ends inside operation")
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError:
                raise BadRequest("operation is not UTF-8") from None
        else:
            text, end = self._field("operation", data, position)
            if not isinstance(text, str):
                raise BadRequest(f"operation is {type(text).__name__}; it must be text")
        return check_operation(text), end


def _id(value: Any, item: bytes) -> bytes:
    if not isinstance(value, (str, bytes)):
        raise BadRequest(f"id is {type(value).__name__}; it must be text or bytes")
    return _fitting_id(item)


def _timeout(value: Any) -> int:
    if type(value) is not int or not 0 < value <= MAX_TIMEOUT_MS:
        raise BadRequest(f"timeout_ms is {shown(value)}; it must be a positive integer")
    return value


def _fitting_id(item: bytes) -> bytes:
    if len(item) > MAX_ID:
        raise BadRequest(f"id is longer than {MAX_ID} bytes")
    return item


def _key_name(key: bytes) -> str:
    try:
        return clip(key.decode(), 60)
    except UnicodeDecodeError:
        raise BadRequest("a key of the request is not UTF-8") from None


def _ignore(key: bytes, count: int) -> None:
    _key_name(key)
    if count > MAX_KEYS:
        raise BadRequest(f"the request has more than {MAX_KEYS} keys")


def write_request(
    operation: str,
    payload: bytes | None = None,
    *,
    timeout_ms: int | None = None,
    request_id: str | bytes | None = None,
    stream: bool = False,
    progress: bool = False,
) -> bytes:
    """The bytes of a request around an encoded payload; the payload stands last.

    Args:
        operation: 1..256 bytes of UTF-8.
        payload: one CBOR item, None for no argument.
        timeout_ms: how long the caller waits, in milliseconds.
        request_id: echoed in the answer.
        stream: whether a streamed answer is asked for.
        progress: whether the caller wants to know how far it is.

    Raises:
        BadRequest: the operation or the id cannot be one, as the provider would say.
    """
    parts = [b"\x69operation", _PLAIN.encode(check_operation(operation))]
    if request_id is not None:
        try:
            item = _PLAIN.encode(request_id)
        except BadResult as error:
            raise BadRequest(f"id: {error.message}") from None
        parts += [_ID, _fitting_id(item)]
    if timeout_ms is not None:
        parts += [b"\x6atimeout_ms", _PLAIN.encode(timeout_ms)]
    if stream:
        parts += [b"\x66stream", b"\xf5"]
    if progress:
        parts += [b"\x68progress", b"\xf5"]
    if payload is not None:
        parts += [b"\x67payload", payload]
    return bytes((0xA0 + len(parts) // 2,)) + b"".join(parts)


def result_answer(result: bytes, request_id: bytes = b"") -> bytes:
    """The answer around an encoded result.

    Args:
        result: one CBOR item, as the worker wrote it.
        request_id: `Request.id`.
    """
    if request_id:
        return _MAP_OF_2 + _ID + request_id + _RESULT + result
    return _MAP_OF_1 + _RESULT + result


def error_answer(error: CallError, request_id: bytes = b"") -> bytes:
    """The answer that says what went wrong."""
    fields = _written(error.as_map(), _PLAIN.encode)
    if request_id:
        return _MAP_OF_2 + _ID + request_id + _ERROR + fields
    return _MAP_OF_1 + _ERROR + fields


def error_answer_json(error: CallError) -> bytes:
    """The same in JSON, for callers by subject who speak it."""
    fields = _written(error.as_map(), lambda value: json_form.encode(value, _PLAIN))
    return b'{"error":' + fields + b"}"


def _written(fields: dict[str, Any], encode: Callable[[Any], bytes]) -> bytes:
    try:
        return encode(fields)
    except BadResult as problem:  # an answer there must be; only details can be unfit
        told = f"{fields['message']} (its details are left out: {problem.message})"
        fields["message"] = clip(told)
        del fields["details"]
        return encode(fields)


def error_headers(error: CallError) -> dict[str, str]:
    """The two headers that make an answer an error to every NATS service client (ADR-32).

    Control characters become spaces, whatever the client library does about them, and the text is
    cut: headers are no place for a story.
    """
    text = "".join(char if char.isprintable() else " " for char in error.message)
    return {
        "Nats-Service-Error": clip(f"{error.kind}: {text}", 512),
        "Nats-Service-Error-Code": str(error.code),
    }


def read_answer(data: bytes, values: Values) -> Any:
    """The result in an answer.

    Args:
        data: the whole answer.
        values: with one level of depth more than the result may have.

    Raises:
        CallError: the error the answer carries, as the class of its kind.
        BadResult: the bytes are no answer.
    """
    try:
        answer = values.decode(data)
    except BadRequest as error:
        raise BadResult(f"the answer cannot be read: {error}") from None
    if isinstance(answer, dict):
        if "error" in answer:
            raise CallError.from_map(answer["error"])
        if "result" in answer:
            return answer["result"]
    raise BadResult("the answer has neither result nor error; is another service on this subject?")


_PLAIN = Values(Limits())
