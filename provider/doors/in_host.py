"""The backend of doors inside a host: calls take the host's own path.

The rule of this file: every call is submitted once and answered once, whatever became of who asked.
A call whose client has gone is given up only if nobody has begun it.
"""

from __future__ import annotations

import asyncio
import collections
from typing import TYPE_CHECKING, Any

from provider.doors.backend import Described, Health
from provider.errors import Cancelled, Unavailable
from provider.host.call import Call, StreamedCall
from provider.wire.about import trace_of, write_about
from provider.wire.envelope import check_operation
from provider.wire.window import BYTES, CHUNKS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from provider.doors.backend import HttpCall
    from provider.errors import CallError
    from provider.host.fleet import Fleet
    from provider.host.path import CallPath

PATIENCE = 10.0
"""Seconds somebody who asks for schemas waits for a worker that runs a call."""
NEWS = 2.0
"""Seconds somebody waits for a change of the program to be loaded."""
GLANCE = 0.02
"""Seconds between two looks whether it was."""


class InHost:
    """Runs calls on the path of this host.

    Args:
        path: takes the calls.
        fleet: the workers.
        status: the numbers of the house.
    """

    def __init__(self, path: CallPath, fleet: Fleet, status: Callable[[], dict[str, Any]]) -> None:
        self._path = path
        self._fleet = fleet
        self._status = status
        self._loop = asyncio.get_running_loop()
        self._listed: list[Any] | None = None
        self._described = Described(0)
        self.started = False
        """Whether the program was loaded once; set by the host."""
        self.connected: Callable[[], bool] = lambda: False
        """Whether NATS is connected; set by the host."""

    @property
    def wants_headers(self) -> bool:
        """Whether the program asks what is known of a call beside its argument."""
        return self._path.wants_context

    @property
    def outdated(self) -> bool:
        """As `Backend.outdated`: the files say so."""
        return self._fleet.outdated

    async def call(self, call: HttpCall) -> bytes:
        """As `Backend.call`."""
        self._check_started()
        path = self._path
        future: asyncio.Future[bytes] = self._loop.create_future()
        submitted = Call(
            check_operation(call.operation),
            call.payload,
            call.encoding,
            path.deadline(call.timeout),
            _settle,
            future,
            call.id,
            about=self._about(call),
        )
        path.submit(submitted)
        try:
            return await future
        except asyncio.CancelledError:
            path.give_up(submitted, Cancelled("the caller has gone; it was not run"))
            raise

    async def stream(self, call: HttpCall) -> AsyncGenerator[bytes, None]:
        """As `Backend.stream`."""
        self._check_started()
        path, inbox = self._path, _Inbox()
        submitted = StreamedCall(
            check_operation(call.operation),
            call.payload,
            call.encoding,
            path.deadline(call.timeout),
            inbox.end,
            None,
            call.id,
            about=self._about(call),
            on_chunk=inbox.take,
        )
        path.submit(submitted)
        taken = size = 0
        try:
            while True:
                while not inbox.chunks:
                    if inbox.ended:
                        if inbox.error is not None:
                            raise inbox.error
                        return
                    await inbox.news()
                chunk = inbox.chunks.popleft()
                yield chunk
                taken, size = taken + 1, size + len(chunk)
                if taken >= CHUNKS // 2 or size >= BYTES // 2:
                    path.streams.credit(submitted, taken)
                    taken = size = 0
        finally:
            path.streams.stop(submitted, Cancelled("the caller wants no more of this stream"))

    def described(self) -> Described:
        """As `Backend.described`."""
        declared = self._fleet.catalogue.all
        if declared is not self._listed:
            self._listed = declared
            self._described = Described(
                int(str(self._described.generation)) + 1,
                tuple(each.as_map() for each in declared),
            )
        return self._described

    async def refresh(self) -> Described:
        """As `Backend.refresh`: what has changed in the files is loaded first."""
        end = self._loop.time() + NEWS
        while self._fleet.outdated and self._loop.time() < end:
            self._fleet.files_changed()
            await asyncio.sleep(GLANCE)
        return self.described()

    async def schemas(self) -> dict[str, Any]:
        """As `Backend.schemas`."""
        return await self._fleet.schemas(PATIENCE)

    async def health(self) -> Health:
        """As `Backend.health`: the program is asked, where it can be."""
        fleet = self._fleet
        await fleet.ask_health()
        reasons = []
        if self._path.draining:
            reasons.append("the provider is stopping")
        if not self.started:
            reasons.append("the program is being loaded")
        elif fleet.broken is not None:
            reasons.append(fleet.broken)
        elif not fleet.ready:
            reasons.append("no worker is ready")
        elif not fleet.healthy:
            reasons.append(fleet.health.trouble)
        if self.started and not self.connected():
            reasons.append("NATS is not connected")
        return Health(live=True, ready=not reasons, started=self.started, reasons=tuple(reasons))

    async def status(self) -> dict[str, Any]:
        """As `Backend.status`."""
        operations = {
            declared.name: {
                "requests": declared.numbers.requests,
                "errors": declared.numbers.errors,
                "seconds": declared.numbers.seconds,
            }
            for declared in self._fleet.catalogue.all
        }
        return {**self._status(), "operations": operations}

    def _check_started(self) -> None:
        if not self.started:
            raise Unavailable("the program is being loaded", retry_after_ms=1000)

    def _about(self, call: HttpCall) -> bytes:
        headers = call.headers
        if self._path.wants_context:
            return write_about(trace_of(headers), id=call.id, headers=headers)
        return write_about(trace_of(headers)) if headers else b""


class _Inbox:
    """What has come of a stream and was not taken yet."""

    def __init__(self) -> None:
        self.chunks: collections.deque[bytes] = collections.deque()
        self.ended = False
        self.error: CallError | None = None
        self._news: asyncio.Future[None] | None = None

    def take(self, _call: StreamedCall, chunk: bytes, _number: int) -> None:
        self.chunks.append(chunk)
        self._tell()

    def end(self, _call: Call, result: bytes | None, error: CallError | None) -> None:
        if result:  # of something that does not stream
            self.chunks.append(result)
        self.ended, self.error = True, error
        self._tell()

    async def news(self) -> None:
        self._news = asyncio.get_running_loop().create_future()
        await self._news

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


def _settle(call: Call, result: bytes | None, error: CallError | None) -> None:
    future: asyncio.Future[bytes] = call.context
    if future.done():
        return  # its client has gone
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result or b"")
