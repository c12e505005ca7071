"""Errors as problem documents (RFC 9457), with their status and headers.

The rule of this file: whatever goes wrong is a `CallError`, its code is the status, and no answer
of the door is anything but JSON then. What HTTP alone knows is a kind of the one table with a code
of its own: a method that does not fit is a `bad_request` with 405.
"""

from __future__ import annotations

from http import HTTPStatus

from provider.errors import BadRequest, BadResult, CallError, TooLarge, Unauthorized, clip
from provider.wire import json_form
from provider.wire.values import Limits, Values

PROBLEM = b"application/problem+json"
MOST_DETAIL = 4096

Headers = list[tuple[bytes, bytes]]

_PLAIN = Values(Limits())


class MethodNotAllowed(BadRequest):
    """The path is there, the method is not.

    Args:
        message: for a person.
        allowed: methods that are.
    """

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message, code=405)
        self.allowed = allowed


def unspoken(message: str) -> BadRequest:
    """The content type of a request is none that is read here: 415."""
    return BadRequest(message, code=415)


def unacceptable(message: str) -> BadRequest:
    """What the caller accepts is nothing that is written here: 406."""
    return BadRequest(message, code=406)


def too_slow(message: str) -> BadRequest:
    """The request did not come in time: 408."""
    return BadRequest(message, code=408)


def head_too_large(message: str) -> TooLarge:
    """The request line and its headers are over their limit: 431."""
    return TooLarge(message, code=431)


def not_identified(message: str) -> Unauthorized:
    """The caller did not say who he is, or not truly: 401."""
    return Unauthorized(message, code=401)


def failed() -> CallError:
    """It is our own fault, of which callers are told nothing: 500."""
    return CallError("the provider failed; its log says more")


def status_of(error: CallError) -> int:
    """The HTTP status of an error: its own code, which its author may have chosen."""
    return error.code


def document(error: CallError, request_id: str, *, tracebacks: bool) -> bytes:
    """The problem document.

    Args:
        error: what went wrong.
        request_id: of the request, empty for none.
        tracebacks: whether callers are shown the traceback of a function.
    """
    fields = error.as_map()
    told = {
        "type": "about:blank",
        "title": _phrase(error.code),
        "status": error.code,
        "detail": fields["message"],
        "kind": error.kind,
        "code": error.code,
    }
    if request_id:
        told["request_id"] = request_id
    if "type" in fields:
        told["exception"] = fields["type"]
    if tracebacks and "traceback" in fields:
        told["traceback"] = fields["traceback"]
    for name in ("retry_after_ms", "details"):
        if name in fields:
            told[name] = fields[name]
    try:
        return json_form.encode(told, _PLAIN)
    except BadResult as problem:  # an answer there must be; only details can be unfit
        del told["details"]
        told["detail"] = clip(
            f"{told['detail']} (its details are left out: {problem.message})", MOST_DETAIL
        )
        return json_form.encode(told, _PLAIN)


def headers_of(error: CallError) -> Headers:
    """The headers that belong to an error, the content type not among them."""
    headers: Headers = []
    if error.retry_after_ms is not None:
        headers.append((b"retry-after", b"%d" % -(-error.retry_after_ms // 1000)))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode("latin-1", "replace")))
    if isinstance(error, Unauthorized) and error.code == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b'Bearer realm="provider"'))
    return headers


def raw_answer(error: CallError) -> bytes:
    """A whole answer, for a request that never became one; the connection ends with it."""
    body = document(error, "", tracebacks=False)
    lines = [
        b"HTTP/1.1 %d %s" % (error.code, _phrase(error.code).encode()),
        b"content-type: " + PROBLEM,
        b"content-length: %d" % len(body),
        *(name + b": " + value for name, value in headers_of(error)),
        b"connection: close",
        b"",
        body,
    ]
    return b"\r\n".join(lines)


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "Client Closed Request" if code == 499 else "Error"
