"""Ending subscriptions so that no message is lost, and none is waited for in vain.

The rule of this file: what the server has delivered is handled before this returns; a server that
is not there delivers nothing and is not asked.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import nats.errors

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.subscription import Subscription

PATIENCE = 2
"""Seconds a server has to say that nothing more is coming."""


async def settle(client: Client, patience: int = PATIENCE) -> None:
    """Wait until the server has done everything it was asked to so far.

    One `flush` of nats-py does not tell: it writes its PING past commands that still wait to be
    written, so the PONG may come before the server has seen a SUB or UNSUB. Behind the second PING
    nothing is left.

    Raises:
        nats.errors.Error: there is no connection, or no answer within `patience` seconds.
    """
    await client.flush(patience)
    await client.flush(patience)


async def drain(client: Client, subscriptions: list[Subscription]) -> None:
    """Unsubscribe all at once, handle what was delivered, and empty the list."""
    ending, subscriptions[:] = list(subscriptions), []
    if not client.is_connected:
        return
    try:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*map(_drain, ending))
    except (TimeoutError, nats.errors.Error):
        # The server left in the middle of it, and what it had not delivered with it.
        return


async def _drain(subscription: Subscription) -> None:
    await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py gives it no types
