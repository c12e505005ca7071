"""Subscriptions beside the calls: bounded while they last, and ended so that no message is lost.

The rule of this file: what strangers send faster than it is answered takes little memory. At the
end what the server has delivered is handled before this returns; a server that is not there
delivers nothing and is not asked.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import nats.errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

PATIENCE = 2
"""Seconds a server has to say that nothing more is coming."""
MOST_WAITING, MOST_BYTES = 16_384, 8 * 1024 * 1024
"""Messages and bytes of one subscription that may wait; nats-py would keep 524,288 and 128 MiB.
Room for the links of a lattice, which come all at once."""


async def bounded(
    client: Client, subject: str, heard: Callable[[Msg], Awaitable[None]], queue: str = ""
) -> Subscription:
    """Subscribe. What comes while as much waits as may is dropped, logged and counted."""
    return await client.subscribe(
        subject,
        queue=queue,
        cb=heard,
        pending_msgs_limit=MOST_WAITING,
        pending_bytes_limit=MOST_BYTES,
    )


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
