"""What the tags of CBOR items mean (RFC 8949 section 3.4), as far as they are read.

The rule of this file: a tag is read or refused by name; none makes an object by surprise. What is
in it is checked before anything is made of it.
"""

from __future__ import annotations

import decimal
import re
import uuid
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NoReturn

from provider.wire import arrays
from provider.wire.rules import Misfit, shown

if TYPE_CHECKING:
    from provider.wire.rules import Rules

_DECIMAL_BITS = 14_285
"""Bits of as many digits as a decimal may have."""
_RFC3339 = (
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]((?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2})"
    r"(?:\.([0-9]+))?(?:[Zz]|([+-](?:[01][0-9]|2[0-3]):[0-5][0-9]))"
)


def _refuse(name: str) -> Any:
    def refuse(_value: object, _immutable: bool) -> NoReturn:
        raise Misfit(f"{name} is not accepted")

    return refuse


def refuse_unknown(tag: Any, _immutable: bool) -> NoReturn:
    """What cbor2 is to call with any other tag.

    Raises:
        Misfit: always.
    """
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

SKIPPED: dict[str, Any] = {
    "semantic_decoders": {
        tag: lambda _value, _immutable: None for tag in (0, 1, 2, 3, 4, 37, *_REFUSED)
    },
    "tag_hook": lambda _tag, _immutable: None,
}
"""How an item is read that is dropped afterwards: no tag means anything, not even a refused one,
and no array needs numpy."""


def decoders(rules: Rules) -> dict[int, Any]:
    """By tag, what cbor2 is to call with what is in it.

    Args:
        rules: for what is read.
    """
    made: dict[int, Any] = {tag: _refuse(name) for tag, name in _REFUSED.items()}
    made[0] = lambda value, _: _date_time(value)
    made[1] = lambda value, _: _timestamp(value)
    made[2] = lambda value, _: _integer(rules, value, negative=False)
    made[3] = lambda value, _: _integer(rules, value, negative=True)
    made[4] = lambda value, _: _decimal(rules, value)
    made[37] = lambda value, _: _uuid(value)
    for tag in arrays.DTYPES:
        made[tag] = lambda value, _, tag=tag: arrays.from_tag(tag, value)
    made[arrays.MULTI_DIMENSIONAL] = lambda value, _: arrays.from_shaped(value)
    return made


def _integer(rules: Rules, value: object, *, negative: bool) -> int:
    if not isinstance(value, bytes):
        raise Misfit("a big integer (tag 2 or 3) holds bytes")
    if len(value) > rules.limits.integer_bits // 8 + 1:
        bits, most = len(value) * 8, rules.limits.integer_bits
        raise Misfit(f"an integer of {bits} bits, over the limit of {most}")
    number = int.from_bytes(value, "big")
    if negative:
        number = -1 - number
    rules.check_integer(number)
    return number


def _decimal(rules: Rules, value: object) -> decimal.Decimal:
    if not (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(type(part) is int for part in value)
    ):
        raise Misfit("a decimal (tag 4) holds [exponent, mantissa], two integers")
    exponent, mantissa = value
    rules.check_exponent(exponent)
    bits = mantissa.bit_length()
    if bits > _DECIMAL_BITS:
        raise Misfit(f"a decimal of {bits} bits, over the limit of {_DECIMAL_BITS}")
    sign, digits, _ = decimal.Decimal(mantissa).as_tuple()
    return decimal.Decimal((sign, digits, exponent))


def _date_time(value: object) -> datetime:
    parts = re.fullmatch(_RFC3339, value) if isinstance(value, str) else None
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
