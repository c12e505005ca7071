"""Finding a provider, and hanging up in the end.

The rule of this file: what was opened here is closed here, however the caller leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

from provider import connection
from provider.client.calling import DEFAULT_TIMEOUT
from provider.client.python import Python
from provider.client.waiting import PythonSync, waited_for
from provider.servers import parse_servers
from provider.steady_client import SteadyClient
from provider.wire.address import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from provider.wire.values import Limits


@contextlib.asynccontextmanager
async def connect(
    servers: str | connection.NatsOptions = "nats://127.0.0.1:4222",
    *,
    lattice: str = "default",
    key: str = "python",
    link_name: str = "default",
    name: str = "python",
    timeout: float = DEFAULT_TIMEOUT,
    limits: Limits | None = None,
) -> AsyncIterator[Python]:
    """Connect to NATS and yield the provider found there.

    Args:
        servers: URL of the NATS server, several with commas, or full options.
        lattice: the provider's PROVIDER_LATTICE.
        key: its PROVIDER_KEY.
        link_name: its PROVIDER_LINK_NAME.
        name: its PROVIDER_NAME.
        timeout: seconds a call waits unless it says otherwise; 0 for ever.
        limits: of the values sent and received.

    Raises:
        StartError: NATS cannot be reached.
        ValueError: `servers` is no URL of a NATS server.
    """
    async with connected(servers) as client:
        yield Python(client, Address(lattice, key, link_name, name), timeout, limits)


@contextlib.asynccontextmanager
async def connected(servers: str | connection.NatsOptions) -> AsyncIterator[SteadyClient]:
    """Connect to NATS, and hang up in the end.

    Raises:
        StartError: NATS cannot be reached.
        ValueError: `servers` is no URL of a NATS server.
    """
    options = (
        servers
        if isinstance(servers, connection.NatsOptions)
        else connection.NatsOptions(servers=parse_servers(servers))
    )
    client = await connection.connect(
        options,
        name="provider client",
        wait=False,
        client=SteadyClient(),
    )
    try:
        yield client
    finally:
        await client.close()


@contextlib.contextmanager
def connect_sync(
    servers: str | connection.NatsOptions = "nats://127.0.0.1:4222",
    *,
    lattice: str = "default",
    key: str = "python",
    link_name: str = "default",
    name: str = "python",
    timeout: float = DEFAULT_TIMEOUT,
    limits: Limits | None = None,
) -> Iterator[PythonSync]:
    """As `connect`, for code that does not await. The connection lives in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="provider-client", daemon=True)
    thread.start()
    opened = connect(
        servers,
        lattice=lattice,
        key=key,
        link_name=link_name,
        name=name,
        timeout=timeout,
        limits=limits,
    )
    try:
        python = PythonSync(waited_for(opened.__aenter__(), loop), loop)
        try:
            yield python
        finally:
            python.end_streams()
            waited_for(opened.__aexit__(None, None, None), loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
