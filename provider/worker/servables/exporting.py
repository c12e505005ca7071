"""Classes whose objects have the buffer protocol, on every Python a user may have.

The rule of this file: an object hands out one read-only `memoryview` it holds, and nothing else is
known of it here. From Python 3.12 on, a class says so by `__buffer__` (PEP 688). Before, only
classes written in C could: there, a type is made by the C interface with the function of
`pickle.PickleBuffer` in the place of ours. That one asks whatever object stands in the second field
of its own; so the second field is where we keep the view. Where that cannot be done, as without
ctypes, `bytes()` and numpy still read the object, and `memoryview()` does not.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any

_GET_BUFFER = 1
"""Number of the slot `bf_getbuffer` in the stable interface."""
_DEFAULT_FLAGS, _BASE_TYPE = 1 << 18, 1 << 10
_SECOND_FIELD = 24
"""Bytes from the beginning of an object with two words before its first field."""


def _made_in_c() -> type:
    """A class without fields whose objects export what stands in their second field.

    Raises:
        Exception: this interpreter is made in another way.
    """
    import ctypes

    class Slot(ctypes.Structure):
        _fields_ = (("slot", ctypes.c_int), ("function", ctypes.c_void_p))

    class Spec(ctypes.Structure):
        _fields_ = (
            ("name", ctypes.c_char_p),
            ("basicsize", ctypes.c_int),
            ("itemsize", ctypes.c_int),
            ("flags", ctypes.c_uint),
            ("slots", ctypes.POINTER(Slot)),
        )

    if sys.implementation.name != "cpython" or object.__basicsize__ != _SECOND_FIELD - 8:
        raise NotImplementedError("objects do not begin with two words")
    slot_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_int)(
        ("PyType_GetSlot", ctypes.pythonapi)
    )
    make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.POINTER(Spec))(
        ("PyType_FromSpec", ctypes.pythonapi)
    )
    slots = (Slot * 2)(Slot(_GET_BUFFER, slot_of(pickle.PickleBuffer, _GET_BUFFER)), Slot(0, None))
    name = b"provider.Exporting"
    spec = Spec(name, 0, 0, _DEFAULT_FLAGS | _BASE_TYPE, slots)
    made: type = make(ctypes.byref(spec))
    # The type points to its name until the process ends.
    _kept.append(name)
    _try(made)
    return made


def _try(made: type) -> None:
    """See that a field of a subclass lies where the function looks, before it ever looks."""
    import ctypes

    probe = type("Probe", (made,), {"__slots__": ("_a_owner", "_b_view")})()
    view = memoryview(b"probe")
    probe._b_view = view  # noqa: SLF001  of this file
    if ctypes.c_void_p.from_address(id(probe) + _SECOND_FIELD).value != id(view):
        raise NotImplementedError("fields lie elsewhere")


_kept: list[Any] = []


class _Plain:
    __slots__ = ()


def _base() -> type:
    if sys.version_info >= (3, 12):
        return _Plain
    try:
        return _made_in_c()
    except Exception:  # noqa: BLE001  whatever an unusual interpreter lacks, numpy reads the object
        return _Plain


_Base: Any = _base()


class Exporting(_Base):  # type: ignore[misc]  # made at run time
    """An object that is read through its view.

    Args:
        owner: keeps the memory alive.
        view: of that memory, read-only.
    """

    # In this order they lie in memory, because it is that of their names.
    __slots__ = ("_a_owner", "_b_view")
    _a_owner: Any
    _b_view: memoryview

    def __init__(self, owner: Any, view: memoryview) -> None:
        self._a_owner = owner
        self._b_view = view

    def __bytes__(self) -> bytes:
        return self._b_view.tobytes()

    def __buffer__(self, flags: int) -> memoryview:
        return self._b_view

    if _Base is _Plain and sys.version_info < (3, 12):

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            import numpy as np

            return np.array(self._b_view, dtype=dtype)
