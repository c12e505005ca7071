"""What a wasmCloud host of the wasmbus generation (0.50 to 0.82) sends and expects to read.

The rule of this file: written exactly, read tolerantly. What is written is byte for byte what
the Rust library writes: MessagePack maps with text keys in the order of declaration, `msg` as
binary, `content_length` always. What is read may have its keys in any order, keys nobody knows,
positions instead of keys, and `msg` as binary, text or a list of integers. All else is one error,
BadRequest, whatever the bytes were.

Encoding and decoding proper is msgspec's. Nothing is decoded that is not used: members nobody knows
are skipped, and `msg` is looked at where it lies. Where a key occurs twice, the last one counts;
signatures are checked over what was read. Sources: wasmbus-rpc 0.15 (`wasmbus_core.rs`,
`common.rs`), and for what its Python provider answered, that provider.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from provider.errors import BadRequest, clip

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK_ABOVE = 900 * 1024
"""Largest `msg` in bytes that travels inside its message; what is longer lies in the object store.
Answers must keep to this exactly, or the Rust host refuses them."""
MAX_ERROR = 64 * 1024
"""Most characters of an error text that are written."""
SHUTTING_DOWN = b"shutting down"
"""The answer to a shutdown message."""

_MALFORMED = "deser error: deserialization: "
_Octet = Annotated[int, Meta(ge=0, le=255)]
_Length = Annotated[int, Meta(ge=0)]
_S = TypeVar("_S", bound=Struct)
_P = ParamSpec("_P")
_T = TypeVar("_T")


# --- The structs ---------------------------------------------------------------------------------


class WasmCloudEntity(Struct, frozen=True, kw_only=True):
    """Who calls, or who is called. An actor has only its key.

    Attributes:
        public_key: `M...` of an actor, `V...` of a provider.
        link_name: of a provider.
        contract_id: of a provider, such as `wasmcloud:example:python`. The one member that must
            be there when it is read.
    """

    public_key: str = ""
    link_name: str = ""
    contract_id: str


class Invocation(Struct, frozen=True, kw_only=True):
    """A call.

    Attributes:
        origin: who calls.
        target: who is called.
        operation: its full name, such as `py.factorial`.
        msg: the argument; empty when it lies in the object store.
        id: of this call; the subject of its token too, though nobody checks that.
        encoded_claims: the token that signs the call.
        host_id: public key of the host it came through.
        content_length: bytes of the argument; None when the sender did not say.
        trace_context: W3C trace context by header name.
    """

    origin: WasmCloudEntity
    target: WasmCloudEntity
    operation: str = ""
    msg: bytes = b""
    id: str = ""
    encoded_claims: str = ""
    host_id: str = ""
    content_length: int | None = None
    trace_context: dict[str, str] = {}

    @property
    def is_chunked(self) -> bool:
        """Whether the argument lies in the object store under the call's id."""
        return (self.content_length or 0) > len(self.msg)


class InvocationResponse(Struct, frozen=True, kw_only=True):
    """The answer to a call.

    Attributes:
        msg: the result; empty when it lies in the object store. Means nothing beside an error.
        invocation_id: `Invocation.id` of the call.
        error: what went wrong, None when nothing did.
        content_length: bytes of the result; None when the sender did not say.
        trace_context: W3C trace context by header name.
    """

    msg: bytes = b""
    invocation_id: str = ""
    error: str | None = None
    content_length: int | None = None
    trace_context: dict[str, str] = {}

    @property
    def is_chunked(self) -> bool:
        """Whether the result lies in the object store under the call's id and `-r`."""
        return self.error is None and (self.content_length or 0) > len(self.msg)


class LinkDefinition(Struct, frozen=True, kw_only=True):
    """An actor may call a provider.

    Attributes:
        actor_id: the actor's key.
        provider_id: the provider's key.
        link_name: the provider's link name.
        contract_id: the contract it is for.
        values: settings of the link, which may be secrets and are never printed. The one member
            that must be there when it is read.
    """

    actor_id: str = ""
    provider_id: str = ""
    link_name: str = ""
    contract_id: str = ""
    values: dict[str, str]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"LinkDefinition({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # Of msgspec's too, where rich prints values in tracebacks.
        return [
            ("actor_id", self.actor_id),
            ("provider_id", self.provider_id),
            ("link_name", self.link_name),
            ("contract_id", self.contract_id),
            ("values", sorted(self.values)),
        ]


