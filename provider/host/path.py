"""The one path every call takes: admission, deadline, worker, answer.

The rule of this file: a call that was accepted is answered exactly once, whoever answers first:
the worker, its deadline, or the end of the provider. Every door makes a `Call` and hands it to
`CallPath.submit`; nothing on the path makes a task or a timer for a single call. Doors that prefer
to await use `CallPath.ask`.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from provider.errors import CallError, CallTimeout, Fault, Unauthorized, Unavailable
from provider.host.call import RELOAD, StreamedCall
from provider.host.streams import Streams
from provider.telemetry import logs

if TYPE_CHECKING:
    from provider.host.admission import Admission
    from provider.host.cache import ResultCache
    from provider.host.call import Call
    from provider.host.fleet import Fleet

MOST_GIVEN_UP = 64
"""Calls that were given up and may stand in the queue all the same."""

_log = logs.get_logger(component="calls")


class CallPath:
    """Admission, deadline, worker, answer.

    Args:
        admission: who is turned away.
        fleet: the workers.
        call_timeout: seconds for callers who name none, 0 for no deadline.
        max_call_timeout: most seconds a caller may name, 0 for no maximum.
        reload_allowed: whether the operation `reload` is obeyed.
        cache: results that answer again; None to keep none.
    """

    def __init__(
        self,
        admission: Admission,
        fleet: Fleet,
        *,
        call_timeout: float,
        max_call_timeout: float,
        reload_allowed: bool,
        cache: ResultCache | None = None,
    ) -> None:
        self._admission = admission
        self._fleet = fleet
        self._call_timeout = call_timeout or math.inf
        self._max_call_timeout = max_call_timeout or math.inf
        self.patience = min(self._call_timeout, self._max_call_timeout)
        """Seconds a call may take whose caller says nothing."""
        self.burst = fleet.burst
        self._reload_allowed = reload_allowed
        self._given_up = 0
        """Calls given up since those were last taken out of the queue."""
        self._wake: asyncio.TimerHandle | None = None
        self._wake_at = math.inf
        self.draining = False
        self._catalogue = fleet.catalogue
        self._cache = cache
        if cache is not None:
            fleet.on_renewed = cache.clear
        fleet.finish = self.finish
        self.streams = Streams(self.finish, fleet.forget_answered)
        fleet.on_chunk = self.streams.take

    @property
    def wants_context(self) -> bool:
        """Whether the program asks what is known of a call beside its argument."""
        return self._fleet.wants_context

    def deadline(self, timeout: float | None, now: float | None = None) -> float:
        """When a call has to be answered, on the monotonic clock.

        Args:
            timeout: seconds the caller gave, None when it gave none.
            now: when it came, if that is known.
        """
        now = time.monotonic() if now is None else now
        return now + (self.patience if timeout is None else min(timeout, self._max_call_timeout))

    def submit(self, call: Call) -> None:
        """Accept the call or refuse it; either way it is answered once."""
        if self.draining:
            stopping = "the provider is stopping; call another instance"
            self._refuse(call, Unavailable(stopping, retry_after_ms=1000))
            return
        if call.operation == RELOAD:
            if not self._reload_allowed:
                self._refuse(call, Unauthorized("reload is switched off (PROVIDER_RELOAD=off)"))
                return
            self._fleet.try_again()
        elif self._fleet.broken is not None:
            self._refuse(call, Unavailable(self._fleet.broken, retry_after_ms=1000))
            return
        elif self._catalogue.cached and not call.streams and self._answer_again(call):
            return
        refusal = self._admission.admit(call)
        if refusal is not None:
            self._refuse(call, refusal)
            return
        if call.deadline < self._wake_at:
            self._wake_for(call.deadline)
        self._fleet.submit(call)

    async def ask(self, call: Call) -> bytes:
        """Submit the call and wait for its result.

        Args:
            call: whose `answer` is set here.

        Raises:
            CallError: the error it was answered with.
        """
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def answer(_call: Call, result: bytes | None, error: CallError | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result or b"")

        call.answer = answer
        self.submit(call)
        return await future

    def finish(self, call: Call, result: bytes | None, error: CallError | None) -> None:
        """Answer the call, unless somebody did."""
        if not call.open:
            return
        call.open = False
        self._admission.leave(call, error)
        if self._catalogue.all:
            self._catalogue.count(call, error)
        if error is not None:
            self._account_for(call, error)
        self._tell(call, result, error)

    def give_up(self, call: Call, error: CallError) -> None:
        """Answer a call nobody waits for any more; one in the hands of a worker it is told of.

        Args:
            call: that was submitted.
            error: what it is answered and counted with.
        """
        if call.open and not call.number:
            self.finish(call, None, error)
            call.payload = b""  # it stands in the queue for a while
            self._given_up += 1
            if self._given_up >= MOST_GIVEN_UP:
                self._given_up = 0
                self._fleet.forget_answered()
        elif call.open and call.holder is not None:
            call.holder.left(call)

    async def drained(self) -> None:
        """Wait until every accepted call has been answered."""
        await self._admission.empty()

    def abandon(self, reason: str) -> None:
        """Answer everything that is left, because the provider leaves."""
        for call in list(self._fleet.open_calls()):
            self.finish(call, None, Unavailable(reason, retry_after_ms=1000))

    def _tell(self, call: Call, result: bytes | None, error: CallError | None) -> None:
        try:
            call.answer(call, result, error)
        except Exception:  # noqa: BLE001  a door that fails with one answer keeps no other one back
            _log.exception("answer_failed", operation=call.operation, request_id=call.request_id)

    def _account_for(self, call: Call, error: CallError) -> None:
        # The author of the dispatch module reads logs; the caller reads the answer. Both get it.
        log = _log.debug if error.fault is Fault.CALLER else _log.error
        log(
            "call_failed",
            kind=error.kind,
            operation=call.operation,
            request_id=call.request_id,
            message=error.message,
            type=error.type,
            seconds=round(time.monotonic() - call.received, 6),
            **({"exception": error.traceback} if error.traceback else {}),
        )

    def _answer_again(self, call: Call) -> bool:
        """Answer the call with a result that is kept, if there is one and the code is no newer."""
        if self._cache is None or self._fleet.outdated:
            return False
        result = self._cache.find(call)
        if result is None:
            return False
        call.open = False
        self._catalogue.count(call, None)
        self._tell(call, result, None)
        return True

    def _refuse(self, call: Call, error: CallError) -> None:
        call.open = False
        self._admission.refused(error)
        self._catalogue.count(call, error)
        self._tell(call, None, error)

    def _wake_for(self, deadline: float) -> None:
        # One timer for all calls, set to the nearest deadline. Calls that were answered meanwhile
        # leave it alone: it finds them gone, and goes to sleep until the next one.
        if self._wake is not None:
            self._wake.cancel()
        self._wake_at = deadline
        delay = max(0.0, deadline - time.monotonic())
        self._wake = asyncio.get_running_loop().call_later(delay, self._expire)

    def _expire(self) -> None:
        self._wake, self._wake_at = None, math.inf
        self._fleet.take_finished()
        now = time.monotonic()
        nearest = math.inf
        for call in list(self._fleet.open_calls()):
            if call.deadline > now:
                nearest = min(nearest, call.deadline)
            else:
                self.finish(call, None, self._expired(call, now - call.received))
        self._fleet.forget_answered()
        if nearest < self._wake_at:
            self._wake_for(nearest)

    def _expired(self, call: Call, seconds: float) -> CallError:
        if call.operation == RELOAD:
            return CallTimeout(f"the reload was not done after {seconds:.3f} s; it may still come")
        holder = call.holder
        if holder is None or not call.begun:
            if holder is not None:
                holder.stalled()
            return CallTimeout(f"the call was still waiting after {seconds:.3f} s; it was not run")
        if isinstance(call, StreamedCall):
            return self.streams.expired(call, seconds)
        holder.overdue(call)
        return CallTimeout(f"the handler was still running after {seconds:.3f} s; it was stopped")
