"""One connection: HTTP as uvicorn reads it, within limits of size and time.

The rule of this file: whoever sends too much, too slowly or what is no HTTP is told so in JSON and
cut off, after those were answered who came before on the same connection. A client who has gone is
not waited for: what was done for him is cancelled. There is no timer for a single request; `look`
is called about once a second.

uvicorn has none of these limits with the httptools parser (0.54: `h11_max_incomplete_event_size`
is for h11, and nothing bounds the time), so this stands on the inside of that class.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from provider.doors.http.exchange import AT_ONCE, CYCLE
from provider.doors.http.problems import head_too_large, raw_answer, too_slow
from provider.errors import BadRequest, CallError, Cancelled

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from provider.doors.http.options import HttpOptions
    from provider.doors.http.problems import Headers

MOST_HEADERS = 100
"""Headers of a request."""
MOST_PIPELINED = 64
"""Requests that may wait for an answer on one connection."""
LINGER = 2.0
"""Seconds for which more is read of a client who was cut off, so that the answer reaches him."""

_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class Phase(IntEnum):
    """What a connection waits for."""

    IDLE = 0
    """A request."""
    READING = 1
    """The rest of a request."""
    ANSWERING = 2
    """The answer to a request."""
    LINGERING = 3
    """That a client who was cut off hears of it."""


class Connection(HttpToolsProtocol):
    """One connection.

    Args:
        config: of uvicorn.
        state: of uvicorn.
        loop: the running one.
        options: limits.
        admit: called with each new connection; what it returns is why it is turned away.
        left: called when it has ended.
    """

    def __init__(
        self,
        config: Config,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
        options: HttpOptions,
        admit: Callable[[Connection], CallError | None],
        left: Callable[[], None],
    ) -> None:
        super().__init__(config, state, {}, loop)
        self._options = options
        self._admit = admit
        self._left = left
        self.phase = Phase.IDLE
        self.since = loop.time()
        """When the phase began."""
        self._ending = 0.0
        """When it was first seen to be closing."""
        self._held_up = 0.0
        """Since when the client takes no more of an answer; 0 while he does."""
        self._open = 0
        """Requests that are answered or wait for it."""
        self._running: tuple[asyncio.Task[None], RequestResponseCycle] | None = None
        self._head = 0
        """Bytes of the head so far."""
        self._in_head = False
        self._unheard = 0
        """Bytes that have come since something was made of them."""
        self._refusal: CallError | None = None
        self._draining = False

    # --- what comes ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """A client has connected."""
        super().connection_made(transport)
        refusal = self._admit(self)
        if refusal is not None:
            self.refuse(refusal)

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        if self._refusal is not None:
            return
        self._unheard += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # It goes on as HTTP/1.1; what follows the request cannot be told from another protocol.
            self._end_after_answers()
        except httptools.HttpParserError as error:
            told = error.__context__
            self.refuse(
                told if isinstance(told, CallError) else BadRequest(f"this is no HTTP: {error}")
            )
            return
        if self._unheard > self._options.max_head:
            self.refuse(self._too_large())

    def eof_received(self) -> None:
        """The client sends no more; for HTTP that is as good as gone."""
        if self._refusal is not None:
            return
        if self.phase is Phase.READING and not self._answered():
            self.refuse(BadRequest("the request ended before it was whole"), linger=False)
        elif self._open:
            self.end(Cancelled("the connection was closed before the answer; keep it open"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._give_up()
        super().connection_lost(exc)
        self._left()

    # --- what the parser makes of it -------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.phase, self.since = Phase.READING, self.loop.time()
        self._in_head, self._head = True, 0

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those after the body are left out."""
        self._count(len(name) + len(value) + 4)
        if self._in_head:
            if len(self.headers) >= MOST_HEADERS:
                raise head_too_large(f"the request has more than {MOST_HEADERS} headers")
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head, self._unheard = False, 0
        if self._open >= MOST_PIPELINED:
            raise BadRequest(f"more than {MOST_PIPELINED} requests wait on this connection")
        if self.parser.should_upgrade() and not _FRAMING.isdisjoint(dict(self.headers)):
            # The parser takes what follows for another protocol, and the body would be lost.
            raise BadRequest("Upgrade is not understood here; leave it out of requests with a body")
        self._open += 1
        try:
            super().on_headers_complete()
        except (httptools.HttpParserError, ValueError):
            self._open -= 1
            raise BadRequest("the request line names no path") from None
        self.scope["extensions"] = {AT_ONCE: self.answer, CYCLE: self.cycle}  # type: ignore[dict-item]  # ours
        if self._draining:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._unheard = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._unheard = 0
        self.phase = Phase.ANSWERING if self._open else Phase.IDLE
        self.since = self.loop.time()
        super().on_message_complete()

    # --- what goes out ---------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        self._running = task, cycle

    def on_response_complete(self) -> None:
        """A request was answered."""
        self.server_state.total_requests += 1
        self._open -= 1
        self._running = None
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self.flow.resume_reading()
        if self._refusal is not None:
            self._say_refusal()
        elif self.phase is Phase.ANSWERING:
            self.phase, self.since = Phase.IDLE, self.loop.time()

    def answer(self, status: int, headers: Headers, body: bytes) -> bool:
        """Answer the request that is being answered, in one write where ASGI takes two.

        Args:
            status: of HTTP.
            headers: the length of the body among them.
            body: all of it.

        Returns:
            Whether that was done; it is not while the client takes nothing.
        """
        if self._running is None or self.flow.write_paused:
            return False
        cycle = self._running[1]
        lines = [STATUS_LINE[status]]
        every = self.server_state.default_headers + headers
        if not cycle.keep_alive:
            every.append((b"connection", b"close"))
        for name, value in every:
            lines += (name, b": ", value, b"\r\n")
        head = b"".join(lines)
        if not head.count(b"\n") == head.count(b"\r") == len(every) + 1:
            raise ValueError("a header of the answer has a line break in it")
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        self.transport.write(head + b"\r\n" + (b"" if cycle.scope["method"] == "HEAD" else body))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def pause_writing(self) -> None:
        """The client takes no more for now."""
        self._held_up = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client has taken what there was."""
        self._held_up = 0.0
        super().resume_writing()

    # --- limits ----------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """End the connection if it has had its time.

        Args:
            now: of the loop's clock.
        """
        patience = self._options.read_timeout
        waited = now - self.since
        if self.transport.is_closing():
            self._ending = self._ending or now
            if now - self._ending > patience:
                self.transport.abort()
        elif self._held_up and now - self._held_up > patience:
            self.transport.abort()
        elif self.phase is Phase.IDLE:
            # Of the first request it is known that it is wanted.
            usual = self._options.idle_timeout
            if waited > (usual if self.cycle is not None else min(usual, patience)):
                self.transport.close()
        elif self.phase is Phase.READING:
            if waited > patience and not self.flow.read_paused:
                self.refuse(too_slow(f"the request did not come within {patience:g} s"))
        elif self.phase is Phase.LINGERING and waited > LINGER:
            self.transport.abort()

    def refuse(self, error: CallError, *, linger: bool = True) -> None:
        """Answer the request that is coming with an error, and end the connection after it.

        Args:
            error: why.
            linger: whether the client may still be sending.
        """
        if self._refusal is not None:
            return
        self._refusal = error
        cycle = self.cycle
        if cycle is not None and not self._in_head and cycle.more_body:
            if cycle.response_complete:
                self.transport.close()
                return
            # Whoever waits for the rest of the body waits in vain, and we answer in his place.
            self._open -= 1
            if self.pipeline and self.pipeline[0][0] is cycle:
                self.pipeline.popleft()
            else:
                self._running = None
                cycle.disconnected = True
                cycle.message_event.set()
                if cycle.response_started:
                    self.transport.close()
                    return
        if not self._open:
            self._say_refusal(linger=linger)

    def end(self, error: CallError) -> None:
        """Cancel what is done for the client, answer with an error instead, and hang up."""
        answerable = self._running is not None and not self._running[1].response_started
        self._give_up()
        if answerable:
            self.transport.write(raw_answer(error))
        self.transport.close()

    def shutdown(self) -> None:
        """Take no more requests than are on their way."""
        self._draining = True
        if self.phase is Phase.IDLE:
            self.transport.close()
        else:
            self._end_after_answers()

    def _end_after_answers(self) -> None:
        if self._running is not None:
            self._running[1].keep_alive = not self.pipeline and self._running[1].keep_alive
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _say_refusal(self, *, linger: bool = True) -> None:
        assert self._refusal is not None
        self.transport.write(raw_answer(self._refusal))
        if linger and self.transport.can_write_eof():
            # To close now would take the answer away from a client who is still sending.
            self.transport.write_eof()
            self.phase, self.since = Phase.LINGERING, self.loop.time()
            self.flow.resume_reading()
        else:
            self.transport.close()

    def _give_up(self) -> None:
        """Cancel what is done for a client who has gone."""
        self.pipeline.clear()
        self._open = 0
        if self._running is not None:
            task, cycle = self._running
            self._running = None
            cycle.disconnected = True
            task.cancel()

    def _answered(self) -> bool:
        return self.cycle is not None and not self._in_head and self.cycle.response_complete

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > self._options.max_head:
            raise self._too_large()

    def _too_large(self) -> CallError:
        return head_too_large(
            f"the request line and headers have more than {self._options.max_head} bytes "
            "(PROVIDER_HTTP_MAX_HEADERS)"
        )
