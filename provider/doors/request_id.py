"""The id of a request, in logs, in the context of functions and in the answer.

The rule of this file: what a caller sends is printable and short once it is taken; a request
without an id gets one that no other one of this process, and hardly one of another, has.
"""

from __future__ import annotations

import itertools
import re
import secrets

LONGEST = 128
"""Characters of a request id."""

_ids = itertools.count(1)
_ours = secrets.token_hex(6)
_UNFIT = re.compile(rb"[^!-~]+")


def request_id(given: bytes | None) -> str:
    """The id of a request: what its caller gave, in a form fit for logs and headers, or a new one.

    Args:
        given: what came, None when nothing did.
    """
    if given:
        kept = _UNFIT.sub(b"", given)[:LONGEST]
        if kept:
            return kept.decode("ascii")
    return f"{_ours}-{next(_ids):x}"
