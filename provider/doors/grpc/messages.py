"""Messages of protobuf as values of ours: maps, lists, texts, bytes, numbers.

The rule of this file: what a message says is in the map and nothing else. A field without presence
is always there, its default included; one with presence, of a oneof or a message, only when it is
set. Enums are their names, bytes stay bytes, all integers are integers, keys of maps are text. What
a map has no field for is refused, and so are fields of a message that its `.proto` does not have.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from google.protobuf import message_factory, unknown_fields
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, EncodeError

from provider.errors import BadRequest, BadResult
from provider.wire import arrays
from provider.wire.values import Misfit, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[Any], Any]
    Write = Callable[[Any, Any], None]

_FIELD: Any = FieldDescriptor
_INTEGERS = frozenset({_FIELD.CPPTYPE_INT32, _FIELD.CPPTYPE_INT64}) | frozenset(
    {_FIELD.CPPTYPE_UINT32, _FIELD.CPPTYPE_UINT64}
)
_FLOATS = frozenset({_FIELD.CPPTYPE_FLOAT, _FIELD.CPPTYPE_DOUBLE})
_GOOGLE = "google.protobuf."
_MOST_INTEGER = 1 << 64
_LONGEST = 315_576_000_000
"""Seconds of a duration, either way: ten thousand years, as protobuf has it."""


class Messages:
    """Reads and writes messages of one type.

    Args:
        descriptor: of the type.
    """

    def __init__(self, descriptor: Any) -> None:
        self._class: Any = message_factory.GetMessageClass(descriptor)
        self._name: str = descriptor.full_name
        self.empty = not descriptor.fields
        """Whether there is nothing such a message could say."""

    def read(self, data: bytes) -> Any:
        """The value of a message.

        Raises:
            BadRequest: it is none of this type.
        """
        try:
            return _read(self._class.FromString(data))
        except DecodeError:
            raise BadRequest(f"the message is no {self._name}") from None
        except (Misfit, ValueError, OverflowError) as error:
            raise BadRequest(f"the message is no {self._name} that is read here: {error}") from None

    def write(self, value: Any) -> bytes:
        """The message that says what the value does.

        Raises:
            BadResult: it has no message of this type.
        """
        message = self._class()
        try:
            if value is not None or not self.empty:
                _write(message, value)
            data: bytes = message.SerializeToString()
        except (Misfit, EncodeError) as error:
            raise BadResult(f"the result is no {self._name}: {error}") from None
        return data


# --- from messages -------------------------------------------------------------------------------


def _read(message: Any) -> Any:
    descriptor = message.DESCRIPTOR
    unknown = unknown_fields.UnknownFieldSet(message)
    if len(unknown):
        raise Misfit(f"{descriptor.full_name} has no field of number {unknown[0].field_number}")
    special = _SPECIAL_READ.get(descriptor.full_name)
    if special is not None:
        return special(message)
    members: dict[str, Any] = {}
    for field in descriptor.fields:
        name = field.name
        try:
            if field.is_repeated:
                members[name] = _read_several(field, getattr(message, name))
            elif not field.has_presence or message.HasField(name):
                members[name] = _read_one(field, getattr(message, name))
        except Misfit as misfit:
            misfit.path.append(f"[{shown(name)}]")
            raise
    return members


def _read_several(field: Any, values: Any) -> Any:
    if _is_map(field):
        kind = field.message_type.fields_by_name["value"]
        return {_key_text(key): _read_one(kind, values[key]) for key in values}
    if field.cpp_type in (_FIELD.CPPTYPE_MESSAGE, _FIELD.CPPTYPE_ENUM):
        return [_read_one(field, value) for value in values]
    return list(values)


def _read_one(field: Any, value: Any) -> Any:
    if field.cpp_type == _FIELD.CPPTYPE_MESSAGE:
        return _read(value)
    if field.cpp_type == _FIELD.CPPTYPE_ENUM:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return value


def _key_text(key: Any) -> str:
    return key if isinstance(key, str) else str(key).lower()


def _is_map(field: Any) -> bool:
    return bool(
        field.cpp_type == _FIELD.CPPTYPE_MESSAGE and field.message_type.GetOptions().map_entry
    )


def _read_any(message: Any) -> Any:
    """The value of a google.protobuf.Value."""
    kind = message.WhichOneof("kind")
    if kind in (None, "null_value"):
        return None
    value = getattr(message, kind)
    return _read(value) if kind in ("struct_value", "list_value") else value


def _read_struct(message: Any) -> dict[str, Any]:
    return {key: _read_any(message.fields[key]) for key in message.fields}


def _read_duration(message: Any) -> float:
    seconds: float = message.seconds + message.nanos / 1e9
    if abs(seconds) > _LONGEST:
        raise Misfit(f"a duration has at most {_LONGEST} seconds")
    return seconds


_SPECIAL_READ: dict[str, Read] = {
    f"{_GOOGLE}Timestamp": lambda message: message.ToDatetime(tzinfo=UTC),
    f"{_GOOGLE}Duration": _read_duration,
    f"{_GOOGLE}Struct": _read_struct,
    f"{_GOOGLE}ListValue": lambda message: [_read_any(each) for each in message.values],
    f"{_GOOGLE}Value": _read_any,
}


# --- to messages ---------------------------------------------------------------------------------


def _write(message: Any, value: Any) -> None:
    descriptor = message.DESCRIPTOR
    special = _SPECIAL_WRITE.get(descriptor.full_name)
    if special is not None:
        special(message, value)
        return
    if not isinstance(value, dict):
        raise _unlike(f"a map of {descriptor.full_name}", value)
    chosen: dict[str, str] = {}
    for name, member in value.items():
        try:
            field = _field(descriptor, name)
            if member is None:
                continue  # as if it were not there
            _choose(field, chosen)
            _write_field(message, field, member)
        except Misfit as misfit:
            misfit.path.append(f"[{shown(name)}]")
            raise


def _field(descriptor: Any, name: str) -> Any:
    field = descriptor.fields_by_name.get(name)
    if field is None:
        raise Misfit(f"{descriptor.full_name} has no field {shown(name)}")
    return field


def _choose(field: Any, chosen: dict[str, str]) -> None:
    """Note that this member of its oneof is the one that is set."""
    oneof = field.containing_oneof
    if oneof is not None and chosen.setdefault(oneof.name, field.name) != field.name:
        raise Misfit(f"{chosen[oneof.name]} and {field.name} exclude each other")


def _write_field(message: Any, field: Any, value: Any) -> None:
    target = getattr(message, field.name)
    if field.is_repeated:
        if _is_map(field):
            _write_map(target, field, value)
        else:
            _write_list(target, field, value)
    elif field.cpp_type == _FIELD.CPPTYPE_MESSAGE:
        target.SetInParent()
        _write(target, value)
    else:
        setattr(message, field.name, _scalar(field, value))


def _write_list(target: Any, field: Any, value: Any) -> None:
    if arrays.is_array(value):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        raise _unlike("a list", value)
    number = 0
    try:
        for number, item in enumerate(value):  # noqa: B007  number is for the path
            if field.cpp_type == _FIELD.CPPTYPE_MESSAGE:
                _write(target.add(), item)
            else:
                target.append(_scalar(field, item))
    except Misfit as misfit:
        misfit.path.append(f"[{number}]")
        raise


def _write_map(target: Any, field: Any, value: Any) -> None:
    if not isinstance(value, dict):
        raise _unlike("a map", value)
    entry = field.message_type.fields_by_name
    key: Any = None
    try:
        for key, item in value.items():
            ours = _key(entry["key"], key)
            if entry["value"].cpp_type == _FIELD.CPPTYPE_MESSAGE:
                _write(target[ours], item)
            else:
                target[ours] = _scalar(entry["value"], item)
    except Misfit as misfit:
        misfit.path.append(f"[{shown(key)}]")
        raise


def _key(field: Any, key: str) -> Any:
    if field.cpp_type == _FIELD.CPPTYPE_STRING:
        return key
    if field.cpp_type == _FIELD.CPPTYPE_BOOL:
        if key in ("true", "false"):
            return key == "true"
        raise Misfit(f"the key {shown(key)} is neither true nor false")
    digits = key.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 21):
        raise Misfit(f"the key {shown(key)} is no {_type(field)}")
    return _scalar(field, int(key))


def _scalar(field: Any, value: Any) -> Any:
    """The value, as a field that is no message takes it."""
    kind = field.cpp_type
    if kind == _FIELD.CPPTYPE_ENUM:
        return _number_of(field.enum_type, value)
    if kind in _INTEGERS:
        bits = 32 if kind in (_FIELD.CPPTYPE_INT32, _FIELD.CPPTYPE_UINT32) else 64
        unsigned = kind in (_FIELD.CPPTYPE_UINT32, _FIELD.CPPTYPE_UINT64)
        if type(value) is int:
            low, high = (0, 1 << bits) if unsigned else (-1 << bits - 1, 1 << bits - 1)
            if low <= value < high:
                return value
    elif kind in _FLOATS:
        if type(value) is float or (type(value) is int and abs(value) < _MOST_INTEGER):
            return value
    elif kind == _FIELD.CPPTYPE_BOOL:
        if type(value) is bool:
            return value
    elif field.type == _FIELD.TYPE_BYTES:
        if isinstance(value, (bytes, bytearray)):
            return bytes(value)
    elif isinstance(value, str):
        return value
    raise _unlike(_type(field), value)


def _number_of(enum: Any, value: Any) -> int:
    if isinstance(value, str):
        known = enum.values_by_name.get(value)
        if known is not None:
            number: int = known.number
            return number
    elif type(value) is int and -(1 << 31) <= value < 1 << 31:
        return value
    raise Misfit(f"{shown(value)} is no {enum.full_name}")


def _write_timestamp(message: Any, value: Any) -> None:
    if not isinstance(value, datetime):
        raise _unlike("a date and time", value)
    message.FromDatetime(value)


def _write_duration(message: Any, value: Any) -> None:
    if type(value) not in (int, float) or not abs(value) <= _LONGEST:
        raise _unlike("a number of seconds", value)
    parts, whole = math.modf(value)
    message.seconds, message.nanos = int(whole), round(parts * 1e9)
    if abs(message.nanos) == 1_000_000_000:
        message.seconds += 1 if message.nanos > 0 else -1
        message.nanos = 0


def _write_struct(message: Any, value: Any) -> None:
    if not isinstance(value, dict):
        raise _unlike("a map", value)
    message.SetInParent()
    for key, member in value.items():
        _write_any(message.fields[key], member)


def _write_values(message: Any, value: Any) -> None:
    if not isinstance(value, (list, tuple)):
        raise _unlike("a list", value)
    message.SetInParent()
    for member in value:
        _write_any(message.values.add(), member)


def _write_any(message: Any, value: Any) -> None:
    """Write a google.protobuf.Value."""
    if value is None:
        message.null_value = 0
    elif type(value) is bool:
        message.bool_value = value
    elif type(value) is float or (type(value) is int and abs(value) < _MOST_INTEGER):
        message.number_value = value
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, dict):
        _write_struct(message.struct_value, value)
    elif isinstance(value, (list, tuple)):
        _write_values(message.list_value, value)
    else:
        raise _unlike("a value of JSON", value)


_SPECIAL_WRITE: dict[str, Write] = {
    f"{_GOOGLE}Timestamp": _write_timestamp,
    f"{_GOOGLE}Duration": _write_duration,
    f"{_GOOGLE}Struct": _write_struct,
    f"{_GOOGLE}ListValue": _write_values,
    f"{_GOOGLE}Value": _write_any,
}


def _write_wrapped(message: Any, value: Any) -> None:
    message.value = _scalar(message.DESCRIPTOR.fields_by_name["value"], value)


for _wrapper in (
    "Double",
    "Float",
    "Int64",
    "UInt64",
    "Int32",
    "UInt32",
    "Bool",
    "String",
    "Bytes",
):
    _SPECIAL_READ[f"{_GOOGLE}{_wrapper}Value"] = lambda message: message.value
    _SPECIAL_WRITE[f"{_GOOGLE}{_wrapper}Value"] = _write_wrapped


def _type(field: Any) -> str:
    names: dict[int, str] = {
        _FIELD.CPPTYPE_INT32: "int32",
        _FIELD.CPPTYPE_INT64: "int64",
        _FIELD.CPPTYPE_UINT32: "uint32",
        _FIELD.CPPTYPE_UINT64: "uint64",
        _FIELD.CPPTYPE_FLOAT: "float",
        _FIELD.CPPTYPE_DOUBLE: "double",
        _FIELD.CPPTYPE_BOOL: "bool",
    }
    return names.get(field.cpp_type) or ("bytes" if field.type == _FIELD.TYPE_BYTES else "string")


def _unlike(expected: str, value: Any) -> Misfit:
    return Misfit(f"{expected} is expected, not {type(value).__name__} {shown(value)}")
