"""What may be a value: its types, and what it may weigh.

The rule of this file: the same short list of types is allowed in both directions, everything else
is refused by name, with the place inside the value where it sat. Lists and maps of plain members
are looked through in C speed.
"""

from __future__ import annotations

import decimal
import uuid
from datetime import datetime
from typing import Any, NamedTuple

import cbor2

from provider.errors import CallError
from provider.wire import arrays

_LEAVES = frozenset({int, float, bool, type(None), str, bytes})
_SHOWN_STEPS = 8
_DECIMAL_DIGITS = 4_300
"""As many as Python turns from text into an integer."""
_NAMES = {"UndefinedType": "undefined", "CBORSimpleValue": "simple value", "CBORTag": "tag"}
_PREFER = {
    "set": "a list",
    "frozenset": "a list",
    "date": "a datetime with a time zone, or text",
    "time": "text",
    "timedelta": "a number of seconds",
    "complex": "a list of two numbers",
    "generator": "a list",
    "range": "a list",
    "memoryview": "bytes",
    "coroutine": "what it returns, by awaiting it",
}


class Limits(NamedTuple):
    """What a value may weigh.

    Attributes:
        depth: levels of lists and maps.
        items: members of one list or map.
        string: bytes of one text or byte string.
        integer_bits: bits of one integer.
        decimal_exponent: largest power of ten of a decimal, either way.
    """

    depth: int = 64
    items: int = 1_000_000
    string: int = 64 * 1024 * 1024
    integer_bits: int = 65_536
    decimal_exponent: int = 6_144


