"""The caller's end of a streamed answer over NATS (docs/protocol.md, Streams).

The rule of this file: credit is given for what was used, not for what arrived, so whoever is slow
slows down the function; and who leaves says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from typing import TYPE_CHECKING, Any

import nats.errors

from provider.carried import check_carried
from provider.denied import noticing
from provider.errors import CallError, CallTimeout, Unavailable
from provider.wire.streamed import Said, StreamReader, write_said
from provider.wire.window import BYTES, CHUNKS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

MOMENT = 0.5
"""Seconds a caller who leaves at once stays to learn where to say so."""


async def streamed_answer(
    client: Client,
    subject: str,
    request: bytes,
    patience: float,
    reader: StreamReader,
    on_progress: Callable[[dict[str, Any]], object] | None = None,
    headers: dict[str, str] | None = None,
) -> AsyncGenerator[Any, None]:
    """Send a request for a stream, and yield its items.

    Args:
        client: connected.
        subject: where a provider listens.
        request: that asks for a stream, and for its progress.
        patience: seconds until the end of the stream; infinity for no limit.
        reader: new.
        on_progress: given each word on how far the stream is.
        headers: of the request.

    Raises:
        TooLarge: the server does not carry so much.
        NoRespondersError: nobody listens.
        CallTimeout: the end did not come in time.
        Unauthorized: the server does not let this user call there.
        Unavailable: NATS did not take it.
        CallError: the error that ended the stream.
        BadResult: what came is no stream, or a part of it is missing.
    """
    check_carried(client, request, headers)
    end = asyncio.get_running_loop().time() + patience
    subscription = await _asked(client, subject, request, headers)
    flow, taken, size = "", 0, 0
    # nats-py loses a message that comes in the moment in which somebody stops waiting for it, and
    # the first one says where the stream is steered.
    first = asyncio.ensure_future(_next(client, subscription, subject, end))
    try:
        await asyncio.wait({first})
        message = await first
        while True:
            items = reader.read(message.data)
            if reader.ended:
                return
            flow = message.reply
            if reader.told is not None and on_progress is not None:
                on_progress(reader.told)
            for item in items:
                yield item
                taken, size = taken + 1, size + len(message.data)
            if flow and (taken >= CHUNKS // 2 or size >= BYTES // 2):
                await _say(client, flow, Said(credit=taken))
                taken = size = 0
            message = await _next(client, subscription, subject, end, flow)
    except asyncio.CancelledError:
        flow = flow or await _flow_of(first)
        raise
    finally:
        # Of a connection that is gone nobody has to be told.
        with contextlib.suppress(nats.errors.Error):
            if flow and not reader.ended:
                await client.publish(flow, write_said(Said(cancel=True)))
            await subscription.unsubscribe()


async def _asked(
    client: Client, subject: str, request: bytes, headers: dict[str, str] | None
) -> Subscription:
    """Send the request; where its answer comes in."""
    inbox = client.new_inbox()
    try:
        subscription = await client.subscribe(inbox)
        try:
            await client.publish(subject, request, reply=inbox, headers=headers)
        except BaseException:  # cancelled too: nobody hears what is answered
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
            raise
    except (nats.errors.Error, ValueError) as error:
        raise Unavailable(f"NATS did not take the call: {error!r}") from None
    return subscription


async def _say(client: Client, flow: str, said: Said) -> None:
    try:
        await client.publish(flow, write_said(said))
    except nats.errors.Error as error:
        raise Unavailable(f"NATS did not carry the stream: {error!r}") from None


async def _flow_of(first: asyncio.Future[Msg]) -> str:
    """Where a stream is steered of which nothing was read; empty if nothing comes in a moment.

    A provider says at once that it has accepted a stream.
    """
    await asyncio.wait({first}, timeout=MOMENT)
    first.cancel()
    with contextlib.suppress(nats.errors.Error, CallError, asyncio.CancelledError):
        return (await first).reply
    return ""


async def _next(
    client: Client, subscription: Subscription, subject: str, end: float, flow: str = ""
) -> Msg:
    left = end - asyncio.get_running_loop().time()
    try:
        with noticing(client, flow or subject):  # what was published on last
            message = await subscription.next_msg(
                None if left == math.inf else min(max(left, 0.001), threading.TIMEOUT_MAX)
            )
    except nats.errors.TimeoutError:
        raise CallTimeout(f"the stream on {subject} did not end in time") from None
    except nats.errors.Error as error:
        raise Unavailable(f"NATS did not carry the stream: {error!r}") from None
    if message.headers and message.headers.get("Status") == "503":
        raise nats.errors.NoRespondersError
    return message
