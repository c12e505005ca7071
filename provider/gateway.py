"""The life of a gateway on one screen: HTTP or gRPC on one side, a provider on NATS on the other.

The rule of this file: it puts the parts together and decides when each begins and ends. What is
answered is the business of its doors, as in a host; a gateway loads no code and keeps no call.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any

from provider import connection
from provider.allocator import keep_memory
from provider.doors.front import Front
from provider.doors.over_nats import OverNats
from provider.errors import ExitCode
from provider.steady_client import SteadyClient
from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider.doors.grpc.options import GrpcOptions
    from provider.doors.http.options import HttpOptions
    from provider.wire.address import Address
    from provider.wire.values import Limits

_log = logs.get_logger(component="gateway")


async def run(
    http: HttpOptions | None,
    grpc: GrpcOptions | None,
    nats: connection.NatsOptions,
    address: Address,
    *,
    limits: Limits,
    wait: bool,
    call_timeout: float,
    stop_timeout: float,
    announce: Callable[[dict[str, str]], None] = lambda _addresses: None,
) -> int:
    """Answer over HTTP and gRPC until told to stop.

    Args:
        http: of the HTTP door; None for none.
        grpc: of the gRPC door; None for none.
        nats: where NATS is.
        address: where the provider is.
        limits: of the values sent and received.
        wait: keep trying while no NATS server answers at the start.
        call_timeout: seconds a call may take whose caller does not say; 0 for ever.
        stop_timeout: seconds requests may take to be answered when it stops.
        announce: told of `Front.addresses`, once, when NATS is connected.

    Returns:
        The exit code: 0 after an orderly stop, 1 when the connection was lost for good.

    Raises:
        StartError: NATS cannot be reached and waiting was refused, or a door cannot be opened.
    """
    keep_memory()
    client = SteadyClient()
    backend = OverNats(client, address, call_timeout, limits)
    front = Front(backend, http, grpc)
    stop, force = asyncio.Event(), asyncio.Event()
    lost = connected = False

    def told() -> None:
        (force if stop.is_set() else stop).set()

    def connection_lost() -> None:
        nonlocal lost
        if not stop.is_set():
            _log.error("nats_connection_lost_for_good")
            lost = True
            stop.set()

    async def hang_up() -> None:
        if connected and not client.is_closed:
            await client.close()

    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told)
            stack.callback(loop.remove_signal_handler, number)
        stack.push_async_callback(hang_up)
        stack.push_async_callback(backend.close)
        stack.push_async_callback(front.close)
        # Before NATS, so that probes are answered while it is waited for.
        await front.open()
        connecting = asyncio.ensure_future(
            connection.connect(
                nats, name="provider gateway", wait=wait, on_lost=connection_lost, client=client
            )
        )
        if not await _first(connecting, stop):
            return ExitCode.OK
        connected = True
        backend.open()
        announce(front.addresses)
        _log.info("ready", servers=nats.shown, subject=address.rpc, **front.addresses)
        await stop.wait()
        backend.draining = True
        began = time.monotonic()
        _log.info("draining", seconds=stop_timeout)
        front.stop_listening()
        settling = asyncio.ensure_future(front.settled())
        settled = False
        with contextlib.suppress(asyncio.TimeoutError):
            settled = await asyncio.wait_for(_first(settling, force), stop_timeout)
        if not settled:
            _log.warning("requests_left_behind", next="they are answered with unavailable")
        _log.info("drained", seconds=round(time.monotonic() - began, 3))
    return ExitCode.FAILED if lost else ExitCode.OK


async def _first(work: asyncio.Future[Any], event: asyncio.Event) -> bool:
    """Wait for the work, which is given up when the event comes first. Whether it was done."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not work.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
    if work.cancelled():
        return False
    work.result()
    return True
