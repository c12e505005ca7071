"""Workers put in the place of others that still serve: new before old.

The rule of this file: one at a time, whatever it is for: newer code where each load gets a fresh
process, so many calls served, so much memory taken. One that cannot be started leaves the old one
where it is.
"""

from __future__ import annotations

import asyncio
import collections
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provider.errors import StartError
from provider.host.life import Cause
from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provider.host.call import Call
    from provider.host.reload import Reload
    from provider.host.slot import Slot

LOOK = 1.0
"""Seconds between two looks at how much memory workers take."""
JITTER = 0.1
"""Part of its calls by which a worker is recycled sooner, so that several do not go together."""
PATIENCE = 60.0
"""Seconds after which recycling is tried again that failed."""

_log = logs.get_logger(component="fleet")


@dataclass(frozen=True)
class RecycleOptions:
    """When a worker has served long enough; 0 for never.

    Attributes:
        calls: that it has begun.
        memory: bytes it takes.
    """

    calls: int = 0
    memory: int = 0


class Renewals:
    """Puts fresh workers in the place of others.

    Args:
        slots: all of them.
        options: when that is due by itself.
        over: called with each reload, once it was done or was not.
        renewed: called for each worker that gave way, with the reason.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        options: RecycleOptions,
        over: Callable[[Reload], None],
        renewed: Callable[[Cause], None],
    ) -> None:
        self._slots = slots
        self._options = options
        self._over = over
        self._renewed = renewed
        self._due: collections.deque[tuple[Sequence[Slot], Cause, Reload | None]]
        self._due = collections.deque()
        self._work: asyncio.Task[None] | None = None
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._marks: dict[Slot, int] = {}
        """After so many calls each of them is recycled."""
        self._recycling: set[Slot] = set()

    def start(self) -> None:
        """Begin to look."""
        if self._options.memory:
            self._look_again(LOOK)

    async def stop(self) -> None:
        """End what is under way, and begin nothing any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    def reload(self, reload: Reload) -> None:
        """Have all workers give way to ones with the newest code."""
        reload.asked += 1
        self._add(self._slots, Cause.RELOAD, reload)

    def joined_by(self, call: Call) -> bool:
        """Have a reload that has not begun yet answer this call, too, if there is one."""
        for _, _, reload in self._due:
            if reload is not None and reload.call is None:
                reload.call = call
                call.number = 1  # it waits for no worker any more
                return True
        return False

    def served(self, slot: Slot) -> None:
        """Look whether a worker has begun as many calls as it may."""
        if not self._options.calls or slot.link is None or slot in self._recycling:
            return
        if slot not in self._marks:
            self._marks[slot] = _sooner(self._options.calls)
        if (begun := slot.link.begun()) >= self._marks[slot]:
            self._recycle(slot, calls=begun)

    def joined(self, slot: Slot) -> None:
        """Note that a fresh worker serves there."""
        self._marks.pop(slot, None)

    def _look(self) -> None:
        for slot in self._slots:
            if slot.link is None or slot in self._recycling:
                continue
            taken = slot.link.memory
            if taken >= self._options.memory:
                self._recycle(slot, memory_bytes=taken)
        self._look_again(LOOK)

    def _look_again(self, pause: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(pause, self._look)

    def _recycle(self, slot: Slot, **why: int) -> None:
        assert slot.link is not None
        _log.info("worker_recycled", worker=slot.link.pid, **why)
        self._recycling.add(slot)
        self._add((slot,), Cause.RECYCLED, None)

    def _add(self, slots: Sequence[Slot], cause: Cause, reload: Reload | None) -> None:
        self._due.append((slots, cause, reload))
        if not self._stopped and (self._work is None or self._work.done()):
            self._work = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._due:
            slots, cause, reload = self._due.popleft()
            error: StartError | None = None
            for slot in slots:
                try:
                    await self._renew(slot, cause)
                except StartError as failed:
                    error = failed
                    break
                except Exception as failed:  # noqa: BLE001  whatever it was, the next one has its turn
                    error = StartError(repr(failed))
                    break
            if reload is not None:
                _conclude(reload, error)
                self._over(reload)
            elif error is not None:
                _log.error("recycling_failed", error=str(error), again_in=PATIENCE)
                loop = asyncio.get_running_loop()
                for slot in slots:
                    loop.call_later(PATIENCE, self._recycling.discard, slot)
            else:
                self._recycling.difference_update(slots)

    async def _renew(self, slot: Slot, cause: Cause) -> None:
        if slot.serves:
            await slot.renew()
            self._renewed(cause)
        else:
            # It is being replaced already, by one that may have read the code before it changed.
            slot.missed = True


def _conclude(reload: Reload, error: StartError | None) -> None:
    reload.asked -= 1
    if error is None:
        reload.done += 1
    else:
        text, _, trace = str(error).partition("\n")
        reload.failed(text, trace)


def _sooner(calls: int) -> int:
    return max(1, int(calls * random.uniform(1 - JITTER, 1)))  # noqa: S311  no secret hangs on it
