"""Typed arrays (RFC 8746) to and from numpy, where the environment at hand has numpy.

The rule of this file: numpy is looked at only when an array is there. An array on the wire imports
it; a value on its way out cannot be a numpy value unless the user's code has imported it already.
Arrays read are views of the message and so read-only: `array.copy()` gives a writable one.
"""

from __future__ import annotations

import sys
from typing import Any

MULTI_DIMENSIONAL = 40
"""Tag of [shape, array], row-major (RFC 8746 section 3.1.1)."""

DTYPES: dict[int, str] = {
    64: "u1",
    65: ">u2",
    66: ">u4",
    67: ">u8",
    68: "u1",
    69: "<u2",
    70: "<u4",
    71: "<u8",
    72: "i1",
    73: ">i2",
    74: ">i4",
    75: ">i8",
    77: "<i2",
    78: "<i4",
    79: "<i8",
    80: ">f2",
    81: ">f4",
    82: ">f8",
    84: "<f2",
    85: "<f4",
    86: "<f8",
}
"""numpy type of each typed array tag. 68 is "clamped" u8, which differs only in arithmetic; 76 is
reserved; 83 and 87 (128-bit floats) have no numpy type of the same bits everywhere."""

_TAGS = {dtype: tag for tag, dtype in DTYPES.items() if tag != 68}
MAX_DIMENSIONS = 32
"""What every numpy can hold (2.0 and later hold 64)."""
_MAX_EXTENT = 2**63


class ArrayError(ValueError):
    """Bytes or a shape that make no array, or no numpy here to make one with."""


def _numpy() -> Any:
    try:
        import numpy as np
    except ImportError:
        raise ArrayError(
            "typed arrays need numpy in the environment that reads them: pip install numpy"
        ) from None
    return np


def from_tag(tag: int, data: object) -> Any:
    """The one-dimensional numpy array of a typed array's bytes.

    Raises:
        ArrayError: not a byte string, a length that is no multiple of the item's, or no numpy.
    """
    if not isinstance(data, bytes):
        raise ArrayError(f"typed array (tag {tag}) holds {type(data).__name__}, not bytes")
    numpy = _numpy()
    dtype = numpy.dtype(DTYPES[tag])
    if len(data) % dtype.itemsize:
        raise ArrayError(f"{len(data)} bytes are no array of {dtype.itemsize}-byte numbers")
    return numpy.frombuffer(data, dtype=dtype)


def from_shaped(content: object) -> Any:
    """The numpy array of tag 40: [shape, typed array or list of numbers or booleans].

    Raises:
        ArrayError: wrong shape, wrong content, or no numpy.
    """
    if not (isinstance(content, (list, tuple)) and len(content) == 2):
        raise ArrayError("a multi-dimensional array (tag 40) holds [shape, array]")
    shape, items = content
    if not isinstance(shape, (list, tuple)) or len(shape) > MAX_DIMENSIONS:
        raise ArrayError(f"the shape of an array is a list of at most {MAX_DIMENSIONS} integers")
    size = 1
    for extent in shape:
        if type(extent) is not int or not 0 <= extent < _MAX_EXTENT:
            raise ArrayError("the shape of an array is a list of integers from 0 below 2**63")
        size *= extent
    numpy = _numpy()
    if isinstance(items, (list, tuple)):
        items = _from_list(numpy, items)
    if not isinstance(items, numpy.ndarray) or items.ndim != 1 or items.dtype.kind == "O":
        raise ArrayError("a multi-dimensional array holds a typed array or a flat list of numbers")
    if items.size != size:
        raise ArrayError(f"shape {list(shape)} takes {size} items, the array has {items.size}")
    try:
        return items.reshape(shape)
    except ValueError as error:  # empty, but too large but for that
        raise ArrayError(f"shape {list(shape)} makes no array: {error}") from None


def _from_list(numpy: Any, items: Any) -> Any:
    types = set(map(type, items))
    if not (types <= {int, float} or types == {bool}):
        raise ArrayError("a multi-dimensional array holds numbers or booleans")
    if types != {int}:
        return numpy.array(items)
    # Left to choose, numpy would make floats of what no integer type of its own holds.
    low, high = min(items), max(items)
    if low >= -(2**63) and high < 2**63:
        return numpy.array(items, dtype="i8")
    if low >= 0 and high < 2**64:
        return numpy.array(items, dtype="u8")
    raise ArrayError("a multi-dimensional array of integers wider than 64 bits")


def is_array(value: object) -> bool:
    """Whether the value is a numpy array."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, getattr(numpy, "ndarray", ()))


def is_scalar(value: object) -> bool:
    """Whether the value is a numpy scalar that stands for a plain number or boolean."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, getattr(numpy, "generic", ())):
        return False
    # Durations are integers to numpy, and a long double stays one when it is asked for a float.
    scalar: Any = value
    return scalar.dtype.kind in "biuf" and scalar.dtype.itemsize <= 8


def why_not(array: Any) -> str | None:
    """Why this numpy array cannot travel, or None when it can."""
    if hasattr(array, "mask"):
        return "a masked numpy array; return its filled() values, and the mask beside them"
    if array.ndim > MAX_DIMENSIONS:
        return f"a numpy array of {array.ndim} dimensions, over the limit of {MAX_DIMENSIONS}"
    if array.dtype.kind == "b" or _tag(array) is not None:
        return None
    return f"a numpy array of {array.dtype}, which has no typed array tag (RFC 8746)"


def _tag(array: Any) -> int | None:
    dtype = array.dtype
    if dtype.kind not in "iuf":
        return None
    return _TAGS.get(dtype.str.lstrip("|"))


def to_tags(array: Any) -> tuple[tuple[int, ...], int | None, Any]:
    """What to write for an array: its shape, the typed array tag, and the content.

    The content is the bytes of the array in row-major order, or a list when the tag is None
    (booleans have none). A one-dimensional array needs no shape around it.
    """
    tag = _tag(array)
    if tag is None:
        return array.shape, None, array.ravel().tolist()
    return array.shape, tag, array.tobytes()
