"""Tensors as this house has them, requests and answers made of them, and what a tensor must be.

The rule of this file: whatever way a tensor came, here it is its raw bytes: items in row-major
order, little-endian; of BYTES each item after its length in four bytes. What a request claims is
compared with what is there before anything is made of it.
"""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provider.kserve.faults import fault
from provider.wire.servable import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Data = bytes | memoryview

BYTES = "BYTES"
UNKNOWN = "INVALID"
"""The datatype in metadata of a tensor of which nothing is known."""
MOST_DIMENSIONS = 64
MOST_TENSORS = 4096
"""Inputs of a request, its parameters, and the outputs it asks for, each."""
MOST_TEXTS = 1_000_000
"""Items of BYTES in typed contents."""
MOST_EMPTY = 1_000_000
"""Lists without members that are made of a shape without items."""
_LARGEST = 1 << 62


@dataclass(slots=True)
class Tensor:
    """Data with a name.

    Attributes:
        name: of an input or an output.
        datatype: a key of `FORMATS`, BYTES, or the author's own.
        shape: extents from 0.
        data: raw bytes.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Data


@dataclass(slots=True)
class Wanted:
    """An output a request asks for.

    Attributes:
        name: of it.
        binary: whether it is to be written raw; None leaves that to the request.
    """

    name: str
    binary: bool | None = None


@dataclass(slots=True)
class InferRequest:
    """What a model is to answer.

    Attributes:
        model: its name.
        id: of the request, empty for none.
        inputs: in the order of the request.
        parameters: of the request, by name: text, booleans and numbers.
        outputs: those that are asked for; empty for all.
    """

    model: str
    id: str = ""
    inputs: list[Tensor] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    outputs: list[Wanted] = field(default_factory=list)


@dataclass(slots=True)
class InferResponse:
    """What a model answered.

    Attributes:
        model: its name.
        id: of the request.
        outputs: in their order.
        parameters: by name.
    """

    model: str
    id: str = ""
    outputs: list[Tensor] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)


VERSION = "1"
"""The one version every model has."""


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """What is known of an input or an output.

    Attributes:
        name: of it.
        datatype: `UNKNOWN` where any may come.
        shape: -1 for any extent, empty where nothing is known.
    """

    name: str
    datatype: str = UNKNOWN
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What is known of a model.

    Attributes:
        name: of it.
        platform: what it is made with.
        inputs: in their order.
        outputs: in their order.
    """

    name: str
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a request beside its contents.

    Attributes:
        id: of it, for logs.
        timeout: seconds its caller waits; None for as long as it takes.
        headers: names in lower case.
    """

    id: str = ""
    timeout: float | None = None
    headers: dict[str, str] = field(default_factory=dict)


# --- what is claimed -----------------------------------------------------------------------------


def check_many(**many: int) -> None:
    """Refuse requests whose parts are more than there is any use for.

    Raises:
        CallError: there are more than `MOST_TENSORS` of one.
    """
    for name, number in many.items():
        if number > MOST_TENSORS:
            raise fault(
                "INVALID_MESSAGE_STRUCTURE", f"{number} {name}; there may be {MOST_TENSORS}"
            )


def count(shape: Sequence[int], name: str) -> int:
    """Items of a shape.

    Args:
        shape: extents as they came.
        name: of the tensor, for a person.

    Raises:
        CallError: an extent is below 0, or there are more items than could ever be there.
    """
    if len(shape) > MOST_DIMENSIONS:
        raise fault(
            "INVALID_SHAPE", f"{name:.256} has {len(shape)} dimensions; {MOST_DIMENSIONS} at most"
        )
    if any(extent < 0 for extent in shape):
        raise fault("INVALID_SHAPE", f"{name:.256} has a negative dimension")
    items = 1
    for extent in shape:
        items *= extent
    if items > _LARGEST:
        raise fault("INVALID_SHAPE", f"{name:.256} claims more items than there can be")
    return items


def raw(name: str, datatype: str, shape: Sequence[int], data: Data) -> Tensor:
    """The tensor of raw contents.

    Raises:
        CallError: there are not as many bytes as datatype and shape take.
    """
    items = count(shape, name)
    known = FORMATS.get(datatype)
    if known is not None and items * known[1] != len(data):
        raise fault(
            "INVALID_CONTENT_SIZE",
            f"{name:.256} of {datatype} and shape {list(shape)} takes {items * known[1]} bytes; "
            f"there are {len(data)}",
        )
    if not datatype:
        raise fault("INVALID_PRECISION", f"{name:.256} has no datatype")
    return Tensor(name, datatype, tuple(shape), data)


def packed(datatype: str, items: Sequence[Any]) -> bytes:
    """Raw bytes of numbers or booleans.

    Raises:
        ValueError: the datatype has no items of that kind.
        OverflowError: an item is beyond the datatype.
        TypeError: an item is no number.
    """
    form = FORMATS[datatype][0]
    if form == "?":
        return bytes(map(bool, items))
    if form == "e":
        try:
            return struct.pack(f"<{len(items)}e", *items)
        except struct.error as error:
            raise TypeError(str(error)) from None
    made = array(form, items)
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()


def unpacked(datatype: str, data: Data) -> list[Any]:
    """Numbers or booleans of raw bytes, whose length fits."""
    form, size = FORMATS[datatype]
    if form == "?":
        return [item != 0 for item in data]
    if form == "e":
        return list(struct.unpack(f"<{len(data) // size}e", data))
    made = array(form)
    made.frombytes(data)
    if sys.byteorder == "big":
        made.byteswap()
    return made.tolist()


def prefixed(items: Iterable[bytes]) -> bytes:
    """Raw bytes of a tensor of BYTES."""
    parts: list[bytes] = []
    for item in items:
        parts += (struct.pack("<I", len(item)), item)
    return b"".join(parts)


def split(data: Data, most: int | None = None) -> list[bytes]:
    """The items of a tensor of BYTES.

    Args:
        data: raw bytes.
        most: items there may be; None for any number.

    Raises:
        ValueError: a length leads beyond the end, or there are more items.
    """
    items: list[bytes] = []
    place, end = 0, len(data)
    while place < end:
        if place + 4 > end:
            raise ValueError("it ends within a length")
        (size,) = struct.unpack_from("<I", data, place)
        place += 4
        if place + size > end:
            raise ValueError(f"an item of {size} bytes leads beyond the end")
        if most is not None and len(items) >= most:
            raise ValueError(f"there are more than {most} items")
        items.append(bytes(data[place : place + size]))
        place += size
    return items
