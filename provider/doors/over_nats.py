"""The backend of doors anywhere on a NATS network: calls go to whatever provider listens.

The rule of this file: an argument in JSON travels by subject as it came, all else natively; either
way the provider's own account of what went wrong is what callers are told. What is declared is
asked for again and again, so that reloads are followed; a provider that is away for a moment is
described as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from typing import TYPE_CHECKING, Any

import nats.errors

from provider.client import NoProvider, Python, request_answer
from provider.doors.backend import Described, Health
from provider.errors import BadResult, CallError, Unavailable
from provider.streaming import streamed_answer
from provider.telemetry import logs
from provider.wire import json_form
from provider.wire.address import is_subject
from provider.wire.envelope import read_answer, write_request
from provider.wire.frames import Encoding
from provider.wire.streamed import StreamReader
from provider.wire.values import Limits, Values

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from provider.doors.backend import HttpCall
    from provider.wire.address import Address

LATER = 1.0
"""Seconds a call is waited for beyond its deadline, so that the provider's own account arrives."""
AGAIN = 1.0
"""Seconds after which is asked again what is declared."""
MOMENT = 2.0
"""Seconds a question about the provider itself may take."""
PATIENCE = 15.0
"""Seconds somebody who asks for schemas waits for a worker that runs a call."""

_OF_NATS = ("provider-", "nats-")
"""How headers begin that mean something to a provider or a NATS server, whoever sends them."""
_JSON = frozenset({int(Encoding.JSON), int(Encoding.JSON_ABSENT)})
_log = logs.get_logger(component="gateway")


