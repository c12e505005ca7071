"""CBOR around the raw bytes of tensors, without one more copy of them.

The rule of this file: what is written is joined once, at the end, and byte strings and typed arrays
that are read are slices of what came. Everything else is the business of `wire.values`. Typed
arrays are those of RFC 8746, their shape in tag 40.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provider.errors import BadRequest
from provider.wire.arrays import DTYPES, MULTI_DIMENSIONAL
from provider.wire.servable import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provider.kserve.tensors import Data
    from provider.wire.values import Values

Part = bytes | memoryview

TAGS = {
    "UINT8": 64,
    "UINT16": 69,
    "UINT32": 70,
    "UINT64": 71,
    "INT8": 72,
    "INT16": 77,
    "INT32": 78,
    "INT64": 79,
    "FP16": 84,
    "FP32": 85,
    "FP64": 86,
}
"""The little-endian typed array of each datatype; booleans have none."""
_KINDS = {"u": "UINT", "i": "INT", "f": "FP"}
_DATATYPES = {
    tag: (f"{_KINDS[dtype[-2]]}{8 * int(dtype[-1])}", dtype[0] == ">")
    for tag, dtype in DTYPES.items()
}
"""Of each typed array the datatype, and whether its items have their first byte first."""
_BOOLEANS = bytes([0xF4]) + bytes([0xF5]) * 255
_OF_BOOLEANS = bytes([0]) * 0xF5 + bytes([1]) + bytes([0]) * 10
FEW, SOME = 64, 4096
"""Members of a list or a map that is read here, and of a list whose members have members; longer
ones are plain values."""
DEEP = 4
"""Levels read here."""


@dataclass(slots=True)
class Typed:
    """A typed array that was read.

    Attributes:
        datatype: of its items.
        shape: extents.
        data: raw bytes, little-endian.
    """

    datatype: str
    shape: tuple[int, ...]
    data: Data


# --- writing -------------------------------------------------------------------------------------


def head(major: int, value: int) -> bytes:
    """The beginning of an item.

    Args:
        major: its type, 0..7.
        value: a number, a length or a tag, below 2**64.
    """
    if value < 24:
        return bytes(((major << 5) | value,))
    for size, low in ((1, 24), (2, 25), (4, 26), (8, 27)):
        if value < 1 << 8 * size:
            return bytes(((major << 5) | low,)) + value.to_bytes(size, "big")
    raise ValueError(f"{value} has no head")


def text(value: str) -> bytes:
    """A text."""
    data = value.encode("utf-8")
    return head(3, len(data)) + data


def byte_string(data: Data) -> list[Part]:
    """A byte string."""
    return [head(2, len(data)), data]


def integers(values: Sequence[int]) -> bytes:
    """A list of integers from 0."""
    return head(4, len(values)) + b"".join(head(0, value) for value in values)


def map_of(members: Iterable[tuple[str, Iterable[Part]]]) -> list[Part]:
    """A map."""
    parts: list[Part] = []
    count = 0
    for name, member in members:
        parts.append(text(name))
        parts += member
        count += 1
    return [head(5, count), *parts]


def list_of(members: Sequence[Iterable[Part]]) -> list[Part]:
    """A list."""
    return [head(4, len(members)), *(part for member in members for part in member)]


def typed_array(datatype: str, shape: Sequence[int], data: Data) -> list[Part]:
    """An array of numbers or booleans.

    Args:
        datatype: a key of `FORMATS`.
        shape: with as many items as there are.
        data: raw bytes.
    """
    if datatype == "BOOL":
        items: list[Part] = [head(4, len(data)), bytes(data).translate(_BOOLEANS)]
    else:
        items = [head(6, TAGS[datatype]), head(2, len(data)), data]
        if len(shape) == 1:
            return items
    return [head(6, MULTI_DIMENSIONAL), head(4, 2), integers(shape), *items]


# --- reading -------------------------------------------------------------------------------------


def read(data: bytes, values: Values) -> Any:
    """The value of one item: byte strings are slices, arrays are `Typed`.

    Args:
        data: of the item and nothing else.
        values: reads what is not read here.

    Raises:
        CallError: it cannot be read.
    """
    value, end = _Reader(data, values).item(0, DEEP)
    if end != len(data):
        raise BadRequest(f"{len(data) - end} bytes after the CBOR item")
    return value


class _Reader:
    def __init__(self, data: bytes, values: Values) -> None:
        self._data = data
        self._view = memoryview(data)
        self._values = values

    def item(self, place: int, levels: int) -> tuple[Any, int]:
        major, value, after = self._head(place)
        if major == 2 and value is not None:
            return self._slice(after, value)
        if levels > 0 and value is not None and major in (4, 5) and self._few(major, value, after):
            return (self._list if major == 4 else self._map)(after, value, levels)
        if major == 6 and value is not None:
            found = self._array(value, after)
            if found is not None:
                return found
        end = self._values.end_of_item(self._data, place)
        return self._values.decode(self._data[place:end]), end

    def _few(self, major: int, count: int, place: int) -> bool:
        """Whether the members of a list or map are read one by one."""
        if count <= FEW:
            return True
        # There may be arrays among them, which the host has no numpy for.
        return major == 4 and count <= SOME and self._head(place)[0] in (4, 5, 6)

    def _list(self, place: int, count: int, levels: int) -> tuple[Any, int]:
        members = []
        for _ in range(count):
            member, place = self.item(place, levels - 1)
            members.append(member)
        return members, place

    def _map(self, place: int, count: int, levels: int) -> tuple[Any, int]:
        members = {}
        for _ in range(count):
            name, place = self.item(place, 0)
            if not isinstance(name, str) or name in members:
                raise BadRequest("a map has a key that is no text, or is there twice")
            members[name], place = self.item(place, levels - 1)
        return members, place

    def _array(self, tag: int, place: int) -> tuple[Any, int] | None:
        """An array, None where it is for `Values` to say what it is."""
        if tag in _DATATYPES:
            return self._typed(tag, place)
        if tag != MULTI_DIMENSIONAL or self._head(place)[:2] != (4, 2):
            return None
        major, count, after = self._head(place + 1)
        if major != 4 or count is None or count > FEW:
            return None
        shape, items = [], 1
        for _ in range(count):
            major, extent, after = self._head(after)
            if major != 0 or extent is None:
                return None
            shape.append(extent)
            items *= extent
        major, inner, begin = self._head(after)
        if major == 4 and inner is not None and inner == items:
            booleans = self._data[begin : begin + inner]
            if len(booleans) == inner and not booleans.strip(b"\xf4\xf5"):
                return Typed("BOOL", tuple(shape), booleans.translate(_OF_BOOLEANS)), begin + inner
        if major != 6 or inner not in _DATATYPES:
            return None
        found = self._typed(inner, begin)
        if found is None:
            return None
        made, end = found
        if made.shape != (items,):
            raise BadRequest(f"shape {shape} takes {items} items, the array has {made.shape[0]}")
        return Typed(made.datatype, tuple(shape), made.data), end

    def _typed(self, tag: int, place: int) -> tuple[Typed, int] | None:
        major, size, after = self._head(place)
        if major != 2 or size is None:
            return None
        data, end = self._slice(after, size)
        datatype, swapped = _DATATYPES[tag]
        form, width = FORMATS[datatype]
        if size % width:
            raise BadRequest(f"{size} bytes are no array of {width}-byte numbers")
        if swapped:
            items = array("H" if form == "e" else form, bytes(data))
            items.byteswap()
            data = items.tobytes()
        return Typed(datatype, (size // width,), data), end

    def _slice(self, place: int, size: int) -> tuple[Data, int]:
        end = place + size
        if end > len(self._data):
            raise BadRequest("it ends within a byte string")
        return self._view[place:end], end

    def _head(self, place: int) -> tuple[int, int | None, int]:
        """Type, value and end of a head; no value where its length is not told."""
        data = self._data
        if place >= len(data):
            raise BadRequest("it ends within an item")
        major, low = data[place] >> 5, data[place] & 0x1F
        if low < 24:
            return major, low, place + 1
        if low > 27:
            return major, None, place + 1
        size = 1 << (low - 24)
        if place + 1 + size > len(data):
            raise BadRequest("it ends within an item")
        form = (">B", ">H", ">I", ">Q")[low - 24]
        return major, struct.unpack_from(form, data, place + 1)[0], place + 1 + size
