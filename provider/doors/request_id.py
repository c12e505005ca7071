"""The id of a request, in logs, in the context of functions and in the answer.

The rule of this file: what a caller sends is printable and short once it is taken; a request
without an id gets one that no other one of this process, and hardly one of another, has.
"""

from __future__ import annotations

import itertools
import secrets

LONGEST = 128
"""Characters that are taken of a caller's id."""

_ours = secrets.token_hex(6)
_numbers = itertools.count(1)


def request_id(given: str | None) -> str:
    """The id of a request.

    Args:
        given: what the caller sent, None for nothing.
    """
    if given:
        printable = "".join(char for char in given[: 4 * LONGEST] if "!" <= char <= "~")
        if printable:
            return printable[:LONGEST]
    return f"{_ours}-{next(_numbers):x}"
