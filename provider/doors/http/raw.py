"""Routes declared with `http_raw=True`: the whole request as a map, and the whole answer.

The rule of this file: what a function says is sent as it says it, except for what would break the
connection or make two answers of one; then the caller hears `bad_result` and the author reads why.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from provider.errors import BadResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provider.doors.http.problems import Headers

MOST_HEADERS = 200
"""Headers of an answer."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,8192}")
_OURS = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers of the connection, which is not the function's (RFC 9110 section 7.6.1)."""
_KEYS = frozenset({"status", "headers", "body"})


def request_map(
    method: str,
    path: str,
    query: Sequence[tuple[str, str]],
    headers: Iterable[tuple[bytes, bytes]],
    body: bytes,
    variables: Mapping[str, str],
) -> dict[str, Any]:
    """The request, as a function is given it.

    Args:
        method: of the request.
        path: percent-decoded.
        query: fields in their order.
        headers: in their order, names in lower case.
        body: as it came.
        variables: of the path.
    """
    return {
        "method": method,
        "path": path,
        "query": [list(field) for field in query],
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers],
        "body": body,
        "variables": dict(variables),
    }


def read_answer(told: Any) -> tuple[int, Headers, bytes]:
    """Status, headers and body of what a function returned.

    Args:
        told: its result.

    Raises:
        BadResult: it is no answer.
    """
    if not isinstance(told, dict):
        raise _bad(f"it is {type(told).__name__}; expected a map with status, headers and body")
    strange = [key for key in told if key not in _KEYS]
    if strange:
        raise _bad(f"it has {strange[0]!r:.60}; expected only status, headers and body")
    status, body = told.get("status", 200), told.get("body", b"")
    if type(status) is not int or not 200 <= status <= 599:
        raise _bad(f"status is {status!r:.60}; expected an integer from 200 to 599")
    if isinstance(body, str):
        body = body.encode("utf-8", "replace")
    if body is None:
        body = b""
    if not isinstance(body, bytes):
        raise _bad(f"body is {type(body).__name__}; expected bytes or text")
    headers: Headers = []
    for name, value in _pairs(told.get("headers")):
        lower = name.lower()
        if lower in _OURS:
            raise _bad(f"the header {name!r:.60} is that of the connection; leave it out")
        # The length is counted.
        if lower != "content-length":
            headers.append((lower.encode("ascii"), value.encode("latin-1")))
    if status in (204, 205, 304) and body:
        raise _bad(f"an answer with status {status} has no body")
    return status, headers, body


def _pairs(told: Any) -> list[tuple[str, str]]:
    if told is None:
        return []
    if isinstance(told, dict):
        told = [[name, value] for name, value in told.items()]
    if not isinstance(told, list) or any(
        not isinstance(pair, list) or len(pair) != 2 for pair in told
    ):
        raise _bad("headers are no map, and no list of pairs of name and value")
    if len(told) > MOST_HEADERS:
        raise _bad(f"it has {len(told)} headers, more than {MOST_HEADERS}")
    pairs = []
    for name, value in told:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _bad(f"the header {name!r:.60} has a name that is none")
        text = str(value) if type(value) is int else value
        if not isinstance(text, str) or not _VALUE.fullmatch(text):
            raise _bad(
                f"the header {name} has a value that cannot be sent: {value!r:.60}; line breaks, "
                "control characters and what is not Latin-1 have to be left out or encoded"
            )
        pairs.append((name, text.strip()))
    return pairs


def _bad(reason: str) -> BadResult:
    return BadResult(f"the answer of a route with http_raw=True cannot be sent: {reason}")
