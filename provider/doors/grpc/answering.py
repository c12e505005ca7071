"""What all methods of the gRPC door have in common: ids, deadlines, statuses, and how many run.

The rule of this file: a method is a function from bytes to bytes that raises `CallError`; nothing
else of what goes wrong reaches a client. Whoever cancels or whose deadline passes cancels the
function; a stream of results is closed, whatever ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc

from provider.doors.backend import HttpCall
from provider.doors.grpc import statuses
from provider.doors.request_id import request_id
from provider.errors import CallError, CallTimeout, Overloaded, Unavailable
from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

    Unary = Callable[[bytes, "Asked"], Awaitable[bytes]]
    Streaming = Callable[[bytes, "Asked"], AsyncGenerator[bytes, None]]
    Duplex = Callable[[AsyncIterator[bytes], "Asked"], AsyncGenerator[bytes, None]]
    StatusOf = Callable[[CallError], str]

REQUEST_ID = "x-request-id"
RECENTLY = 5.0
"""Seconds after a call in which others are likely to follow."""

_OF_THE_WAY = frozenset({REQUEST_ID, "te", "content-type"})
"""Metadata that say nothing to a function."""

_log = logs.get_logger(component="grpc_door")


@dataclass(slots=True)
class Asked:
    """What is known of a request beside its message.

    Attributes:
        id: of the request.
        timeout: seconds until its deadline; None for none.
        headers: its metadata, names in lower case; those of bytes are left out.
    """

    id: str
    timeout: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def call(self, operation: str, payload: bytes, encoding: int) -> HttpCall:
        """The call of an operation that answers this request.

        Args:
            operation: its name.
            payload: the argument, empty for none.
            encoding: an `Encoding`, of payload and result.
        """
        return HttpCall(operation, payload, encoding, self.timeout, self.id, self.headers)


class Answering:
    """Makes handlers of methods.

    Args:
        concurrency: most calls that are on their way; health and reflection are none.
        tracebacks: whether callers are sent the traceback of a function that raised.
    """

    def __init__(self, concurrency: int, *, tracebacks: bool = False) -> None:
        self._concurrency = concurrency
        self._tracebacks = tracebacks
        self._running = 0
        self.stopping = asyncio.Event()
        """Set when the door begins to close: no more calls are taken, and whoever only waits for
        news ends."""
        self._newest = -math.inf
        """When the last call came, in seconds of the monotonic clock."""

    @property
    def busy(self) -> bool:
        """Whether calls are on their way, or came just now."""
        return self._running > 0 or time.monotonic() - self._newest < RECENTLY

    def unary(
        self, run: Unary, status_of: StatusOf = statuses.status_of, *, counted: bool = True
    ) -> Any:
        """The handler of a method with one message each way.

        Args:
            run: called with the message and what else is known; its result is the answer.
            status_of: the name of the status of an error.
            counted: whether it is one of the calls of which so many may be on their way.
        """

        async def answer(message: bytes, context: Any) -> bytes:
            async with self._request(context, status_of, counted=counted) as asked:
                return await run(message, asked)
            raise AssertionError  # it has been aborted

        return grpc.unary_unary_rpc_method_handler(answer)

    def stream(
        self, run: Streaming, status_of: StatusOf = statuses.status_of, *, counted: bool = True
    ) -> Any:
        """The handler of a method that answers with any number of messages; as `unary`."""

        async def answer(message: bytes, context: Any) -> None:
            async with self._request(context, status_of, counted=counted) as asked:
                await _write(context, run(message, asked))

        return grpc.unary_stream_rpc_method_handler(answer)

    def duplex(
        self, run: Duplex, status_of: StatusOf = statuses.status_of, *, counted: bool = True
    ) -> Any:
        """The handler of a method with any number of messages both ways; as `unary`.

        A client that has nothing to say when the door closes is told `unavailable`.
        """

        async def answer(messages: AsyncIterator[bytes], context: Any) -> None:
            async with (
                self._request(context, status_of, counted=counted) as asked,
                contextlib.aclosing(_until(self.stopping, messages)) as given,
            ):
                await _write(context, run(given, asked))

        return grpc.stream_stream_rpc_method_handler(answer)

    def refusing(self, error: CallError) -> Any:
        """The handler of a method that is there and cannot be called, whatever is sent."""

        async def answer(_messages: AsyncIterator[bytes], context: Any) -> None:
            async with self._request(context, statuses.status_of, counted=False):
                raise error

        return grpc.stream_stream_rpc_method_handler(answer)

    @contextlib.asynccontextmanager
    async def _request(
        self, context: Any, status_of: StatusOf, *, counted: bool
    ) -> AsyncGenerator[Asked, None]:
        asked = _asked(context)
        context.set_trailing_metadata(((REQUEST_ID, asked.id),))
        if counted:
            self._running += 1
            self._newest = time.monotonic()
        try:
            self._check(asked, counted=counted)
            yield asked
        except CallError as error:
            await self._abort(context, error, status_of(error), asked)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:
            if not context.cancelled():  # the answer could not be written because nobody reads it
                _log.exception("request_failed", request_id=asked.id)
            failed = CallError("the provider failed; its log says more")
            await self._abort(context, failed, "INTERNAL", asked)
            raise AssertionError from error  # abort raises
        finally:
            self._running -= counted

    def _check(self, asked: Asked, *, counted: bool) -> None:
        if counted and self.stopping.is_set():
            raise Unavailable("the provider is stopping; call another instance")
        if counted and self._running > self._concurrency:
            raise Overloaded(
                f"{self._concurrency} calls are on their way (PROVIDER_GRPC_CONCURRENCY)",
                retry_after_ms=1000,
            )
        if asked.timeout is not None and asked.timeout <= 0:
            raise CallTimeout("the deadline had passed when the call came; it was not run")

    async def _abort(self, context: Any, error: CallError, status: str, asked: Asked) -> None:
        metadata = statuses.metadata_of(error, tracebacks=self._tracebacks)
        await context.abort(
            grpc.StatusCode[status],
            statuses.text_of(error),
            ((REQUEST_ID, asked.id), *metadata),
        )


async def _write(context: Any, results: AsyncGenerator[bytes, None]) -> None:
    async with contextlib.aclosing(results):
        async for result in results:
            await context.write(result)


async def _until(
    stopping: asyncio.Event, messages: AsyncIterator[bytes]
) -> AsyncGenerator[bytes, None]:
    """The messages as they come.

    Raises:
        Unavailable: the door closes, and there is none.
    """
    closing = asyncio.ensure_future(stopping.wait())
    reading: asyncio.Future[bytes] | None = None
    try:
        while True:
            reading = asyncio.ensure_future(anext(messages))
            await asyncio.wait({reading, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise Unavailable("the provider is stopping; call another instance")
            try:
                message = reading.result()
            except StopAsyncIteration:
                return
            yield message
    finally:
        closing.cancel()
        if reading is not None:
            reading.cancel()


def _asked(context: Any) -> Asked:
    given = b""
    headers: dict[str, str] = {}
    for name, value in context.invocation_metadata() or ():
        if name == REQUEST_ID:
            given = value.encode("ascii", "ignore")
        elif isinstance(value, str) and name not in _OF_THE_WAY:
            headers[name] = value
    return Asked(request_id(given), context.time_remaining(), headers)
