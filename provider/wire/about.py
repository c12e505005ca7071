"""What is known of a call beside its argument: who makes it, its trace, its id and its headers.

The rule of this file: what comes from outside is taken only if it has the right form, and left out
otherwise; a call is never refused for its trace. Trace context is that of W3C Trace Context
(https://www.w3.org/TR/trace-context/): `traceparent` of version 00 or later, `tracestate` of at
most 512 characters. Header names are compared as NATS does, in lower case only. Id and headers go
along only where the program asks for them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import cbor2

if TYPE_CHECKING:
    from collections.abc import Mapping

TRACEPARENT, TRACESTATE, CALLER = "traceparent", "tracestate", "caller"
ID, HEADERS = "id", "headers"
MOST_HEADERS = 64
"""Headers that are passed on."""
MOST_OF_HEADERS = 8 * 1024
"""Characters of names and values that are passed on; headers that do not fit are left out."""

# Texts, not patterns: to make one takes longer than all else of this file, where a worker starts.
_PARENT = (
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,200})?"
)
_STATE = r"[ -~]{1,512}"


def trace_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The trace context among headers, empty when there is none.

    Args:
        headers: of a NATS message, or the `traceContext` of an invocation.
    """
    parent = headers.get(TRACEPARENT)
    if not isinstance(parent, str) or not re.fullmatch(_PARENT, parent):
        return {}
    if parent.startswith("00-") and len(parent) != 55:
        return {}  # only later versions may have more at the end
    trace = {TRACEPARENT: parent}
    state = headers.get(TRACESTATE)
    if isinstance(state, str) and re.fullmatch(_STATE, state):
        trace[TRACESTATE] = state
    return trace


def write_about(
    trace: Mapping[str, str],
    caller: str = "",
    *,
    id: str = "",  # noqa: A002  what callers call it
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The map as it travels to the worker; nothing at all when nothing is known.

    Args:
        trace: as `trace_of` has it.
        caller: who makes the call, empty when nobody vouches for it.
        id: that the caller gave the call, empty for none.
        headers: of its message, where the program asks for them.
    """
    about: dict[str, Any] = dict(trace)
    if caller:
        about[CALLER] = caller
    if id:
        about[ID] = id
    if headers:
        about[HEADERS] = _bounded(headers)
    return cbor2.dumps(about) if about else b""


def read_about(data: bytes) -> dict[str, Any]:
    """The map that `write_about` wrote: text, and a map of text under `headers`."""
    about: dict[str, Any] = cbor2.loads(data) if data else {}
    return about


def _bounded(headers: Mapping[str, str]) -> dict[str, str]:
    passed: dict[str, str] = {}
    left = MOST_OF_HEADERS
    for name, value in headers.items():
        size = len(name) + len(value)
        if size <= left and len(passed) < MOST_HEADERS:
            # What is no text in UTF-8 was read with surrogates, which cannot travel.
            passed[_text(name)] = _text(value)
            left -= size
    return passed


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
