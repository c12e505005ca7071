"""`POST /call/{operation}`: the body is the argument, the answer is the result.

The rule of this file: the way of a plain JSON call is short. Its bytes go to the worker as they
came and come back as the worker wrote them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from provider.doors.backend import HttpCall
from provider.doors.http import bodies
from provider.doors.http.bodies import CBOR, EVENTS, JSON, LINES
from provider.doors.http.events import stream
from provider.doors.http.problems import MethodNotAllowed
from provider.errors import BadRequest, UnknownOperation
from provider.wire.about import TRACEPARENT
from provider.wire.envelope import check_operation
from provider.wire.frames import Encoding
from provider.wire.values import Values

if TYPE_CHECKING:
    from provider.doors.backend import Backend
    from provider.doors.http.access import Access
    from provider.doors.http.exchange import Exchange
    from provider.doors.http.options import HttpOptions

PREFIX = b"/call/"
MOST_NAMES = 4096
"""Paths whose operation is remembered; callers make them up."""

_JSON_HEADERS = [(b"content-type", JSON)]
_TRACE = TRACEPARENT.encode()
_OF_THE_WAY = frozenset(
    {
        b"connection",
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"te",
        b"upgrade",
        b"provider-timeout-ms",
        b"x-request-id",
    }
)
"""Headers that say nothing to a function."""


class Calls:
    """Answers calls.

    Args:
        backend: runs them.
        options: of the door.
        access: says what functions may see.
    """

    def __init__(self, backend: Backend, options: HttpOptions, access: Access) -> None:
        self._backend = backend
        self._access = access
        self.values = Values(options.limits)
        self._names: dict[bytes, str] = {}

    async def answer(self, exchange: Exchange) -> None:
        """Answer a request whose path begins with `PREFIX`.

        Raises:
            CallError: what is to be answered instead.
        """
        if exchange.method != "POST":
            raise MethodNotAllowed("operations are called with POST", ("POST",))
        operation = self._names.get(exchange.raw_path) or self._name(exchange.raw_path)
        headers = exchange.headers
        content_type, accept = headers.get(b"content-type"), headers.get(b"accept")
        data = await exchange.body()
        read = bodies.form_read(content_type) if data else JSON
        written = bodies.form_written(accept, read)
        if read == JSON and written == JSON:
            payload, encoding = data, Encoding.JSON if data else Encoding.JSON_ABSENT
        else:
            payload, encoding = bodies.argument(data, content_type, read, written, self.values)
        await self.run(exchange, operation, payload, encoding, written)

    async def run(
        self,
        exchange: Exchange,
        operation: str,
        payload: bytes,
        encoding: int,
        written: bytes,
        status: int = 200,
    ) -> None:
        """Call, and answer.

        Args:
            exchange: to be answered.
            operation: that is called.
            payload: its argument.
            encoding: of that.
            written: of `bodies.form_written`.
            status: of an answer that is no error; with 204 and 205 nothing of the result is sent.

        Raises:
            CallError: what is to be answered instead.
        """
        call = self.call(exchange, operation, payload, encoding)
        if written in (EVENTS, LINES):
            await stream(exchange, self._backend, call, written, self.values)
            return
        result = await self._backend.call(call)
        if written == JSON:
            if call.encoding not in (Encoding.JSON, Encoding.JSON_ABSENT):
                result = bodies.to_json(result, call.encoding, self.values)
            headers = _JSON_HEADERS
        else:
            headers = [(b"content-type", CBOR)]
        if status in (204, 205):
            await exchange.respond(status, b"", [])
        else:
            await exchange.respond(status, result, headers)

    def call(self, exchange: Exchange, operation: str, payload: bytes, encoding: int) -> HttpCall:
        """The call a request asks for.

        Raises:
            BadRequest: its timeout cannot be read.
        """
        headers = {}
        if self._backend.wants_headers or _TRACE in exchange.headers:
            passes_on = self._access.passes_on
            headers = {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in exchange.headers.items()
                if name not in _OF_THE_WAY and passes_on(name)
            }
        return HttpCall(operation, payload, encoding, exchange.timeout(), exchange.id, headers)

    def _name(self, raw_path: bytes) -> str:
        """The operation a path names.

        Raises:
            UnknownOperation: no operation is reached that way.
            BadRequest: it is no name.
        """
        raw = raw_path[len(PREFIX) :]
        if b"/" in raw:
            raise UnknownOperation(
                "an operation is one segment of the path; write a slash in its name as %2F"
            )
        try:
            name = unquote_to_bytes(raw).decode("utf-8")
        except UnicodeDecodeError:
            raise BadRequest("the operation in the path is not UTF-8") from None
        if not check_operation(name).isprintable():
            raise BadRequest(f"the operation {name!r:.80} has characters that cannot be printed")
        if len(self._names) >= MOST_NAMES:
            self._names.clear()
        self._names[raw_path] = name
        return name
