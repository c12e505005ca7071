"""Durations and sizes as people write them.

The rule of this file: what is written is read back exactly. Settings and the flags of commands read
through here, so `1h30m` means the same everywhere.
"""

from __future__ import annotations

import re
from decimal import Decimal

DURATION = "a duration such as 500ms, 60s, 2m or 1h30m (a bare number is seconds)"
"""What an error asks for where no duration was given."""

SIZE = "a size such as 64KiB, 1MiB or 10MB (a bare number is bytes)"
"""What an error asks for where no size was given."""

_SECONDS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)\s*")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_LONGEST = 366 * 86400
_MOST_TEXT = 1000
"""Characters of what may be a duration; to look for its parts in much text takes long."""

_BINARY = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}
_DECIMAL = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "KB": 10**3}
_BYTES = {unit.lower(): size for unit, size in {**_BINARY, **_DECIMAL, "B": 1}.items()}
_SIZE_PARTS = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)")
_LARGEST = 1 << 50


def parse_duration(value: object) -> float:
    """Seconds from `1h30m`, `500ms`, `2m` or a bare number of seconds.

    Raises:
        ValueError: it is none of these, negative, or longer than 366 days.
    """
    text = _number_text(value)
    if len(text) > _MOST_TEXT:
        raise ValueError(DURATION)
    if _NUMBER.fullmatch(text):
        seconds = Decimal(text)
    else:
        parts = _DURATION_PART.findall(text)
        if not parts or _DURATION_PART.sub("", text):
            raise ValueError(DURATION)
        seconds = sum((Decimal(number) * _SECONDS[unit] for number, unit in parts), Decimal(0))
    if seconds > _LONGEST:
        raise ValueError("a duration of at most 366d")
    return float(seconds)


def format_duration(seconds: float) -> str:
    """The shortest usual way to write so many seconds; `parse_duration` reads it back exactly."""
    # Decimals, because 5400.1 - 5400 is not 0.1 in floats and the text would not read back.
    left = Decimal(repr(seconds))
    if not left:
        return "0"
    if left < 1:
        return f"{_plain(left * 1000)}ms"
    if left < 120:
        return f"{_plain(left)}s"
    text = ""
    for unit in ("h", "m"):
        count, left = divmod(left, _SECONDS[unit])
        text += f"{_plain(count)}{unit}" if count else ""
    return text + (f"{_plain(left)}s" if left else "")


def parse_size(value: object) -> int:
    """Bytes from `64KiB` (powers of 1024), `10MB` (powers of 1000) or a bare number of bytes.

    Raises:
        ValueError: it is none of these, not a whole number of bytes, or above 1024TiB.
    """
    match = _SIZE_PARTS.fullmatch(_number_text(value).lower())
    if match is None or (match[2] and match[2] not in _BYTES):
        raise ValueError(SIZE)
    size = Decimal(match[1]) * _BYTES[match[2] or "b"]
    if size > _LARGEST:
        raise ValueError("a size of at most 1024TiB")
    if size != int(size):
        raise ValueError("a whole number of bytes")
    return int(size)


def format_size(size: int) -> str:
    """The largest unit that divides it exactly, powers of 1024 first; else plain bytes."""
    for units in (_BINARY, _DECIMAL):
        for unit, bytes_ in units.items():
            if size and size % bytes_ == 0:
                return f"{size // bytes_}{unit}"
    return str(size)


def _number_text(value: object) -> str:
    if isinstance(value, float):
        # 0.00001 would be 1e-05 otherwise.
        return _plain(Decimal(repr(value)))
    return str(value).strip() if isinstance(value, str | int) else ""


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
