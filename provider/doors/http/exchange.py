"""One request and its answer, as all of the door sees them.

The rule of this file: the body is read once and within its limits, and an answer is begun once;
each carries the id of the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider.doors.http.problems import PROBLEM, document, headers_of, status_of
from provider.doors.request_id import request_id
from provider.errors import BadRequest, CallError, Overloaded, TooLarge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from provider.doors.http.options import HttpOptions
    from provider.doors.http.problems import Headers

    Message = MutableMapping[str, Any]
    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

AT_ONCE = "provider.answer"
"""The extension of ASGI with which a whole answer is sent in one write, `Connection.answer`."""
CYCLE = "provider.cycle"
"""The extension of ASGI that knows whether the client has gone, uvicorn's cycle."""
REQUEST_ID = b"x-request-id"


class Gone(Exception):
    """The client has gone; nobody is answered."""


class Numbers:
    """How requests went.

    Attributes:
        open: requests that are being answered.
        bodies: bytes of the bodies that are being read.
        answers: requests answered, by status.
    """

    __slots__ = ("answers", "bodies", "open")

    def __init__(self) -> None:
        self.open = 0
        self.bodies = 0
        self.answers: dict[int, int] = {}


class Exchange:
    """A request and its answer.

    Args:
        scope: of ASGI.
        receive: of ASGI.
        send: of ASGI.
        options: its limits.
        numbers: where it is counted.
    """

    __slots__ = (
        "_at_once",
        "_cycle",
        "_numbers",
        "_receive",
        "_send",
        "headers",
        "id",
        "method",
        "more",
        "options",
        "raw_path",
        "scope",
        "started",
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, options: HttpOptions, numbers: Numbers
    ) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._at_once: Callable[[int, Headers, bytes], bool] = scope["extensions"][AT_ONCE]
        self._cycle: Any = scope["extensions"][CYCLE]
        self.options = options
        self._numbers = numbers
        self.method: str = scope["method"]
        self.raw_path: bytes = scope["raw_path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        """By name in lower case; of several of one name the last."""
        self.id = request_id(self.headers.get(REQUEST_ID))
        self.more: Headers = []
        """Headers of every answer, whatever it is."""
        self.started = False
        """Whether an answer was begun."""

    async def body(self) -> bytes:
        """All of the body.

        Raises:
            TooLarge: over the limit.
            Overloaded: too many bodies are being read.
            Gone: the client has gone.
        """
        most = self.options.max_body
        length = self.headers.get(b"content-length")
        if length is not None and int(length) > most:  # the parser saw to it that it is a number
            raise self._too_large(f"{int(length)} bytes")
        message = await self._receive()
        if message["type"] != "http.request":
            raise Gone
        data: bytes = message["body"]
        if message["more_body"]:
            data = await self._rest(data)
        if len(data) > most:
            raise self._too_large(f"more than {most} bytes")
        return data

    async def _rest(self, data: bytes) -> bytes:
        numbers, options = self._numbers, self.options
        parts, size, more = [data], len(data), True
        numbers.bodies += size
        try:
            while more:
                if size > options.max_body:
                    raise self._too_large(f"more than {options.max_body} bytes")
                if numbers.bodies > options.max_bodies:
                    raise Overloaded(
                        f"the bodies that are being read have {numbers.bodies} bytes together "
                        "(PROVIDER_QUEUE_BYTES)",
                        retry_after_ms=1000,
                    )
                message = await self._receive()
                if message["type"] != "http.request":
                    raise Gone
                parts.append(message["body"])
                size += len(parts[-1])
                numbers.bodies += len(parts[-1])
                more = message["more_body"]
        finally:
            numbers.bodies -= size
        return b"".join(parts)

    def _too_large(self, size: str) -> TooLarge:
        return TooLarge(
            f"the body has {size}; this provider takes {self.options.max_body} "
            "(PROVIDER_HTTP_MAX_BODY)"
        )

    async def respond(self, status: int, body: bytes, headers: Headers) -> None:
        """Answer at once.

        Args:
            status: of HTTP.
            body: all of it.
            headers: beside the length and the id.
        """
        headers = [
            *headers,
            (b"content-length", b"%d" % len(body)),
            (REQUEST_ID, self.id.encode()),
            *self.more,
        ]
        self._count(status)
        if not self._at_once(status, headers, body):
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
            await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def begin(self, status: int, headers: Headers) -> None:
        """Begin an answer whose body comes in parts."""
        self._count(status)
        headers = [*headers, (REQUEST_ID, self.id.encode()), *self.more]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def _count(self, status: int) -> None:
        self.started = True
        answers = self._numbers.answers
        answers[status] = answers.get(status, 0) + 1

    async def part(self, data: bytes, *, last: bool = False) -> None:
        """Send a part of the body; waits for a client who is slow.

        Raises:
            Gone: the client has gone. His request was cancelled then, but that is lost where what
                was waited for came at the same moment (`asyncio.wait_for` before Python 3.12).
        """
        if self._cycle.disconnected:
            raise Gone
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    async def fail(self, error: CallError) -> None:
        """Answer with an error."""
        status, headers, body = self.problem(error)
        await self.respond(status, body, headers)

    def problem(self, error: CallError) -> tuple[int, Headers, bytes]:
        """Status, headers and body of the answer to an error."""
        body = document(error, self.id, tracebacks=self.options.tracebacks)
        headers = [(b"content-type", PROBLEM), (b"cache-control", b"no-store")]
        return status_of(error), headers + headers_of(error), body

    async def pass_on(self, message: Message) -> None:
        """Send a message of another application, with the headers every answer has."""
        if message["type"] == "http.response.start":
            await self.begin(message["status"], list(message["headers"]))
        else:
            await self._send(message)

    def timeout(self) -> float | None:
        """Seconds the caller waits, None when he did not say.

        Raises:
            BadRequest: the header cannot be read.
        """
        text = self.headers.get(b"provider-timeout-ms")
        if text is None:
            return None
        if not (text.isdigit() and len(text) < 16 and int(text) > 0):
            raise BadRequest(
                f"Provider-Timeout-Ms is {text.decode('latin-1')!r:.50}; "
                "it must be a positive integer"
            )
        return int(text) / 1000
