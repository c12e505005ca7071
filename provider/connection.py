"""The connection to NATS, and how it is made.

The rule of this file: no text of an error holds a secret. What becomes of the connection later is
in reconnecting.py. Used by the host, the client and the commands.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar, cast

import nats.errors
from nats.aio.client import Client

from provider.errors import StartError
from provider.nats_options import NatsOptions
from provider.reconnecting import Connecting, pause
from provider.steady_client import SteadyClient

if TYPE_CHECKING:
    from collections.abc import Callable
__all__ = ["NatsOptions", "connect"]

C = TypeVar("C", bound=Client)

CONNECT_TIMEOUT = 2
"""Seconds one try at one server may take."""
MOST_UNANSWERED = 2
"""PINGs a server may leave without an answer; at the next one it is taken for gone."""


async def connect(
    options: NatsOptions,
    *,
    name: str,
    wait: bool,
    on_lost: Callable[[], None] = lambda: None,
    client: C,
) -> C:
    """Connect, and reconnect for ever after.

    Args:
        options: where and who.
        name: shown by the server beside the connection.
        wait: keep trying while no server answers; otherwise give up after one try at each.
        on_lost: called once when the connection is closed for good without being asked to.
        client: not connected yet; it is what is returned.

    Raises:
        StartError: no server answered and `wait` is false, or the server refused us.
    """
    state = Connecting(options, wait, on_lost, client)
    arguments = options.as_arguments()
    try:
        await client.connect(
            **arguments,
            name=name,
            max_reconnect_attempts=-1,
            reconnect_time_wait=pause(0),
            connect_timeout=CONNECT_TIMEOUT,
            # Not typed as the fraction it is, because nats-py only announces whole seconds.
            ping_interval=cast("Any", options.ping),
            max_outstanding_pings=MOST_UNANSWERED,
            pending_size=(
                client.most_pending
                if isinstance(client, SteadyClient)
                else SteadyClient.most_pending
            ),
            error_cb=state.on_error,
            disconnected_cb=state.on_disconnected,
            reconnected_cb=state.on_reconnected,
            lame_duck_mode_cb=state.on_lame_duck,
            closed_cb=state.on_closed,
        )
    except BaseException as error:
        # nats-py leaves half a connection open, and waits for ever for the end of a TLS handshake
        # that failed.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(0.2):
                await client.close()
        if isinstance(error, TimeoutError | nats.errors.Error | OSError | ValueError):
            raise StartError(f"cannot connect to NATS at {options.shown}: {error!r}") from None
        raise
    state.made = True
    return client