class OverNats:
    """Runs calls by sending them to a provider.

    Args:
        client: connected.
        address: where the provider is.
        timeout: seconds a call may take whose caller does not say; 0 for ever.
        limits: of the values sent and received.
    """

    def __init__(self, client: Client, address: Address, timeout: float, limits: Limits) -> None:
        self._client = client
        self._address = address
        self._timeout = timeout
        self._python = Python(client, address, timeout, limits)
        self._values = Values(limits)
        # The answer wraps the result in one map more.
        self._answers = Values(
            Limits(limits.depth + 1, limits.items, limits.string, limits.integer_bits)
        )
        self._described = Described(0)
        self._schemas: tuple[object, dict[str, Any]] | None = None
        self._away = "it has not answered yet"
        """Why it is not known to be there, empty when it is."""
        self._seen = False
        self._asking: asyncio.Task[None] | None = None
        self._asked = asyncio.Lock()
        self._asks = 0
        """How often it was asked what is declared."""
        self.draining = False
        """Whether the gateway is stopping; set by whoever runs it."""

    @property
    def wants_headers(self) -> bool:
        """As `Backend.wants_headers`; the provider leaves out what it does not want."""
        return True

    @property
    def outdated(self) -> bool:
        """As `Backend.outdated`; nothing is known from here."""
        return False

    def open(self) -> None:
        """Begin to follow what is declared."""
        self._asking = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop doing so."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def call(self, call: HttpCall) -> bytes:
        """As `Backend.call`. The provider is not told of callers who leave."""
        seconds = self._timeout if call.timeout is None else call.timeout
        headers = self._headers(call, seconds)
        if call.encoding in _JSON and is_subject(call.operation):
            headers["Content-Type"] = "application/json"
            message = await self._ask(
                self._address.operation(call.operation), call.payload, seconds, headers
            )
            if message.headers and "Nats-Service-Error-Code" in message.headers:
                raise self._error_of(message)
            return message.data
        request = write_request(
            call.operation,
            self._argument(call),
            timeout_ms=_milliseconds(seconds),
            request_id=call.id or None,
        )
        message = await self._ask(self._address.rpc, request, seconds, headers)
        return self._written(read_answer(message.data, self._answers), call)

    async def stream(self, call: HttpCall) -> AsyncGenerator[bytes, None]:
        """As `Backend.stream`."""
        seconds = self._timeout if call.timeout is None else call.timeout
        request = write_request(
            call.operation,
            self._argument(call),
            timeout_ms=_milliseconds(seconds),
            request_id=call.id or None,
            stream=True,
        )
        self._check_connected()
        parts = streamed_answer(
            self._client,
            self._address.rpc,
            request,
            seconds + LATER if seconds else math.inf,
            StreamReader(self._answers),
            headers=self._headers(call, seconds),
        )
        try:
            async with contextlib.aclosing(parts):
                async for item in parts:
                    yield self._written(item, call)
        except nats.errors.NoRespondersError:
            raise NoProvider(
                f"no provider listens on {self._address.rpc}; is it running?", retry_after_ms=1000
            ) from None

    def described(self) -> Described:
        """As `Backend.described`: what was heard last."""
        return self._described

    async def refresh(self) -> Described:
        """As `Backend.refresh`; those who ask at once are told at once."""
        known = self._asks
        async with self._asked:
            if self._asks > known:
                return self._described  # asked for after we were
            self._asks += 1
            try:
                self._check_connected()
                told = await self._python.operations(timeout=MOMENT)
            except CallError as error:
                if not self._away:
                    _log.warning("provider_away", reason=error.message)
                self._away = error.message
            else:
                if not self._seen or self._away:
                    _log.info("provider_found", operations=len(told))
                self._away, self._seen = "", True
                generation = json.dumps(told, sort_keys=True)
                if generation != self._described.generation:
                    self._described = Described(generation, tuple(told))
        return self._described

    async def schemas(self) -> dict[str, Any]:
        """As `Backend.schemas`."""
        generation = self._described.generation
        if self._schemas is None or self._schemas[0] != generation:
            self._schemas = generation, await self._python.schema(timeout=PATIENCE)
        return self._schemas[1]

    async def health(self) -> Health:
        """As `Backend.health`: of the gateway, which is ready when a provider is there."""
        reasons = []
        if self.draining:
            reasons.append("the gateway is stopping")
        if not self._client.is_connected:
            reasons.append("NATS is not connected")
        elif self._away:
            reasons.append(self._away)
        return Health(live=True, ready=not reasons, started=self._seen, reasons=tuple(reasons))

    async def status(self) -> dict[str, Any]:
        """As `Backend.status`: that of one instance."""
        told = await self._python.status(timeout=MOMENT)
        return {"operations": {}, **told}

    async def _follow(self) -> None:
        while True:
            # Whatever happens: it is asked again.
            with contextlib.suppress(Exception):
                await self.refresh()
            await asyncio.sleep(AGAIN)

    async def _ask(self, subject: str, data: bytes, seconds: float, headers: dict[str, str]) -> Msg:
        self._check_connected()
        try:
            message = await request_answer(
                self._client, subject, data, seconds, later=LATER, headers=headers
            )
        except NoProvider as error:
            error.retry_after_ms = 1000
            raise
        return message

    def _check_connected(self) -> None:
        if not self._client.is_connected:  # nats-py would keep the call until it is
            raise Unavailable("NATS is not connected", retry_after_ms=1000)

    def _headers(self, call: HttpCall, seconds: float) -> dict[str, str]:
        headers = {
            name: value.strip()
            for name, value in call.headers.items()
            if value.strip() and not name.startswith(_OF_NATS)
        }
        headers.pop("content-type", None)
        headers["Provider-Request-Id"] = call.id
        milliseconds = _milliseconds(seconds)
        if milliseconds is not None:
            headers["Provider-Timeout-Ms"] = str(milliseconds)
        return headers

    def _argument(self, call: HttpCall) -> bytes | None:
        if not call.payload:
            return None
        if call.encoding in _JSON:
            return self._values.encode(json_form.decode(call.payload, self._values))
        return call.payload

    def _written(self, result: Any, call: HttpCall) -> bytes:
        if call.encoding in _JSON:
            return json_form.encode(result, self._values)
        return self._values.encode(result)

    def _error_of(self, message: Msg) -> CallError:
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            return CallError.from_map(json.loads(message.data)["error"])
        text = (message.headers or {}).get("Nats-Service-Error", "")
        return BadResult(f"the provider's error cannot be read: {text}")


def _milliseconds(seconds: float) -> int | None:
    return max(1, math.ceil(seconds * 1000)) if seconds else None
