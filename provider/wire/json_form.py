"""The JSON form of values, for callers whose tools speak JSON.

The rule of this file: the same values as in `values`, under the same limits; what JSON has no type
for takes the form protobuf's JSON mapping gave it. Bytes are base64 text, date-times RFC 3339 text,
UUIDs and decimals text, arrays nested lists, NaN and the infinities the texts "NaN", "Infinity" and
"-Infinity". Integers stay numbers whatever their size (RFC 8259 leaves precision to the reader).
"""

from __future__ import annotations

import base64
import decimal
import functools
import json
import math
import re
import uuid
from collections import Counter
from datetime import datetime
from typing import Any, NoReturn

from provider.errors import BadRequest, BadResult
from provider.wire import arrays
from provider.wire.values import Misfit, Values, reason, shown


def decode(data: bytes, values: Values) -> Any:
    """The value of a JSON text (RFC 8259), UTF-8 only, no NaN literals, no duplicate keys.

    Raises:
        BadRequest: not JSON, or over a limit of `values`.
    """
    data = bytes(data)  # a large payload may be a view
    try:
        value = _decoder().decode(data.decode("utf-8"))
        values.check(value, thorough=_needs_thorough_check(data, values))
    except UnicodeDecodeError as error:
        raise BadRequest(f"not JSON: not UTF-8 at byte {error.start}") from None
    except RecursionError:
        levels = values.limits.depth
        raise BadRequest(f"not JSON that is accepted here: deeper than {levels} levels") from None
    except ValueError as error:
        raise BadRequest(f"not JSON: {error}") from None
    except Misfit as misfit:
        raise BadRequest(f"not JSON that is accepted here: {misfit}") from None
    return value


def _needs_thorough_check(data: bytes, values: Values) -> bool:
    # Besides what CBOR can hide, escapes may write half a character, and plain digits a number of
    # any size: each digit takes more than three bits.
    digits = values.limits.integer_bits // 4
    return (
        len(data) > values.smallest
        or b"\\u" in data
        or (len(data) > digits and re.search(rb"[0-9]{%d}" % digits, data) is not None)
    )


def encode(value: Any, values: Values) -> bytes:
    """The JSON text of a result.

    Raises:
        BadResult: as `Values.encode`.
    """
    # CBOR's rules are the rules for results; encoding once tells, and answers for odd subclasses.
    values.encode(value)
    try:
        try:
            text = _encoder().encode(value)
        except ValueError:
            text = _encoder().encode(_spell_out(value))
        return text.encode("utf-8")
    except Exception as error:  # noqa: BLE001  user types may raise anything while encoded
        raise BadResult(f"the result cannot travel as JSON: {reason(error)}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"duplicate key {shown(twice, 100)}")
    return members


def _form(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return "NaN" if value.is_nan() else str(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if arrays.is_array(value):
        return _spell_out(value.tolist())
    if arrays.is_scalar(value):
        return _spell_out(value.item())
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


def _spell_out(value: Any) -> Any:
    """The value with NaN and the infinities as text.

    Raises:
        Misfit: an integer has more digits than Python writes; with its path.
    """
    step: Any = None
    try:
        if isinstance(value, dict):
            members = {}
            for step, member in value.items():
                members[step] = _spell_out(member)
            return members
        if isinstance(value, (list, tuple)):
            items = []
            for step, member in enumerate(value):  # noqa: B007  step is for the path
                items.append(_spell_out(member))
            return items
    except Misfit as misfit:
        misfit.path.append(f"[{shown(step)}]")
        raise
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int):
        try:
            int.__repr__(value)
        except ValueError as error:
            raise Misfit(str(error)) from None
    return value


# Made when the first caller speaks JSON, for most never do.
@functools.cache
def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_unique)


@functools.cache
def _encoder() -> json.JSONEncoder:
    return json.JSONEncoder(
        default=_form, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
