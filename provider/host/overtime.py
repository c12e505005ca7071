"""A worker that is out of time: a call past its deadline, a stream that goes on, a stand still.

The rule of this file: a worker is ended for a call it has begun and not ended, or for beginning
none though it has nothing else to do. It is given a moment first, because an answer may be on its
way.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from provider.host.life import Cause, State

if TYPE_CHECKING:
    from provider.host.call import Call, StreamedCall
    from provider.host.link import Link

GRACE = 0.05
"""Seconds a call past its deadline has to come in after all, before its worker is killed."""
STALL_GRACE = 2.0
"""Seconds a worker with nothing to do has to begin a call, once one was not begun in time."""
STOP_GRACE = 1.0
"""Least seconds a stream has to stop in, before its worker is killed."""


class Overtime:
    """Ends a worker that is out of time.

    Args:
        link: of the worker.
        concurrency: calls that it may run at once.
    """

    def __init__(self, link: Link, concurrency: int) -> None:
        self._link = link
        self._alone = concurrency == 1
        self._suspected = False

    def overdue(self, call: Call) -> None:
        """Kill the worker for this call, unless its answer comes within a moment."""
        asyncio.get_running_loop().call_later(GRACE, self._kill_if_unanswered, call)

    def stopping(self, call: StreamedCall) -> None:
        """Kill the worker if it has not stopped this stream when the deadline comes."""
        if call.deadline != math.inf and call.guard is None:
            patience = max(STOP_GRACE, call.deadline - time.monotonic())
            loop = asyncio.get_running_loop()
            call.guard = loop.call_later(patience, self._kill_if_running, call)

    def stalled(self) -> None:
        """Kill the worker unless it gets on: it may stand still between two calls."""
        if not self._suspected and self._idles(begun := self._link.begun()):
            self._suspected = True
            asyncio.get_running_loop().call_later(STALL_GRACE, self._kill_if_stalled, begun)

    def _idles(self, begun: int) -> bool:
        """Whether it has calls in hand and nothing to do but to begin them."""
        link = self._link
        return (
            link.state in (State.BUSY, State.DRAINING)
            and bool(link.calls)
            and begun not in link.questions
            and not any(number <= begun for number in link.calls)
        )

    def _kill_if_stalled(self, begun: int) -> None:
        self._suspected = False
        if self._link.begun() == begun and self._idles(begun):
            why = f"it had nothing to do and did not begin a call within {STALL_GRACE:g} s"
            self._link.give_up(why, Cause.HANG)

    def _kill_if_running(self, call: Call) -> None:
        if call.number <= self._link.begun():
            self._kill_if_unanswered(call)

    def _kill_if_unanswered(self, call: Call) -> None:
        link = self._link
        if link.calls.get(call.number) is not call:
            return
        begun = link.begun()
        if self._alone and link.batches:
            if any(each.open for number, each in link.calls.items() if number <= begun):
                # It may run together with a call that has time left.
                asyncio.get_running_loop().call_later(4 * GRACE, self._kill_if_unanswered, call)
                return
        elif self._alone and begun > call.number:
            return  # it has ended, its answer is on the way, and another call runs
        link.give_up(f"{call.operation} ran past its deadline", Cause.DEADLINE)
