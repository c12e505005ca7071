"""Values checked and converted by type hints.

The rule of this file: a value is converted only where nothing is guessed. Text is no number and a
number no text, whatever pydantic would make of it; what has no type of its own on the wire is read
from what stands for it there:

    float               an integer, too
    datetime, date      RFC 3339 text, never a number
    bytes               text is base64, as in the JSON form
    Decimal, UUID, Enum their text, or the value of the member
    numpy.ndarray       a list
    keys of a map       text, from which any type may be read

A key that a dataclass or a TypedDict does not have is refused, as a parameter would be.
Plain types are looked at here, the rest is pydantic's: it is imported only for a hint that needs
it, which takes a tenth of a second, and where it is missing such a hint checks nothing. Models of
pydantic's own are as lax as their authors made them.
"""

from __future__ import annotations

import base64
import functools
import sys
import types
import typing
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from collections.abc import Callable

    Convert = Callable[[Any], Any]


MOST_REASONS = 3
"""Misfits told of in one answer."""


class Misfit(Exception):
    """A value is not what its hint asks for.

    Args:
        reasons: pairs of a path inside the value, such as `items.3.price` and empty for the value
            itself, and what is expected there.
        more: how many further ones there are.
    """

    def __init__(self, reasons: list[tuple[str, str]], more: int = 0) -> None:
        super().__init__(reasons)
        self.reasons = reasons
        self.more = more

    def at(self, place: str) -> str:
        """The whole sentence, for a value that stands at this place of the argument."""
        told = []
        for inside, reason in self.reasons:
            path = ".".join(part for part in (place, inside) if part)
            told.append(f"{path}: {reason}" if path else reason)
        if self.more:
            told.append(f"and {self.more} more")
        return "; ".join(told)


def unfit(reason: str) -> Misfit:
    """For the value itself."""
    return Misfit([("", reason)])


class Unchecked(Exception):
    """Nothing here can check values by this hint; the text says why."""


def converter(hint: Any) -> Convert | None:
    """What converts values to a hint, None where every value fits.

    The function it returns raises `Misfit`.

    Raises:
        Unchecked: values of this hint have to be left alone.
    """
    if hint is Any or hint is object or isinstance(hint, typing.TypeVar):
        return None
    plain = _plain(hint)
    if plain is not None:
        return plain
    array = array_hint(hint)
    if array is not None:
        return array
    from provider.worker import firm

    return firm.converter(hint)


def member(hint: Any) -> Any:
    """Of what a list of this hint consists."""
    inner = typing.get_args(hint)
    return inner[0] if len(inner) == 1 else Any


# --- plain types, which need no library ----------------------------------------------------------

_EXPECTED = {
    int: "Input should be a valid integer",
    float: "Input should be a valid number",
    str: "Input should be a valid string",
    bool: "Input should be a valid boolean",
    list: "Input should be a valid list",
    dict: "Input should be a valid dictionary",
    type(None): "Input should be None",
}
"""In the words of pydantic, which says the rest."""


def _plain(hint: Any) -> Convert | None:
    hint = type(None) if hint is None else hint
    if hint is bytes:
        return read_bytes
    if isinstance(hint, type) and hint in _EXPECTED:
        return functools.partial(_check_plain, hint, _EXPECTED[hint])
    if typing.get_origin(hint) in (Union, types.UnionType):
        others = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        inner = _plain(others[0]) if len(others) == 1 else None
        if inner is not None:
            return functools.partial(_none_or, inner)
    return None


def _check_plain(kind: type, expected: str, value: Any) -> Any:
    if type(value) is kind:
        return value
    if kind is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            pass
    raise unfit(expected)


def _none_or(inner: Convert, value: Any) -> Any:
    return None if value is None else inner(value)


def read_bytes(value: Any) -> bytes:
    """Bytes as they are, and of text what it is the base64 of (RFC 4648 section 4).

    Raises:
        Misfit: it is neither.
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise unfit("Input should be bytes, or text with their base64")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise unfit(f"Text stands for bytes as base64, which this is not: {error}") from None


# --- numpy ---------------------------------------------------------------------------------------


def array_hint(hint: Any) -> Convert | None:
    """What reads arrays, where the hint is `numpy.ndarray` with or without a type of members."""
    numpy: Any = sys.modules.get("numpy")
    kind = getattr(numpy, "ndarray", None)
    if kind is None:
        return None
    if hint is kind:
        return functools.partial(_read_array, numpy, None)
    if typing.get_origin(hint) is not kind:
        return None
    wanted = None
    for argument in typing.get_args(hint):
        inner = typing.get_args(argument)
        is_type = typing.get_origin(argument) is numpy.dtype and len(inner) == 1
        # Not Any, a variable, or a family such as numpy.floating.
        if is_type and inner[0] in numpy.sctypeDict.values() and _is_number(numpy.dtype(inner[0])):
            wanted = numpy.dtype(inner[0])
    return functools.partial(_read_array, numpy, wanted)


def _is_number(dtype: Any) -> bool:
    return dtype.kind in "biuf"


def _read_array(numpy: Any, wanted: Any, value: Any) -> Any:
    if isinstance(value, numpy.ndarray):
        if wanted is None or value.dtype == wanted:
            return value
        if numpy.can_cast(value.dtype, wanted, "safe"):
            return value.astype(wanted)
        raise unfit(f"Input is an array of {value.dtype}; expected one of {wanted}")
    if not isinstance(value, list):
        raise unfit("Input should be an array, or a list of numbers")
    try:
        array = numpy.asarray(value)
        fits = not array.size or array.dtype.kind in "biuf"
        if fits and wanted is not None and array.dtype != wanted:
            given, array = array, array.astype(wanted)
            kinds = _KEPT.get(given.dtype.kind, "")
            fits = not given.size or (
                wanted.kind in kinds and (wanted.kind == "f" or bool((array == given).all()))
            )
    except (ValueError, TypeError, OverflowError):
        fits = False
    if not fits:
        of = "" if wanted is None else f" that fit {wanted}"
        raise unfit(f"Input should be a regular list of numbers{of}")
    return array


_KEPT = {"b": "b", "i": "iuf", "u": "iuf", "f": "f"}
"""Kinds of numbers that the members of a list may become, by the kind they are."""
