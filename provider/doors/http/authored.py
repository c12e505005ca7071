"""The routes authors declare: from a request to a call, and back.

The rule of this file: a route is a call like any other. What is declared is looked at for each
request, and asked for again before anybody is told that a path leads nowhere, so routes follow
reloads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider.doors.http import bodies, raw
from provider.doors.http.bodies import CBOR, FORM, JSON
from provider.doors.http.problems import MethodNotAllowed
from provider.doors.http.routes import ABSENT, Match, RouteTable, read_path, read_query
from provider.errors import InvalidArgument, TooLarge, Unavailable, UnknownOperation
from provider.wire import json_form
from provider.wire.frames import Encoding

if TYPE_CHECKING:
    from provider.doors.backend import Backend
    from provider.doors.http.access import Access
    from provider.doors.http.calls import Calls
    from provider.doors.http.exchange import Exchange

_EMPTY = frozenset({204, 205, 304})


class Authored:
    """Answers the paths that are not the provider's own.

    Args:
        backend: knows what is declared.
        calls: runs calls.
        access: says what functions may see.
    """

    def __init__(self, backend: Backend, calls: Calls, access: Access) -> None:
        self._backend = backend
        self._calls = calls
        self._access = access
        self._table = RouteTable()
        self._generation: object = None

    async def answer(self, exchange: Exchange) -> None:
        """Answer the request.

        Raises:
            CallError: what is to be answered instead.
        """
        if self._backend.outdated:
            # A save may have changed what the texts of a path are read as.
            await self._backend.refresh()
        match = self._match(exchange)
        if not isinstance(match, Match):
            await self._backend.refresh()
            match = self._match(exchange)
        if isinstance(match, Match):
            await (self._whole if match.target.raw else self._call)(exchange, match)
        elif match is None:
            await self._check_started()
            raise UnknownOperation(
                f"nothing is found at {exchange.scope['path']!r:.200}; operations are called at "
                "/call/NAME"
            )
        elif exchange.method == "OPTIONS":
            await _respond(exchange, 204, [(b"allow", ", ".join(match).encode())], b"")
        else:
            raise MethodNotAllowed("this path does not take that method", match)

    async def has(self, exchange: Exchange) -> bool:
        """Whether the path is that of a route."""
        if self._backend.outdated:
            await self._backend.refresh()
        return self._match(exchange) is not None

    def _match(self, exchange: Exchange) -> Match | tuple[str, ...] | None:
        described = self._backend.described()
        if described.generation != self._generation:
            self._table = RouteTable(described.operations)
            self._generation = described.generation
        return self._table.match(exchange.method, exchange.raw_path)

    async def _check_started(self) -> None:
        """Nobody knows where paths lead before the program is loaded."""
        if not self._table.all and not (await self._backend.health()).started:
            raise Unavailable("the program is being loaded", retry_after_ms=1000)

    async def _call(self, exchange: Exchange, match: Match) -> None:
        query = read_query(exchange.scope["query_string"])
        headers, values = exchange.headers, self._calls.values
        content_type = headers.get(b"content-type")
        data = await exchange.body()
        read = bodies.form_read(content_type) if data else JSON
        written = bodies.form_written(headers.get(b"accept"), read)
        if query or match.variables:
            argument = match.argument(query, self._value(data, content_type, read))
            payload, encoding = self._encoded(argument, read, written)
        else:
            payload, encoding = bodies.argument(data, content_type, read, written, values)
        target = match.target
        try:
            await self._calls.run(
                exchange, target.operation, payload, encoding, written, status=target.status
            )
        except InvalidArgument as error:
            # The worker has seen no name where the argument is one value.
            if target.whole and (query or match.variables):
                error.message = f"{next(iter(target.parameters), '')}: {error.message}"
            raise

    def _value(self, data: bytes, content_type: bytes | None, read: bytes) -> Any:
        values = self._calls.values
        if not data:
            return ABSENT
        if read == FORM:
            return bodies.form_members(data, content_type or b"", values)
        return values.decode(data) if read == CBOR else json_form.decode(data, values)

    def _encoded(self, argument: Any, read: bytes, written: bytes) -> tuple[bytes, Encoding]:
        values = self._calls.values
        # As the result is to be written, but for bytes, for which JSON has no type.
        as_cbor = CBOR in (read, written) or read == FORM
        if argument is ABSENT:
            return b"", Encoding.ABSENT if as_cbor else Encoding.JSON_ABSENT
        if as_cbor:
            return values.encode(argument), Encoding.CBOR
        return json_form.encode(argument, values), Encoding.JSON

    async def _whole(self, exchange: Exchange, match: Match) -> None:
        query = read_query(exchange.scope["query_string"])
        values, body = self._calls.values, await exchange.body()
        if len(body) > values.limits.string:
            raise TooLarge(
                f"the body has {len(body)} bytes; a value of bytes has {values.limits.string} at "
                "most (PROVIDER_MAX_STRING)"
            )
        headers = [
            (name, value)
            for name, value in exchange.scope["headers"]
            if self._access.passes_on(name)
        ]
        request = raw.request_map(
            exchange.method,
            read_path(exchange.raw_path),
            query,
            headers,
            body,
            match.variables,
        )
        payload = values.encode(request)
        call = self._calls.call(exchange, match.target.operation, payload, Encoding.CBOR)
        result = values.decode_result(await self._backend.call(call))
        await _respond(exchange, *raw.read_answer(result))


async def _respond(
    exchange: Exchange, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    # How long the body would be that HEAD leaves out is not known here, and is not said.
    if status in _EMPTY or (exchange.method == "HEAD" and not body):
        await exchange.begin(status, headers)
        await exchange.part(b"", last=True)
    else:
        await exchange.respond(status, body, headers)
