"""Values and their strict CBOR: what may be an argument or a result.

The rule of this file: encoding and decoding proper is cbor2's (RFC 8949); on top of it stand the
rules (`rules`), the tags (`tags`), and not one byte after the item, because all bytes from outside
are hostile. Values are integers of any size, floats, booleans, None, text, bytes, lists, maps with
text keys; date-times (tags 0 and 1), decimals (tag 4), UUIDs (tag 37) and typed arrays (RFC 8746,
`arrays`). Runs on Python 3.10, because the worker may.
"""

from __future__ import annotations

import decimal
import os
import struct
import uuid
from datetime import datetime
from io import BytesIO
from typing import Any, NoReturn

import cbor2

from provider.errors import BadRequest, BadResult
from provider.wire import arrays, tags
from provider.wire.rules import Limits, Misfit, Rules, reason, shown

__all__ = ["LONG", "Limits", "Misfit", "Values", "reason", "shown"]


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
        rules = Rules(self.limits)
        self.check = rules.check
        """As `Rules.check`."""
        self._semantic = tags.decoders(rules)
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
                tag_hook=tags.refuse_unknown,
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
        return self._read(data, start, tags.SKIPPED)

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
            "tag_hook": tags.refuse_unknown,
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
