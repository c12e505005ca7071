"""Streams as server-sent events and as newline-delimited JSON.

The rule of this file: nothing is said before the first item or error is there, so that a function
that fails at once is answered with its status. What goes wrong later ends the stream with an event
or a line that says so. The next item is asked for when the client has taken the one before, so a
client who is slow slows down the function and no memory fills.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from provider.doors.http.bodies import EVENTS, to_json
from provider.doors.http.problems import document
from provider.errors import CallError

if TYPE_CHECKING:
    from provider.doors.backend import Backend, HttpCall
    from provider.doors.http.exchange import Exchange
    from provider.wire.values import Values


async def stream(
    exchange: Exchange, backend: Backend, call: HttpCall, written: bytes, values: Values
) -> None:
    """Call, and answer with the items of the result as they come.

    Args:
        exchange: to be answered.
        backend: runs the call.
        call: that is run.
        written: `bodies.EVENTS` or `bodies.LINES`.
        values: reads results that are no JSON.

    Raises:
        CallError: it failed before its first item.
    """
    before, after = (b"data: ", b"\n\n") if written == EVENTS else (b"", b"\n")
    async with contextlib.aclosing(backend.stream(call)) as chunks:
        try:
            async for chunk in chunks:
                item = to_json(chunk, call.encoding, values)
                if not exchange.started:
                    await _begin(exchange, written)
                await exchange.part(before + item + after)
        except CallError as error:
            if not exchange.started:
                raise
            told = document(error, exchange.id, tracebacks=exchange.options.tracebacks)
            if written == EVENTS:
                await exchange.part(b"event: error\ndata: " + told + b"\n\n", last=True)
            else:
                await exchange.part(b'{"error":' + told + b"}\n", last=True)
            return
    if not exchange.started:
        await _begin(exchange, written)
    # Said, because a browser that sees a stream end asks for it again.
    await exchange.part(b"event: end\ndata: {}\n\n" if written == EVENTS else b"", last=True)


async def _begin(exchange: Exchange, written: bytes) -> None:
    await exchange.begin(
        200,
        [
            (b"content-type", written),
            (b"cache-control", b"no-store"),
            # Else a proxy may keep the items until there are more of them.
            (b"x-accel-buffering", b"no"),
        ],
    )
