"""Values: what may be an argument or a result, and its strict CBOR.

The rule of this file: the same short list of types is allowed in both directions, everything else
is refused by name, and a refused result says where inside the value it sat. Integers of any size,
floats, booleans, None, text, bytes, lists, maps with text keys; date-times (tags 0 and 1), decimals
(tag 4), UUIDs (tag 37) and typed arrays (RFC 8746, `arrays`).

Encoding and decoding proper is cbor2's (RFC 8949). On top of it stand the limits, because all bytes
from outside are hostile: depth, items, lengths, bits, and not one byte after the item. Runs on
Python 3.10, because the worker may.
"""

from __future__ import annotations

import decimal
import os
import re
import struct
import uuid
from datetime import datetime, timezone
from io import BytesIO
from typing import Any, NamedTuple, NoReturn

import cbor2

from provider.errors import BadRequest, BadResult, CallError
from provider.wire import arrays

_LEAVES = frozenset({int, float, bool, type(None), str, bytes})
_SHOWN_STEPS = 8
_DECIMAL_DIGITS = 4_300
_DECIMAL_BITS = 14_285
"""A decimal's digits are as many as Python turns from text into an integer, and the bits of so
many digits."""
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]((?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2})"
    r"(?:\.([0-9]+))?(?:[Zz]|([+-](?:[01][0-9]|2[0-3]):[0-5][0-9]))"
)
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


def _refuse(name: str) -> Any:
    def refuse(_value: object, _immutable: bool) -> NoReturn:
        raise Misfit(f"{name} is not accepted")

    return refuse


def _refuse_unknown(tag: Any, _immutable: bool) -> NoReturn:
    raise Misfit(f"tag {tag.tag} is not accepted")


_REFUSED = {
    5: "bigfloat (tag 5)",
    25: "string reference (tag 25)",
    28: "shared value (tag 28)",
    29: "reference to a shared value (tag 29)",
    30: "rational (tag 30)",
    35: "regular expression (tag 35)",
    36: "MIME message (tag 36)",
    52: "IPv4 address (tag 52)",
    54: "IPv6 address (tag 54)",
    100: "date (tag 100)",
    256: "string reference namespace (tag 256)",
    258: "set (tag 258)",
    260: "network address (tag 260)",
    261: "network (tag 261)",
    1004: "date (tag 1004)",
    43000: "complex number (tag 43000)",
    55799: "self-described CBOR (tag 55799)",
}
"""Tags cbor2 would turn into objects by itself, with the names a person knows them by."""

_SKIPPED: dict[str, Any] = {
    "semantic_decoders": {
        tag: lambda _value, _immutable: None for tag in (0, 1, 2, 3, 4, 37, *_REFUSED)
    },
    "tag_hook": lambda _tag, _immutable: None,
}
"""How an item is read that is dropped afterwards: no tag means anything, not even a refused one,
and no array needs numpy."""


def _measure(head: int) -> int:
    major, low = head >> 5, head & 0x1F
    if major <= 1:
        return 1 if low < 24 else (2, 3, 5, 9, 0, 0, 0, 0)[low - 24]
    if major <= 3:
        return 1 + low if low < 24 else 0
    return {0xF4: 1, 0xF5: 1, 0xF6: 1, 0xF9: 3, 0xFA: 5, 0xFB: 9}.get(head, 0)


_MEASURED = bytes(map(_measure, range(256)))
"""By first byte, the size of numbers, short strings and the like; 0 for what it does not tell."""
_ONE_BYTE: dict[bytes, Any] = {
    bytes((head,)): cbor2.loads(bytes((head,)))
    for head in (*range(0x18), *range(0x20, 0x38), 0x40, 0x60, 0xF4, 0xF5, 0xF6)
}
"""The values of one byte. Small integers, truth and None are what most calls are about, and what is
looked up costs a third of what the codec does."""
_HEADS = {0x59: 3, 0x5A: 5, 0x5B: 9, 0x79: 3, 0x7A: 5, 0x7B: 9}
"""Bytes before the content of a string, by the first one, where the length takes two or more."""
LONG = 4096
"""Bytes from which a string that is a whole payload does without the codec, which copies it three
times either way."""
_SMALL_INTEGERS = tuple(map(cbor2.dumps, range(256)))
_16_BITS, _32_BITS, _64_BITS = 1 << 16, 1 << 32, 1 << 64
_of_16_bits, _of_32_bits, _of_64_bits = (struct.Struct(f">B{size}").pack for size in "HIQ")


