"""How far a call says it is: the body of a PROGRESS frame.

The rule of this file: what it holds is small and plain, whoever wrote it: two finite numbers and a
short text. The worker checks what a function says, and the host what a worker says. Pure functions.
"""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any

import cbor2

from provider.wire.frames import FrameError

MOST_NOTE = 200
"""Characters of a note; longer ones are cut."""
MOST_BODY = 1024
"""Bytes of a body."""
LARGEST = 2**63
"""No number is as large; every reader of CBOR and JSON has room for those below."""

Advance = dict[str, Any]
"""A map of `done`, `total` (None where it is not known) and `note`."""


def advance(done: Any, total: Any = None, note: Any = "") -> Advance:
    """The map that says so.

    Args:
        done: how much is done, in a unit of the function's own.
        total: how much there is to do, None where that is not known.
        note: what is being done, for a person.

    Raises:
        TypeError: something is no number, or no text.
        ValueError: a number is not finite, or beyond 2**63.
    """
    if not isinstance(note, str):
        raise TypeError(f"note is {type(note).__name__}; it must be text")
    return {
        "done": _number("done", done),
        "total": None if total is None else _number("total", total),
        "note": note[:MOST_NOTE].encode("utf-8", "replace").decode(),
    }


def write_advance(told: Advance) -> bytes:
    """The body of a frame."""
    return cbor2.dumps(told)


def read_advance(body: bytes) -> Advance:
    """The map in a body.

    Raises:
        FrameError: it says nothing of the kind.
    """
    try:
        if len(body) > MOST_BODY:
            raise ValueError(f"it has {len(body)} bytes")  # noqa: TRY301  one account of all
        told = cbor2.loads(body)
        return advance(told["done"], told["total"], told["note"])
    except Exception as error:  # noqa: BLE001  whatever the bytes did
        raise FrameError(f"no progress: {error!r:.200}") from None


def _number(name: str, value: Any) -> int | float:
    if isinstance(value, bool):
        raise TypeError(f"{name} is a boolean; it must be a number")
    number: int | float
    if hasattr(value, "__index__"):
        number = operator.index(value)
    elif isinstance(value, Real):
        number = float(value)
    else:
        raise TypeError(f"{name} is {type(value).__name__}; it must be a number")
    if not (math.isfinite(number) and abs(number) < LARGEST):
        raise ValueError(f"{name} is {number!r:.50}; it must be finite, and below 2**63")
    return number
