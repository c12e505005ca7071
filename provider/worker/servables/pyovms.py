"""The module `pyovms` that handlers import: the tensors they are given and return.

The rule of this file: its names are those of the original, and so is what they mean, but for two
traps that are none here: integers of 64 bits keep their type whatever letter the platform has for
them, and memory that is not in one piece in row-major order is copied into one. A tensor is
read-only, and of the memory it was made from there is no copy otherwise.
"""

from __future__ import annotations

import array
import math
from typing import Any

from provider.wire.servable import FORMATS
from provider.worker.servables.exporting import Exporting

__all__ = ["Tensor"]

_DATATYPES = {FORMATS[datatype]: datatype for datatype in FORMATS}
for _letter in "lqLQ":  # what they hold depends on the platform
    for _size in (4, 8):
        _name = f"{'' if _letter.islower() else 'U'}INT{8 * _size}"
        _DATATYPES[_letter, _size] = _name

_MISSING: Any = object()


class Tensor(Exporting):
    """Data with a name, as the nodes of a graph pass it on.

    `bytes()`, `memoryview()`, `numpy.array()` and `numpy.frombuffer()` read it.

    Args:
        name: of the node's output it is for.
        buffer: any object with the buffer protocol, such as bytes or a numpy array.
        shape: told instead of the buffer's own; the data is not reshaped.
        datatype: told instead of the one that follows from the buffer's format.
        data: another name of `buffer`.

    Raises:
        TypeError: there is no buffer, or something has the wrong type.
    """

    __slots__ = ("_datatype", "_name", "_shape")

    def __init__(
        self,
        name: str,
        buffer: Any = _MISSING,
        shape: Any = None,
        datatype: str | None = None,
        *,
        data: Any = _MISSING,
    ) -> None:
        if (buffer is _MISSING) == (data is _MISSING):
            raise TypeError("Tensor() takes a name and one buffer, also called data")
        if not isinstance(name, str):
            raise TypeError(f"the name of a Tensor is text, not {type(name).__name__}")
        if datatype is not None and not isinstance(datatype, str):
            raise TypeError(f"the datatype of a Tensor is text, not {type(datatype).__name__}")
        owner = data if buffer is _MISSING else buffer
        view = memoryview(owner)
        if not view.c_contiguous:
            owner = _in_one_piece(view)
            view = memoryview(owner)
        super().__init__(owner, view.toreadonly())
        self._name = name
        self._shape = tuple(view.shape or ()) if shape is None else tuple(map(int, shape))
        self._datatype = _datatype(view) if datatype is None else datatype

    @property
    def name(self) -> str:
        """Of the stream it came in or goes out by."""
        return self._name

    @property
    def shape(self) -> tuple[int, ...]:
        """As it was given, or else the buffer's."""
        return self._shape

    @property
    def datatype(self) -> str:
        """As it was given, or else what KServe calls the buffer's format, or else that format."""
        return self._datatype

    @property
    def data(self) -> memoryview:
        """The buffer as it is."""
        return self._b_view

    @property
    def size(self) -> int:
        """Bytes of the buffer."""
        return self._b_view.nbytes

    @property
    def ref_obj(self) -> Any:
        """What owns the memory."""
        return self._a_owner

    @property
    def ptr(self) -> int:
        """Address of the memory, for libraries that take one."""
        import ctypes

        if not self.size:
            return 0
        buffer = (ctypes.c_char * 256)()  # as large as a Py_buffer of any version, or larger
        get = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p, ctypes.c_int)(
            ("PyObject_GetBuffer", ctypes.pythonapi)
        )
        get(self._b_view, ctypes.addressof(buffer), _FULL_READ_ONLY)
        address = ctypes.c_void_p.from_buffer(buffer).value or 0
        release = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("PyBuffer_Release", ctypes.pythonapi))
        release(ctypes.addressof(buffer))
        return address

    def __repr__(self) -> str:
        return f"Tensor({self._name!r}, shape={self._shape}, datatype={self._datatype!r})"


_FULL_READ_ONLY = 0x011C
"""`PyBUF_FULL_RO`."""
_CASTABLE = frozenset("bBhHiIlLqQfd?")
"""Formats a memoryview may be cast to."""
_MOST_DIMENSIONS = 64


def received(name: str, datatype: str, shape: tuple[int, ...], data: bytes) -> Tensor:
    """The tensor of a request.

    Args:
        name: of the input.
        datatype: as the request has it.
        shape: of it; for a datatype of `FORMATS` it takes as many bytes as there are.
        data: the bytes.
    """
    known = FORMATS.get(datatype)
    buffer: Any = data
    if known is not None:
        buffer = _shaped(data, known[0], shape)
    return Tensor(name, buffer, shape, datatype)


def _shaped(data: bytes, form: str, shape: tuple[int, ...]) -> Any:
    if len(shape) <= _MOST_DIMENSIONS and form in _CASTABLE and 0 not in shape:
        return memoryview(data).cast("B").cast(form, shape)  # type: ignore[call-overload]  # a format of a table
    # Half floats and arrays without items are beyond a memoryview; who works with them has numpy.
    try:
        import numpy as np
    except ImportError:
        return data if data or form in "?e" else array.array(form)
    if len(shape) > _MOST_DIMENSIONS:
        shape = (math.prod(shape),)
    return np.frombuffer(data, dtype=form).reshape(shape)


def _datatype(view: memoryview) -> str:
    form = view.format.removeprefix("@")
    return _DATATYPES.get((form, view.itemsize), form)


def _in_one_piece(view: memoryview) -> Any:
    """A copy with the same items in row-major order."""
    form = view.format.removeprefix("@")
    shape = tuple(view.shape or ())
    if form in _CASTABLE and 0 not in shape:
        return memoryview(view.tobytes()).cast(form, shape)  # type: ignore[call-overload]  # as above
    import numpy as np  # what has such a format in such memory is its

    return np.ascontiguousarray(view)