class Values:
    """Decodes and encodes values under limits. Has no state; one serves all threads.

    Args:
        limits: what a value may weigh.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        # The mark stands after the item while it is read (see decode). Nobody outside knows it.
        self._mark = os.urandom(16)
        self._tail = cbor2.dumps(self._mark)
        semantic: dict[int, Any] = {tag: _refuse(name) for tag, name in _REFUSED.items()}
        semantic[0] = lambda value, _: _date_time(value)
        semantic[1] = lambda value, _: _timestamp(value)
        semantic[2] = lambda value, _: self._integer(value, negative=False)
        semantic[3] = lambda value, _: self._integer(value, negative=True)
        semantic[4] = lambda value, _: self._decimal(value)
        semantic[37] = lambda value, _: _uuid(value)
        for tag in arrays.DTYPES:
            semantic[tag] = lambda value, _, tag=tag: arrays.from_tag(tag, value)
        semantic[arrays.MULTI_DIMENSIONAL] = lambda value, _: arrays.from_shaped(value)
        self._semantic = semantic
        # To cbor2 a tag is a level, too: a leaf such as a shaped array has three inside it.
        self._item_depth = self.limits.depth + 3
        self._pair_depth = self._item_depth + 1
        # Up to so many bytes, types are all there is to check. Integers up to 65 bits are not
        # tagged, so below that limit each has to be looked at.
        self.smallest = min(self.limits.items, self.limits.string)
        if self.limits.integer_bits < 65:
            self.smallest = 0
        self._ordinary = self.smallest > max(_MEASURED)
        """Whether no limit can be hurt by what fits into a few bytes."""
        self._integer_bytes = self.limits.integer_bits // 8
        self._big_integers = _heads_of_big_integers(self._integer_bytes)

    def decode(self, data: bytes | memoryview) -> Any:
        """The value of one CBOR item and nothing after it, which refers to `data` no more.

        The item is read as the first of a pair whose second is a mark no sender can know: where
        the mark is not found, bytes were left over or missing. One pass, no stream object.

        Raises:
            BadRequest: undecodable, trailing bytes, over a limit, or a type that is refused.
        """
        if self._ordinary and data and _MEASURED[data[0]] == len(data):
            try:
                return _ONE_BYTE[data] if data in _ONE_BYTE else cbor2.loads(data)  # type: ignore[index]  # no view is so short
            except Exception:  # noqa: BLE001  text that is not UTF-8
                self._explain(data)
        if len(data) > LONG and (value := self._long_string(data)) is not None:
            return value
        try:
            value, mark = cbor2.loads(
                b"\x82" + data + self._tail,
                max_depth=self._pair_depth,
                semantic_decoders=self._semantic,
                tag_hook=_refuse_unknown,
                allow_duplicate_keys=False,
            )
        except Exception:  # noqa: BLE001  whatever the bytes did, the sender is told
            self._explain(data)
        # The type first: an array of the sender's would compare itself member by member.
        if type(mark) is not bytes or mark != self._mark:
            self._explain(data)
        try:
            self.check(value, thorough=len(data) > self.smallest)
        except Misfit as misfit:
            raise BadRequest(str(misfit)) from None
        except RecursionError:
            raise BadRequest("deeper than this interpreter can follow") from None
        return value

    def decode_result(self, data: bytes) -> Any:
        """The value of one CBOR item that a worker wrote, as `decode` has it.

        Raises:
            BadResult: it is none; of which the worker is to blame, and not whoever called.
        """
        try:
            return self.decode(data)
        except BadRequest as error:
            raise BadResult(f"the result cannot be read: {error.message}") from None

    def encode(self, value: Any) -> bytes:
        """One CBOR item for a result.

        Raises:
            BadResult: a type that is refused, over a limit, or a value that contains itself; the
                message names the path inside the value.
        """
        if type(value) is int and self._ordinary:
            if 0 <= value < _32_BITS:
                if value < 256:
                    return _SMALL_INTEGERS[value]
                if value < _16_BITS:
                    return _of_16_bits(0x19, value)
                return _of_32_bits(0x1A, value)
            if -_64_BITS <= value < _64_BITS:
                return cbor2.dumps(value)
        elif (parts := self.long_string(value)) is not None:
            return b"".join(parts)
        try:
            self.check(value)
            data = cbor2.dumps(value, default=_encode_more)
            if len(data) > self.smallest or (
                len(data) > self._integer_bytes and any(head in data for head in self._big_integers)
            ):
                self.check(value, thorough=True)
        except Misfit as misfit:
            raise BadResult(f"the result cannot travel: {misfit}") from None
        except Exception as error:  # noqa: BLE001  user types may raise anything while encoded
            raise BadResult(f"the result cannot travel: {self._blame(value, error)}") from None
        return data

    def long_string(self, value: Any) -> tuple[bytes, bytes] | None:
        """A long text or byte string as the head and the content of its item.

        So that whoever puts something around it copies it once. None for everything else, which is
        for `encode`.
        """
        if type(value) is bytes:
            major, content = 0x40, value
        elif type(value) is str:
            if len(value) <= LONG:
                return None
            try:
                major, content = 0x60, value.encode()
            except UnicodeEncodeError:
                return None
        else:
            return None
        size = len(content)
        if not LONG < size <= self.limits.string:
            return None
        if size < _16_BITS:
            return _of_16_bits(major + 0x19, size), content
        if size < _32_BITS:
            return _of_32_bits(major + 0x1A, size), content
        return _of_64_bits(major + 0x1B, size), content

    def _long_string(self, data: bytes | memoryview) -> bytes | str | None:
        """The value, where it is a string as long as its head says; None for everything else."""
        start = _HEADS.get(data[0], 0)
        if not start or int.from_bytes(data[1:start], "big") != len(data) - start:
            return None
        if len(data) - start > self.limits.string:
            return None
        content = memoryview(data)[start:]
        if data[0] < 0x60:
            return bytes(content)
        try:
            return str(content, "utf-8")
        except UnicodeDecodeError:
            return None

    def end_of_item(self, data: bytes, start: int) -> int:
        """The position after the item that starts at `start`, whatever its tags may mean.

        Raises:
            BadRequest: not one whole well-formed item, or deeper than the limit.
        """
        return self._read(data, start, _SKIPPED)

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
            self._check_integer(value)
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

    def _check_integer(self, value: int) -> None:
        # int's own methods, so that a user's subclass runs no code of its own here.
        bits, most = int.bit_length(value), self.limits.integer_bits
        if bits > most:
            raise Misfit(f"an integer of {bits} bits, over the limit of {most}")

    def _check_decimal(self, value: decimal.Decimal) -> None:
        _, digits, exponent = value.as_tuple()
        if not isinstance(exponent, int):
            return  # not a number, or infinite
        self._check_exponent(exponent)
        if len(digits) > _DECIMAL_DIGITS:
            raise Misfit(f"a decimal of {len(digits)} digits, over the limit of {_DECIMAL_DIGITS}")

    def _check_exponent(self, exponent: int) -> None:
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

    def _integer(self, value: object, *, negative: bool) -> int:
        if not isinstance(value, bytes):
            raise Misfit("a big integer (tag 2 or 3) holds bytes")
        if len(value) > self._integer_bytes + 1:
            bits, most = len(value) * 8, self.limits.integer_bits
            raise Misfit(f"an integer of {bits} bits, over the limit of {most}")
        number = int.from_bytes(value, "big")
        if negative:
            number = -1 - number
        self._check_integer(number)
        return number

    def _decimal(self, value: object) -> decimal.Decimal:
        if not (
            isinstance(value, (list, tuple))
            and len(value) == 2
            and all(type(part) is int for part in value)
        ):
            raise Misfit("a decimal (tag 4) holds [exponent, mantissa], two integers")
        exponent, mantissa = value
        self._check_exponent(exponent)
        bits = mantissa.bit_length()
        if bits > _DECIMAL_BITS:
            raise Misfit(f"a decimal of {bits} bits, over the limit of {_DECIMAL_BITS}")
        sign, digits, _ = decimal.Decimal(mantissa).as_tuple()
        return decimal.Decimal((sign, digits, exponent))

    def _read(self, data: bytes | memoryview, start: int, options: dict[str, Any]) -> int:
        """The position after the item at `start`, read with these options of cbor2 and dropped."""
        stream = BytesIO(data)
        stream.seek(start)
        try:
            cbor2.CBORDecoder(stream, max_depth=self._item_depth, **options).decode()
        except Exception as error:  # noqa: BLE001  whatever the bytes did, the sender is told
            words = reason(error)
            if "nesting depth" in words:  # cbor2 names its own count
                words = f"deeper than {self.limits.depth} levels"
            raise BadRequest(f"not CBOR that is accepted here: {words}") from None
        return stream.tell()

    def _explain(self, data: bytes | memoryview) -> NoReturn:
        """Say what is wrong with these bytes, from a second, slower reading of them alone."""
        if not data:
            raise BadRequest("empty where a CBOR item was expected")
        options = {
            "semantic_decoders": self._semantic,
            "tag_hook": _refuse_unknown,
            "allow_duplicate_keys": False,
        }
        left = len(data) - self._read(data, 0, options)
        raise BadRequest(f"{left} bytes after the CBOR item; send one item and nothing else")

    def _blame(self, value: Any, error: Exception) -> str:
        """Where and why encoding failed, from a thorough look at every member."""
        try:
            self.check(value, thorough=True)
        except Misfit as misfit:
            return str(misfit)
        except Exception as again:  # noqa: BLE001  user types may raise anything
            return reason(again)
        return reason(error)


def _heads_of_big_integers(size: int) -> tuple[bytes, ...]:
    """How integers of `size` bytes and more start, at least; text never holds these bytes."""
    first = 0x40 if size < 24 else 0x58 if size < 2**8 else 0x59 if size < 2**16 else 0x5A
    if first == 0x40:
        return (b"\xc2", b"\xc3")
    return tuple(bytes((tag, head)) for tag in (0xC2, 0xC3) for head in range(first, 0x5C))


def _date_time(value: object) -> datetime:
    parts = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if parts is None:
        raise Misfit("a date-time (tag 0) holds RFC 3339 text with Z or an offset")
    date, time, fraction, offset = parts.groups()
    # Written out in the one form that every Python reads alike.
    text = f"{date}T{time}.{(fraction or '')[:6]:0<6}{offset or '+00:00'}"
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise Misfit(f"a date-time (tag 0) that is none: {error}") from None


def _timestamp(value: object) -> datetime:
    if type(value) is not int and type(value) is not float:
        raise Misfit("a date-time (tag 1) holds a number of seconds")
    try:
        return datetime.fromtimestamp(value, timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise Misfit(f"a date-time (tag 1) out of range: {shown(value)} seconds") from None


def _uuid(value: object) -> uuid.UUID:
    if not isinstance(value, bytes) or len(value) != 16:
        raise Misfit("a UUID (tag 37) holds 16 bytes")
    return uuid.UUID(bytes=value)


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


def _encode_more(encoder: Any, value: Any) -> None:
    """What cbor2 asks about types it does not know: numpy's, and subclasses of what it knows."""
    if arrays.is_scalar(value):
        encoder.encode(value.item())
    elif arrays.is_array(value):
        shape, tag, content = arrays.to_tags(value)
        inner = content if tag is None else cbor2.CBORTag(tag, content)
        if len(shape) == 1 and tag is not None:
            encoder.encode(inner)
        else:
            encoder.encode(cbor2.CBORTag(arrays.MULTI_DIMENSIONAL, [list(shape), inner]))
    elif isinstance(value, datetime):
        encoder.encode_datetime(value)
    elif isinstance(value, decimal.Decimal):
        encoder.encode_decimal(value)
    elif isinstance(value, uuid.UUID):
        encoder.encode_uuid(value)
    else:  # a container of the user's that showed check() other members than cbor2
        raise Misfit(f"a value of type {type(value).__name__} is not accepted")
