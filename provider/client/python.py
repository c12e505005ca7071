"""A provider, as its callers see it.

The rule of this file: what callers may write, and how it is encoded; the ways over NATS are those
of `calling`, `streaming` and `asking`.
"""

from __future__ import annotations

import contextlib
import json
import math
from typing import TYPE_CHECKING, Any

import nats.errors

from provider.client.asking import Asking
from provider.client.calling import (
    ABSENT,
    DEFAULT_TIMEOUT,
    LATER,
    milliseconds,
    nobody,
    request_answer,
)
from provider.errors import BadRequest, BadResult, CallError
from provider.streaming import streamed_answer
from provider.wire.address import is_subject
from provider.wire.envelope import check_operation, read_answer, write_request
from provider.wire.streamed import StreamReader
from provider.wire.values import Limits, Values

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from provider.wire.address import Address


class Python:
    """A provider, as its callers see it. Made by `connect`.

    Args:
        client: connected.
        address: where the provider is.
        timeout: seconds a call waits unless it says otherwise.
        limits: of the values sent and received.
    """

    def __init__(
        self,
        client: Client,
        address: Address,
        timeout: float = DEFAULT_TIMEOUT,
        limits: Limits | None = None,
    ) -> None:
        limits = limits or Limits()
        self._client = client
        self._address = address
        self._timeout = timeout
        self._asking = Asking(client, address)
        self._arguments = Values(limits)
        # The answer wraps the result in one map more.
        self._answers = Values(
            Limits(limits.depth + 1, limits.items, limits.string, limits.integer_bits)
        )

    async def call(
        self,
        operation: str,
        argument: Any = ABSENT,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> Any:
        """Call an operation and return its result.

        Args:
            operation: its name, such as `py.factorial`; 1..256 bytes.
            argument: any value that can travel (docs/protocol.md); left out, the handler gets None.
            timeout: seconds until the call fails, waiting and running together.
            request_id: shown in the provider's log lines of this call.
            trace: W3C trace context by header name: `traceparent`, `tracestate`.

        Raises:
            CallError: the subclass of what went wrong; `NoProvider` when nobody listens,
                `CallTimeout` when no answer came in time.
            TypeError: the argument cannot travel; the text names the path inside it.
        """
        seconds = self._timeout if timeout is None else timeout
        request = write_request(
            operation,
            self._encoded(argument),
            timeout_ms=milliseconds(seconds),
            request_id=request_id,
        )
        headers = dict(trace) if trace else None
        message = await self._request(self._address.rpc, request, seconds, headers)
        return read_answer(message.data, self._answers)

    async def stream(
        self,
        operation: str,
        argument: Any = ABSENT,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
        trace: Mapping[str, str] | None = None,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Call an operation and yield the items of its result as they come.

        The function runs no further ahead than a window of items (docs/protocol.md, Streams). To
        leave early is to stop it: `contextlib.aclosing`, or `aclose` of what this returns, does so
        at once. A result that is no stream is its only item.

        Args:
            operation: as `call`.
            argument: as `call`.
            timeout: seconds until the stream fails, from now to its last item.
            request_id: as `call`.
            trace: as `call`.
            on_progress: called with what the function says of how far it is, a map of `done`,
                `total` (None where that is not known) and `note`, while the next item is waited
                for. What it raises ends the stream.

        Raises:
            CallError: as `call`; items may have come before.
            TypeError: as `call`.
        """
        seconds = self._timeout if timeout is None else timeout
        request = write_request(
            operation,
            self._encoded(argument),
            timeout_ms=milliseconds(seconds),
            request_id=request_id,
            stream=True,
            progress=True,
        )
        patience = seconds + LATER if seconds else math.inf
        parts = streamed_answer(
            self._client,
            self._address.rpc,
            request,
            patience,
            StreamReader(self._answers),
            on_progress,
            dict(trace) if trace else None,
        )
        try:
            async with contextlib.aclosing(parts):
                async for item in parts:
                    yield item
        except nats.errors.NoRespondersError:
            raise nobody(self._address.rpc) from None

    async def call_bytes(
        self,
        operation: str,
        body: bytes = b"",
        *,
        content_type: str = "application/cbor",
        timeout: float | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> bytes:
        """Call by subject, with the argument and the result left as bytes.

        Args:
            operation: must make a NATS subject: no spaces, no empty tokens.
            body: the encoded argument, empty for none.
            content_type: `application/cbor` or `application/json`, of body and result.
            timeout: as `call`.
            trace: as `call`.

        Raises:
            CallError: as `call`.
        """
        seconds = self._timeout if timeout is None else timeout
        if not is_subject(check_operation(operation)):
            raise BadRequest(
                f"operation {operation!r:.80} makes no NATS subject: no spaces, no * or >, and "
                "nothing empty between dots; use call instead"
            )
        headers = {**(trace or {}), "Content-Type": content_type}
        timeout_ms = milliseconds(seconds)
        if timeout_ms is not None:
            headers["Provider-Timeout-Ms"] = str(timeout_ms)
        message = await self._request(self._address.operation(operation), body, seconds, headers)
        if message.headers and "Nats-Service-Error-Code" in message.headers:
            raise self._error_of(message)
        return message.data

    async def reload(self, *, timeout: float | None = None) -> None:
        """Have one instance load its code again, changed or not.

        Raises:
            CallError: `handler_error` with the reason when the new code does not load; the old
                serves on. `unauthorized` when reload is switched off.
        """
        await self.call("reload", timeout=timeout)

    async def status(self, *, timeout: float = 2.0) -> dict[str, Any]:
        """What one instance says of itself: ready or not and why, and its numbers.

        Raises:
            NoProvider: nobody of that name is there.
            CallTimeout: nobody answered in time.
        """
        return await self._asking.status(timeout)

    async def operations(self, *, timeout: float = 10.0) -> list[dict[str, Any]]:
        """The operations its program declares, in the order of their declaration.

        Each is a map with `name`, `free` (callers may write anything before the name and a dot),
        `signature`, `doc`, `batch`, `cache` and `streams`. A plain `handle` declares none.

        Raises:
            CallError: as `call`.
        """
        return await self._asking.operations(timeout)

    async def schema(
        self, operation: str | None = None, *, timeout: float = 15.0
    ) -> dict[str, dict[str, Any]]:
        """JSON Schema (2020-12) of the `argument` and the `result` of operations, by their names.

        Args:
            operation: as it would be called; None for all there are.
            timeout: seconds to wait; a worker that runs a call answers after it.

        Raises:
            CallError: as `call`; `UnknownOperation` when none of that name is declared.
        """
        return await self._asking.schema(operation or "", timeout)

    async def admin(
        self, command: str, *, timeout: float = 2.0, expect: int | None = None
    ) -> list[dict[str, Any]]:
        """Send an admin command to all instances and gather their answers until the time is up.

        Args:
            command: `reload`, `drain` or `status`.
            timeout: seconds to wait for answers.
            expect: how many answers are enough; None waits until the time is up.

        Raises:
            NoProvider: nobody obeys admin commands there (PROVIDER_ADMIN).
        """
        return await self._asking.admin(command, timeout, expect)

    def _encoded(self, argument: Any) -> bytes | None:
        if argument is ABSENT:
            return None
        try:
            return self._arguments.encode(argument)
        except BadResult as error:
            raise TypeError(error.message.replace("the result", "the argument", 1)) from None

    async def _request(
        self, subject: str, data: bytes, seconds: float, headers: dict[str, str] | None = None
    ) -> Msg:
        return await request_answer(
            self._client, subject, data, seconds, later=LATER, headers=headers
        )

    def _error_of(self, message: Msg) -> CallError:
        try:
            if message.data[:1] == b"{":
                return CallError.from_map(json.loads(message.data)["error"])
            read_answer(message.data, self._answers)
        except CallError as error:
            return error
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        text = (message.headers or {}).get("Nats-Service-Error", "")
        return BadResult(f"the provider's error cannot be read: {text}")