class Misfit(Exception):
    """A value breaks the rules; `path` leads to it, innermost step first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []

    def __str__(self) -> str:
        steps = self.path[::-1]
        if len(steps) > _SHOWN_STEPS:
            steps[_SHOWN_STEPS // 2 : -_SHOWN_STEPS // 2] = ["..."]
        return f"{self.reason}, at value{''.join(steps)}" if steps else self.reason


def shown(value: Any, most: int = 60) -> str:
    """The value as Python would write it, cut to about `most` characters, whatever its type does.

    Args:
        value: anything; a huge integer and a user's object may refuse to be written.
        most: characters.
    """
    try:
        if isinstance(value, (str, bytes)) and len(value) > most:
            return f"{value[:most]!r}..."
        text = repr(value)
    except Exception:  # noqa: BLE001  methods of user types run here
        if isinstance(value, int):
            return f"an integer of {int.bit_length(value)} bits"
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}..."


class Rules:
    """Refuses what is no value. Has no state; one serves all threads.

    Args:
        limits: what a value may weigh.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def check(self, value: Any, *, thorough: bool = False) -> None:
        """Refuse what is not a value, in C speed for lists and maps of plain members.

        Args:
            value: anything.
            thorough: look at the size of every member too, not only at its type.

        Raises:
            Misfit: with the path of the first offender.
        """
        if thorough or type(value) not in _LEAVES:
            self._check(value, self.limits.depth, thorough)

    def _check(self, value: Any, levels: int, thorough: bool) -> None:
        # One frame of the interpreter for each level; the step is put into words only on failure.
        step: Any = None
        try:
            if isinstance(value, dict):
                self._check_container(value, levels)
                for key in value:
                    if thorough or type(key) is not str:
                        self._check_key(key)
                if thorough or not _LEAVES.issuperset(map(type, value.values())):
                    for step, member in value.items():  # noqa: B007  step is for the path
                        if thorough or type(member) not in _LEAVES:
                            self._check(member, levels - 1, thorough)
            elif isinstance(value, (list, tuple)):
                self._check_container(value, levels)
                if thorough or not _LEAVES.issuperset(map(type, value)):
                    for step, member in enumerate(value):  # noqa: B007  step is for the path
                        if thorough or type(member) not in _LEAVES:
                            self._check(member, levels - 1, thorough)
            else:
                self._check_leaf(value)
        except Misfit as misfit:
            if step is not None:
                misfit.path.append(f"[{shown(step)}]")
            raise

    def _check_key(self, key: Any) -> None:
        if not isinstance(key, str):
            raise Misfit(f"map keys must be text, not {type(key).__name__} ({shown(key, 100)})")
        self._check_leaf(key)

    def _check_container(self, value: Any, levels: int) -> None:
        if levels <= 0:
            raise Misfit(f"deeper than {self.limits.depth} levels, or it contains itself")
        if len(value) > self.limits.items:
            raise Misfit(f"{len(value)} members, over the limit of {self.limits.items}")

    def _check_leaf(self, value: Any) -> None:
        limits = self.limits
        if isinstance(value, (str, bytes, bytearray)):
            size = _utf8_length(value) if isinstance(value, str) else len(value)
            if size > limits.string:
                raise Misfit(f"a string of {size} bytes, over the limit of {limits.string}")
        elif isinstance(value, int):
            self.check_integer(value)
        elif isinstance(value, datetime):
            offset = value.utcoffset()
            if offset is None:
                raise Misfit("a datetime without a time zone; add one, such as timezone.utc")
            if offset.seconds % 60 or offset.microseconds:
                raise Misfit(f"a datetime {offset} from UTC, which is no whole minute (RFC 3339)")
        elif isinstance(value, decimal.Decimal):
            self._check_decimal(value)
        elif arrays.is_array(value):
            self._check_array(value)
        elif not (
            value is None or isinstance(value, (float, uuid.UUID)) or arrays.is_scalar(value)
        ):
            name = type(value).__name__
            instead = f"; return {_PREFER[name]} instead" if name in _PREFER else ""
            raise Misfit(f"a value of type {_NAMES.get(name, name)} is not accepted{instead}")

    def check_integer(self, value: int) -> None:
        """Refuse an integer that is too large.

        Raises:
            Misfit: it is.
        """
        # int's own methods, so that a user's subclass runs no code of its own here.
        bits, most = int.bit_length(value), self.limits.integer_bits
        if bits > most:
            raise Misfit(f"an integer of {bits} bits, over the limit of {most}")

    def _check_decimal(self, value: decimal.Decimal) -> None:
        _, digits, exponent = value.as_tuple()
        if not isinstance(exponent, int):
            return  # not a number, or infinite
        self.check_exponent(exponent)
        if len(digits) > _DECIMAL_DIGITS:
            raise Misfit(f"a decimal of {len(digits)} digits, over the limit of {_DECIMAL_DIGITS}")

    def check_exponent(self, exponent: int) -> None:
        """Refuse a power of ten that is too large for a decimal, either way.

        Raises:
            Misfit: it is.
        """
        most = self.limits.decimal_exponent
        if abs(exponent) > most:
            raise Misfit(f"a decimal with exponent {shown(exponent)}, over the limit of {most}")

    def _check_array(self, array: Any) -> None:
        unfit = arrays.why_not(array)
        if unfit:
            raise Misfit(unfit)
        limits = self.limits
        if array.dtype.kind == "b" and array.size > limits.items:
            raise Misfit(f"{array.size} members, over the limit of {limits.items}")
        if array.nbytes > limits.string:
            raise Misfit(f"an array of {array.nbytes} bytes, over the limit of {limits.string}")


def _utf8_length(text: str) -> int:
    # str's own methods, so that a user's subclass runs no code of its own here.
    if str.isascii(text):
        return str.__len__(text)
    try:
        return len(str.encode(text))
    except UnicodeEncodeError as error:
        raise Misfit(
            f"text with a lone surrogate (character {error.start}), which has no UTF-8"
        ) from None


def reason(error: BaseException) -> str:
    """The innermost words of an error: a codec's outer ones say only where it was.

    Args:
        error: of a codec, or of a user's type, whose `__str__` may fail as well.
    """
    if isinstance(error, (Misfit, arrays.ArrayError, CallError)):
        return str(error)
    cause = error.__cause__
    if isinstance(cause, (Misfit, arrays.ArrayError, cbor2.CBORError)):
        return reason(cause)
    return f"{_words(error)}: {_words(cause)}" if isinstance(cause, Exception) else _words(error)


def _words(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  an exception of the user's may fail to print
        text = ""
    return text or type(error).__name__