class HealthCheckResponse(Struct, frozen=True, kw_only=True):
    """Whether a provider is well.

    Attributes:
        healthy: it is.
        message: what is wrong, None for nothing.
    """

    healthy: bool = False
    message: str | None = None


# --- Their form in bytes -------------------------------------------------------------------------


class _InvocationMap(Struct, kw_only=True):
    """An invocation before its nested members are looked at."""

    origin: Raw
    target: Raw
    operation: str = ""
    msg: Raw = Raw(b"\xc4\x00")
    id: str = ""
    encoded_claims: str = ""
    host_id: str = ""
    content_length: _Length | None = None
    trace_context: dict[str, str] | None = msgspec.field(default=None, name="traceContext")


class _ResponseMap(Struct, kw_only=True):
    msg: Raw = Raw(b"\xc4\x00")
    invocation_id: str = ""
    error: str | None = None
    content_length: _Length | None = None
    trace_context: dict[str, str] | None = msgspec.field(default=None, name="traceContext")


class _EntityRow(WasmCloudEntity, frozen=True, array_like=True):
    """The same by position. So with all the rows."""


class _InvocationRow(_InvocationMap, array_like=True):
    pass


class _ResponseRow(_ResponseMap, array_like=True):
    pass


class _LinkRow(LinkDefinition, frozen=True, array_like=True):
    pass


class _HealthRow(HealthCheckResponse, frozen=True, array_like=True):
    pass


class _Shutdown(Struct):
    host_id: str = ""


class _Reader:
    """Reads one struct in its two forms.

    Args:
        by_name: the form as a map.
        by_position: the form as a list, a subclass of it.
    """

    def __init__(self, by_name: type[_S], by_position: type[_S]) -> None:
        self._by_name = msgspec.msgpack.Decoder(by_name)
        self._by_position = msgspec.msgpack.Decoder(by_position)

    def __call__(self, data: bytes | memoryview | Raw) -> Any:
        head = memoryview(data)[:1].tobytes()
        is_list = b"\x90" <= head <= b"\x9f" or head in (b"\xdc", b"\xdd")
        return (self._by_position if is_list else self._by_name).decode(data)


_read_entity = _Reader(WasmCloudEntity, _EntityRow)
_read_invocation = _Reader(_InvocationMap, _InvocationRow)
_read_response = _Reader(_ResponseMap, _ResponseRow)
_read_link = _Reader(LinkDefinition, _LinkRow)
_read_health = _Reader(HealthCheckResponse, _HealthRow)
_read_octets = msgspec.msgpack.Decoder(list[_Octet])
_read_link_json = msgspec.json.Decoder(LinkDefinition)
_read_health_json = msgspec.json.Decoder(HealthCheckResponse)
_read_shutdown_json = msgspec.json.Decoder(_Shutdown)
_write = msgspec.msgpack.Encoder().encode
_write_json = msgspec.json.Encoder().encode


