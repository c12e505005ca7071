"""Whose fault it was, and the one table of what that means everywhere.

The rule of this file: a kind of error is defined here once, and its code on the wire, its HTTP and
gRPC status and the exit code of a command are columns of the same row. Nothing here imports
anything of ours; host, worker, client and doors all import this. It runs on Python 3.10, because
the worker may.

Codes follow HTTP numbers, as the NATS service convention asks (ADR-32, "Error Handling").
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any, NamedTuple


class Fault(str, Enum):
    """Who has to change something for the call to succeed."""

    CALLER = "caller"
    DISPATCH = "dispatch"
    PROVIDER = "provider"


class ExitCode(IntEnum):
    """How the commands end."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_STARTED = 3
    NO_ANSWER = 4


class Meaning(NamedTuple):
    """One row of the table: what a kind of error means to each protocol.

    Attributes:
        code: number on the wire and in the header Nats-Service-Error-Code, an HTTP number.
        fault: who has to act.
        grpc: name of the gRPC status code.
        exit_code: how a command that received it ends.
        says: the first words of an answer that has nothing better to say.
    """

    code: int
    fault: Fault
    grpc: str
    exit_code: ExitCode
    says: str

    @property
    def http(self) -> int:
        """HTTP status; the wire codes are HTTP numbers already."""
        return self.code


_CALLER, _DISPATCH, _PROVIDER = Fault.CALLER, Fault.DISPATCH, Fault.PROVIDER
_FAILED, _NO_ANSWER = ExitCode.FAILED, ExitCode.NO_ANSWER

KINDS: dict[str, Meaning] = {
    "bad_request": Meaning(400, _CALLER, "INVALID_ARGUMENT", _FAILED, "the request cannot be read"),
    "unauthorized": Meaning(403, _CALLER, "PERMISSION_DENIED", _FAILED, "not allowed"),
    "unknown_operation": Meaning(404, _CALLER, "UNIMPLEMENTED", _FAILED, "no such operation"),
    "too_large": Meaning(413, _CALLER, "RESOURCE_EXHAUSTED", _FAILED, "over a size limit"),
    "invalid_argument": Meaning(
        422, _CALLER, "INVALID_ARGUMENT", _FAILED, "the argument does not fit the operation"
    ),
    "overloaded": Meaning(429, _PROVIDER, "RESOURCE_EXHAUSTED", _FAILED, "the queue is full"),
    "cancelled": Meaning(499, _CALLER, "CANCELLED", _FAILED, "the caller gave up"),
    "handler_error": Meaning(500, _DISPATCH, "UNKNOWN", _FAILED, "the handler failed"),
    "bad_result": Meaning(500, _DISPATCH, "INTERNAL", _FAILED, "the result cannot travel"),
    "worker_lost": Meaning(500, _DISPATCH, "INTERNAL", _FAILED, "the worker process died"),
    "unavailable": Meaning(503, _PROVIDER, "UNAVAILABLE", _FAILED, "not serving"),
    "timeout": Meaning(504, _DISPATCH, "DEADLINE_EXCEEDED", _NO_ANSWER, "the deadline passed"),
}
"""The code table. Its documentation (docs/protocol.md) is checked against it by a test."""

