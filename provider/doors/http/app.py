"""The application behind the HTTP door: which path is answered where.

The rule of this file: it knows paths, and no answer but errors. Calls are answered by `calls`, the
paths of the house (what can be called, how it is, how it goes) by `pages`, and all others by the
routes authors declare, or else as the KServe protocol has it. Whatever happens, the answer is JSON
and there is one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response

from provider.doors.http import pages
from provider.doors.http.access import OPEN, Access
from provider.doors.http.authored import Authored
from provider.doors.http.calls import PREFIX, Calls
from provider.doors.http.exchange import Exchange, Gone, Numbers
from provider.doors.http.problems import MethodNotAllowed, failed
from provider.errors import CallError, Overloaded, UnknownOperation
from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from provider.doors.backend import Backend
    from provider.doors.http.exchange import Receive, Scope, Send
    from provider.doors.http.options import HttpOptions
    from provider.doors.kserve.rest import Rest

KSERVE = (b"/v2", b"/v1/config")
"""How the paths of the KServe protocol begin; routes of authors come before it."""
EXCHANGE = "provider.exchange"
"""Where in the scope pages find theirs."""

_log = logs.get_logger(component="http_door")


class Door:
    """The application, as ASGI calls it.

    Args:
        backend: runs the calls.
        options: of the door.
    """

    def __init__(self, backend: Backend, options: HttpOptions) -> None:
        self._options = options
        self._access = Access(options)
        self._calls = Calls(backend, options, self._access)
        self._authored = Authored(backend, self._calls, self._access)
        self._backend = backend
        self._kserve: Rest | None = None
        self.numbers = Numbers()
        """How requests went."""
        self._pages = _pages(backend, self.numbers)
        self._paths = frozenset(getattr(route, "path", "") for route in self._pages.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        numbers = self.numbers
        exchange = Exchange(scope, receive, send, self._options, numbers)
        numbers.open += 1
        try:
            if numbers.open > self._options.concurrency:
                self._check_load(exchange)
            if self._access.asked or b"origin" in exchange.headers:
                headers = self._access.preflight(exchange)
                if headers is not None:
                    await exchange.respond(204, b"", headers)
                    return
                self._access.check(exchange)
            if exchange.raw_path.startswith(PREFIX):
                await self._calls.answer(exchange)
            else:
                await self._answer_otherwise(exchange, receive)
        except CallError as error:
            if not exchange.started:
                await exchange.fail(error)
        except (Gone, asyncio.CancelledError):
            # Whoever asked has gone, or all of the provider is about to.
            _log.debug("request_given_up", request_id=exchange.id)
        except Exception:  # noqa: BLE001  whatever it was, somebody waits for an answer
            _log.exception("request_failed", request_id=exchange.id, path=scope["path"])
            if not exchange.started:
                await exchange.fail(failed())
        finally:
            numbers.open -= 1

    def _check_load(self, exchange: Exchange) -> None:
        if not exchange.raw_path.startswith(OPEN):  # probes are not what loads us
            raise Overloaded(
                f"{self.numbers.open} requests at once; this provider answers "
                f"{self._options.concurrency} (PROVIDER_HTTP_CONCURRENCY)",
                retry_after_ms=1000,
            )

    async def _answer_otherwise(self, exchange: Exchange, receive: Receive) -> None:
        if exchange.scope["path"] not in self._paths:
            if exchange.raw_path.startswith(KSERVE) and await self._answer_model(exchange):
                return
            await self._authored.answer(exchange)
            return
        exchange.scope[EXCHANGE] = exchange
        await self._pages(exchange.scope, receive, exchange.pass_on)

    async def _answer_model(self, exchange: Exchange) -> bool:
        if await self._authored.has(exchange):
            return False
        if self._kserve is None:
            # Not before it is asked for.
            from provider.doors.kserve.rest import Rest

            self._kserve = Rest(self._backend, self._calls)
        return await self._kserve.answer(exchange)


def _pages(backend: Backend, numbers: Numbers) -> Starlette:
    app = Starlette(
        routes=_routes(),
        exception_handlers=dict.fromkeys((HTTPException, CallError, Exception), _as_problem),
    )
    app.router.redirect_slashes = False
    app.state.backend = backend
    app.state.numbers = numbers
    return app


def _routes() -> Sequence[BaseRoute]:
    return pages.ROUTES


async def _as_problem(request: Request, error: Exception) -> Response:
    exchange: Exchange = request.scope[EXCHANGE]
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "").split(", ")
        error = MethodNotAllowed("this path does not take that method", tuple(allowed))
    elif isinstance(error, HTTPException):
        error = UnknownOperation(str(error.detail))
    elif not isinstance(error, CallError):
        error = failed()
    status, headers, body = exchange.problem(error)
    found = {name.decode(): value.decode("latin-1") for name, value in headers}
    return Response(body, status, found)
