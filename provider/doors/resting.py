"""Leaves the queue groups while nothing is loaded, so that other providers take the calls.

The rule of this file: one step at a time, towards what is so now. Code that does not load and the
save that mends it may come faster than a NATS server obeys.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import nats.errors

from provider.telemetry import logs

if TYPE_CHECKING:
    from provider.doors.nats import NatsDoor
    from provider.host.fleet import Fleet

_log = logs.get_logger(component="resting")


class Resting:
    """Has a door rest while nothing is loaded.

    Args:
        door: open.
        fleet: whose programs are loaded.
    """

    def __init__(self, door: NatsDoor, fleet: Fleet) -> None:
        self._door = door
        self._fleet = fleet
        self._broken: str | None = None
        self._work: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """From now on have the door do as the fleet does."""
        self._fleet.on_broken = self._told
        self._told(self._fleet.broken)

    def _told(self, broken: str | None) -> None:
        self._broken = broken
        if self._work is None or self._work.done():
            self._work = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Let the door be as it is."""
        self._fleet.on_broken = lambda _why: None
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait({self._work})

    async def _run(self) -> None:
        while self._door.listens is not (self._broken is None):
            broken = self._broken
            # Away, the server is told of it with all else when it is back.
            with contextlib.suppress(nats.errors.Error):
                if broken is None:
                    await self._door.listen()
                    _log.info("queue_groups_joined")
                else:
                    await self._door.stop_listening()
                    _log.warning("queue_groups_left", reason=broken)