def _told_as_malformed(decode: Callable[_P, _T]) -> Callable[_P, _T]:
    """The same, with whatever the bytes did told as a BadRequest."""

    @functools.wraps(decode)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return decode(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  the rule of this file
            raise BadRequest(_MALFORMED + words_of(error)) from None

    return wrapped


@_told_as_malformed
def decode_invocation(data: bytes) -> Invocation:
    """The call in a message on the rpc subject.

    Raises:
        BadRequest: it is none; the text is the one the original provider answered with.
    """
    read = _read_invocation(data)
    return Invocation(
        origin=_entity(read.origin, "origin"),
        target=_entity(read.target, "target"),
        operation=read.operation,
        msg=_octets(read.msg),
        id=read.id,
        encoded_claims=read.encoded_claims,
        host_id=read.host_id,
        content_length=read.content_length,
        trace_context=read.trace_context or {},
    )


def encode_invocation(invocation: Invocation) -> bytes:
    """The message that carries a call. A `content_length` of None is that of `msg`."""
    fields = {
        "origin": _entity_fields(invocation.origin),
        "target": _entity_fields(invocation.target),
        "operation": invocation.operation,
        "msg": invocation.msg,
        "id": invocation.id,
        "encoded_claims": invocation.encoded_claims,
        "host_id": invocation.host_id,
        "content_length": _length(invocation),
    }
    if invocation.trace_context:
        fields["traceContext"] = invocation.trace_context
    return _write(fields)


@_told_as_malformed
def decode_response(data: bytes) -> InvocationResponse:
    """The answer in a message on the reply subject.

    Raises:
        BadRequest: it is none.
    """
    read = _read_response(data)
    return InvocationResponse(
        msg=_octets(read.msg),
        invocation_id=read.invocation_id,
        error=read.error,
        content_length=read.content_length,
        trace_context=read.trace_context or {},
    )


def encode_response(response: InvocationResponse) -> bytes:
    """The message that carries an answer. A `content_length` of None is that of `msg`."""
    fields: dict[str, Any] = {"msg": response.msg, "invocation_id": response.invocation_id}
    if response.error is not None:
        fields["error"] = clip(response.error, MAX_ERROR)
    fields["content_length"] = _length(response)
    if response.trace_context:
        fields["traceContext"] = response.trace_context
    return _write(fields)


@_told_as_malformed
def decode_link(data: bytes, *, json: bool = False) -> LinkDefinition:
    """The link in a message on linkdefs.put or linkdefs.del.

    Args:
        data: the message.
        json: as the test harness sends it.

    Raises:
        BadRequest: it is none. The text holds no value of the link.
    """
    read = _read_link_json.decode(data) if json else _read_link(data)
    if type(read) is LinkDefinition:
        return read
    return LinkDefinition(**{name: getattr(read, name) for name in read.__struct_fields__})


def encode_link(link: LinkDefinition, *, json: bool = False) -> bytes:
    """The message for linkdefs.put and linkdefs.del."""
    return _write_json(link) if json else _write(link)


@_told_as_malformed
def decode_health(data: bytes, *, json: bool = False) -> HealthCheckResponse:
    """The answer to a health check.

    Raises:
        BadRequest: it is none.
    """
    read = _read_health_json.decode(data) if json else _read_health(data)
    return HealthCheckResponse(healthy=read.healthy, message=read.message)


def encode_health(response: HealthCheckResponse, *, json: bool = False) -> bytes:
    """The answer to a health check, whose request nobody reads.

    Args:
        response: the answer.
        json: as the test harness expects it.
    """
    fields: dict[str, Any] = {"healthy": response.healthy}
    if response.message is not None:
        fields["message"] = clip(response.message, MAX_ERROR)
    return _write_json(fields) if json else _write(fields)


def decode_shutdown(data: bytes) -> str:
    """The host a shutdown message speaks for, empty for a message that does not say or say right.

    Always JSON, in test mode and out of it.
    """
    try:
        return _read_shutdown_json.decode(data).host_id
    except Exception:  # noqa: BLE001  a message that cannot be read says nothing
        return ""


def encode_shutdown(host_id: str) -> bytes:
    """The shutdown message of a host."""
    return _write_json({"host_id": host_id})


def _length(message: Invocation | InvocationResponse) -> int:
    length = message.content_length
    return len(message.msg) if length is None else length


def _entity_fields(entity: WasmCloudEntity) -> dict[str, str]:
    return {
        "public_key": entity.public_key,
        "link_name": entity.link_name,
        "contract_id": entity.contract_id,
    }


def _entity(item: Raw, name: str) -> WasmCloudEntity:
    try:
        read: WasmCloudEntity = _read_entity(item)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"{name}: {words_of(error)}") from None
    if type(read) is WasmCloudEntity:
        return read
    return WasmCloudEntity(
        public_key=read.public_key, link_name=read.link_name, contract_id=read.contract_id
    )


def _octets(item: Raw) -> bytes:
    """The bytes of a `msg`, whichever of its three forms it has."""
    view = memoryview(item)
    head = view[0]
    if 0xC4 <= head <= 0xC6:  # binary with a length of 1, 2 or 4 bytes
        return view[1 + (1 << head - 0xC4) :].tobytes()
    if 0xD9 <= head <= 0xDB:  # text with such a length
        return view[1 + (1 << head - 0xD9) :].tobytes()
    if 0xA0 <= head <= 0xBF:  # text with its length in the head
        return view[1:].tobytes()
    try:
        return bytes(_read_octets.decode(item))
    except msgspec.ValidationError:
        raise msgspec.ValidationError(
            "msg: expected binary, text or a list of integers from 0 to 255"
        ) from None


def words_of(error: Exception) -> str:
    """What a codec had to say, in the words of the Rust one where they are known."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "text that is not UTF-8"
    return str(error).replace("Object missing required field", "missing field")