CHOSEN_GRPC: dict[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    416: "OUT_OF_RANGE",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""The gRPC status of a code that a dispatch author chose; others are as `handler_error` is."""

ERROR_CODES = range(400, 600)
"""Codes an error may have: what HTTP calls errors."""

MAX_RETRY_MS = 2**53
"""Longest `retry_after_ms`."""

MAX_TEXT = 4096
"""Most characters of a message, class name or header text that leave the provider."""


class ProviderError(Exception):
    """Root of everything the provider raises on purpose."""


class StartError(ProviderError):
    """The provider cannot start, and the text says what to do about it. Ends in exit code 3."""


class CallError(ProviderError):
    """One call went wrong. The class says how, `fault` says who has to act.

    Raised by the client, and carried inside host and worker until it becomes an error answer.

    Args:
        message: what was wrong and what to do, for a person. At most `MAX_TEXT` characters travel.
        type: class name of the exception the handler raised, when it raised one.
        traceback: text of the handler's traceback, only where the provider was told to show it.
        retry_after_ms: milliseconds after which another try is sensible.
        code: number on the wire, when the dispatch author chose another than the kind's own.
        details: any value that can travel, given by the dispatch author.
    """

    kind = "handler_error"

    def __init__(
        self,
        message: str = "",
        *,
        type: str | None = None,  # noqa: A002  the name of the field on the wire
        traceback: str | None = None,
        retry_after_ms: int | None = None,
        code: int | None = None,
        details: Any = None,
    ) -> None:
        meaning = KINDS[self.kind]
        self.message = str(message) or meaning.says  # authors pass exceptions, too
        self.type = type
        self.traceback = traceback
        self.retry_after_ms = retry_after_ms
        self.code = meaning.code if code is None else code
        self.details = details
        super().__init__(self.message)

    @property
    def meaning(self) -> Meaning:
        """The row of the table for this error's kind."""
        return KINDS[self.kind]

    @property
    def fault(self) -> Fault:
        """Who has to act."""
        return self.meaning.fault

    @property
    def grpc(self) -> str:
        """Name of the gRPC status: that of the kind, or of the code its author chose."""
        if self.kind == CallError.kind:
            return CHOSEN_GRPC.get(self.code, self.meaning.grpc)
        return self.meaning.grpc

    def as_map(self) -> dict[str, Any]:
        """The `error` member of an answer: kind, code, message and what else is known."""
        fields: dict[str, Any] = {
            "kind": self.kind,
            "code": self.code,
            "message": clip(self.message),
        }
        if self.type is not None:
            fields["type"] = clip(self.type)
        if self.traceback is not None:
            fields["traceback"] = _utf8(self.traceback)
        if self.retry_after_ms is not None:
            fields["retry_after_ms"] = self.retry_after_ms
        if self.details is not None:
            fields["details"] = self.details
        return fields

    @staticmethod
    def from_map(fields: object) -> CallError:
        """The exception for the `error` member of an answer.

        An unknown kind, from a newer provider, becomes a plain CallError with the message kept.
        A field that is not what it should be is taken as absent: another service may have answered.
        """
        if not isinstance(fields, dict):
            return BadResult(
                f"the provider sent an error that is not a map but {type(fields).__name__}"
            )
        kind, message = fields.get("kind"), fields.get("message")
        cls = BY_KIND.get(kind, CallError) if isinstance(kind, str) else CallError
        name, traceback = fields.get("type"), fields.get("traceback")
        retry, code = fields.get("retry_after_ms"), fields.get("code")
        return cls(
            message if isinstance(message, str) else "",
            type=name if isinstance(name, str) else None,
            traceback=traceback if isinstance(traceback, str) else None,
            retry_after_ms=retry if type(retry) is int and 0 <= retry <= MAX_RETRY_MS else None,
            code=code if type(code) is int and code in ERROR_CODES else None,
            details=fields.get("details"),
        )


class BadRequest(CallError):
    """Undecodable, trailing bytes, a refused tag, a wrong shape."""

    kind = "bad_request"


class Unauthorized(CallError):
    """Claims, issuer, link or permission refused."""

    kind = "unauthorized"


class UnknownOperation(CallError):
    """No such operation, where operations are declared."""

    kind = "unknown_operation"


class TooLarge(CallError):
    """Over a limit; the message names both sizes."""

    kind = "too_large"


class InvalidArgument(CallError):
    """The argument does not fit the operation's declared types."""

    kind = "invalid_argument"


class Overloaded(CallError):
    """The queue is full; `retry_after_ms` says when to try again."""

    kind = "overloaded"


class Cancelled(CallError):
    """The caller gave up."""

    kind = "cancelled"


class HandlerError(CallError):
    """`handle` raised, or tried to end the interpreter."""

    kind = "handler_error"


class BadResult(CallError):
    """The result of `handle` cannot travel; the message names the path inside it."""

    kind = "bad_result"


class WorkerLost(CallError):
    """The worker process died while it ran the call."""

    kind = "worker_lost"


class Unavailable(CallError):
    """Nothing is loaded, nobody listens, or the provider is draining."""

    kind = "unavailable"


class CallTimeout(CallError):
    """The deadline passed; the message says whether the call was waiting or running."""

    kind = "timeout"


BY_KIND: dict[str, type[CallError]] = {
    cls.kind: cls
    for cls in (
        BadRequest,
        Unauthorized,
        UnknownOperation,
        TooLarge,
        InvalidArgument,
        Overloaded,
        Cancelled,
        HandlerError,
        BadResult,
        WorkerLost,
        Unavailable,
        CallTimeout,
    )
}
"""The exception class of each kind."""


def clip(text: str, most: int = MAX_TEXT) -> str:
    """The text without lone surrogates, and cut to `most` characters with the number cut named."""
    text = _utf8(text)
    if len(text) <= most:
        return text
    return f"{text[:most]}... ({len(text) - most} more characters)"


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
