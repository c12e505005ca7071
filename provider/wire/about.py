"""What is known of a call beside its argument: who makes it, and which trace it belongs to.

The rule of this file: what comes from outside is taken only if it has the right form, and left out
otherwise; a call is never refused for its trace. Trace context is that of W3C Trace Context
(https://www.w3.org/TR/trace-context/): `traceparent` of version 00 or later, `tracestate` of at
most 512 characters. Header names are compared as NATS does, in lower case only.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import cbor2

if TYPE_CHECKING:
    from collections.abc import Mapping

TRACEPARENT, TRACESTATE, CALLER = "traceparent", "tracestate", "caller"

_PARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,200})?"
)
_STATE = re.compile(r"[ -~]{1,512}")


def trace_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The trace context among headers, empty when there is none.

    Args:
        headers: of a NATS message, or the `traceContext` of an invocation.
    """
    parent = headers.get(TRACEPARENT)
    if not isinstance(parent, str) or not _PARENT.fullmatch(parent):
        return {}
    if parent.startswith("00-") and len(parent) != 55:
        return {}  # only later versions may have more at the end
    trace = {TRACEPARENT: parent}
    state = headers.get(TRACESTATE)
    if isinstance(state, str) and _STATE.fullmatch(state):
        trace[TRACESTATE] = state
    return trace


def write_about(trace: Mapping[str, str], caller: str = "") -> bytes:
    """The map as it travels to the worker; nothing at all when nothing is known.

    Args:
        trace: as `trace_of` has it.
        caller: who makes the call, empty when nobody vouches for it.
    """
    if not trace and not caller:
        return b""
    return cbor2.dumps({**trace, CALLER: caller} if caller else dict(trace))


def read_about(data: bytes) -> dict[str, str]:
    """The map that `write_about` wrote."""
    about: dict[str, str] = cbor2.loads(data) if data else {}
    return about
