"""The load itself: calls go out when they are due, and each is followed to its end.

The rule of this file: the time of a call begins when it is due. With a rate that is when the
schedule says, however late it leaves: a provider that stalls delays the calls behind as it would
delay the callers, and that is what is shown. With calls in flight it is the moment it is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from provider.bench.line import Line
from provider.bench.outcome import DURATION, INTERRUPTED, LOST, NOBODY, Outcome
from provider.bench.plan import MOST_IN_FLIGHT
from provider.bench.schedule import Schedule
from provider.bench.tally import NO_ANSWER, NO_PROVIDER, Tally
from provider.errors import CallError, CallTimeout
from provider.wire.envelope import read_answer
from provider.wire.values import Limits, Values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provider.bench.plan import Plan

LATER = 1.0
"""Seconds we wait beyond the timeout we gave, so that the provider's own account of a late call
arrives rather than ours."""
MOST_BYTES = 32 << 20
"""Most bytes of requests under way at a time on each connection."""

_RESULT = b"\xa1\x66result"
_LOOK, _TELL, _PAUSE = 0.02, 0.5, 0.01
_SECOND: Final = 10**9
_clock = time.perf_counter_ns


class Load:
    """A load on one provider.

    Args:
        plan: what it is to be.
        subject: where the provider listens.
        requests: as `wire.envelope.write_request` makes them, sent in turn.

    Raises:
        ValueError: so many calls of that size are too much.
    """

    def __init__(self, plan: Plan, subject: str, requests: Sequence[bytes]) -> None:
        size = max(map(len, requests))
        self._most_open = min(MOST_IN_FLIGHT, MOST_BYTES // size * plan.connections)
        if (plan.in_flight or 1) > self._most_open:
            raise ValueError(
                f"--in-flight: {plan.in_flight or 1} calls of {size} bytes are too much for "
                f"{plan.connections} connections, each of which may carry {MOST_BYTES >> 20} MiB"
            )
        self.plan = plan
        self._subject = subject
        self._requests = requests
        self._values = Values(Limits(depth=128))
        self._patience = round((plan.timeout + LATER) * _SECOND)
        self._schedule = None if plan.rate is None else Schedule(plan.rate)
        self.lines = [Line(self._answered, self._end, self._lost) for _ in range(plan.connections)]
        self._next = 0
        self._open: dict[bytes, int] = {}
        self._given_up: set[bytes] = set()
        self._now = 0
        self._freed = 0
        self._nobody_took = 0
        self._came = 0
        self._arrived = self._late = self._stray = self._not_sent = 0
        self._answered_at = self._nobody_since = 0
        self._error: CallError | None = None
        self._before, self._counted = Tally(), Tally()
        self._from = self._until = 1 << 62
        self._scheduled = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = asyncio.Event()
        self._idle = asyncio.Event()
        self._ended = DURATION

    async def listen(self) -> None:
        """Be ready; the clients of all `lines` are connected."""
        for line in self.lines:
            await line.listen(self._subject, self._requests)

    async def first(self) -> CallError | None:
        """Make one call, to see whether there is somebody at all; the error it is answered with.

        Raises:
            CallTimeout: nobody answers.
        """
        self._send(self.lines[0], _clock())
        self.lines[0].send()
        if not await self._all_answered(self._patience / _SECOND):
            self._give_up(_clock())
            raise CallTimeout(
                f"no answer on {self._subject} within {self.plan.timeout:g} s; "
                "give slower functions more with --timeout"
            )
        return self._error

    @property
    def results(self) -> int:
        """How many calls were answered with a result so far, the warm-up included."""
        return self._before.results + self._counted.results

    @property
    def nobody_there(self) -> bool:
        """Whether the first call was taken by nobody."""
        return NO_PROVIDER in self._before.errors

    async def run(
        self, tell: Callable[[float, str], None] = lambda _seconds, _note: None
    ) -> Outcome:
        """The whole of it, to its end.

        Args:
            tell: called now and then with the seconds counted so far, and how it goes.
        """
        start = self._answered_at = _clock()
        used = time.process_time()
        self._from = start + round(self.plan.warm_up * _SECOND)
        self._until = self._from + round(self.plan.seconds * _SECOND)
        if self._schedule is None:
            per_line, more = divmod(self.plan.in_flight or 0, len(self.lines))
            for index, line in enumerate(self.lines):
                self._fill(line, per_line + (index < more))
        else:
            self._tick(start)
        await self._watch(tell)
        now = _clock()
        busy = (time.process_time() - used) / (max(1, now - start) / _SECOND)
        self._until = min(self._until, now)
        if self._timer is not None and self._schedule is not None:
            self._timer.cancel()
            self._tick(start)  # what was due to the last
            due, warm = (
                self._schedule.due_by(moment - 1 - start) for moment in (self._until, self._from)
            )
            self._not_sent = max(0, due - max(self._scheduled, warm))
        await self._drain()
        return Outcome(
            ended=self._ended,
            seconds=max(0, self._until - self._from) / _SECOND,
            counted=self._counted,
            before=self._before,
            arrived=self._arrived,
            not_sent=self._not_sent,
            late=self._late,
            stray=self._stray,
            busy=busy,
        )

    def stop(self, why: str = INTERRUPTED) -> None:
        """End it now, with what was counted so far."""
        if not self._stopped.is_set():
            self._ended = why
            self._stopped.set()

    # --- going out -------------------------------------------------------------------------------

    def _send(self, line: Line, due: int) -> None:
        self._open[line.call(self._next)] = due
        self._next += 1
        (self._counted if due >= self._from else self._before).sent += 1

    def _fill(self, line: Line, count: int) -> None:
        """Send so many calls, if it is not over."""
        now = _clock()
        if now < self._until and not self._stopped.is_set():
            for _ in range(count):
                self._send(line, now)
            line.send()

    def _tick(self, start: int) -> None:
        """Send what is due by the schedule, and come again when more is."""
        assert self._schedule is not None
        now = _clock()
        last = self._schedule.due_by(min(now, self._until - 1) - start)
        room = self._most_open - len(self._open)
        schedule, lines, number = self._schedule, self.lines, self._scheduled
        while number < last and room > 0:
            due = start + schedule.due_at(number)
            self._send(lines[number % len(lines)], due)
            (self._counted if due >= self._from else self._before).lags.record(now - due)
            number, room = number + 1, room - 1
        self._scheduled = number
        for line in lines:
            line.send()
        if number < last:
            following = now + round(_PAUSE * _SECOND)
        else:
            following = start + schedule.due_at(number)
        if now >= self._until or self._stopped.is_set():
            return
        wait = max(0, min(following, self._until) - _clock()) / _SECOND
        self._timer = asyncio.get_running_loop().call_later(wait, self._tick, start)

    # --- coming in -------------------------------------------------------------------------------

    def _answered(self, name: bytes, data: bytes) -> None:
        now = self._now
        if not now:
            now = self._now = _clock()
        due = self._open.pop(name, None)
        if due is None:
            self._unexpected(name)
            return
        tally = self._counted if due >= self._from else self._before
        if data.startswith(_RESULT) or not self._is_error(data, tally):
            tally.results += 1
            tally.latencies.record(now - due)
            self._came += 1
        self._freed += 1

    def _is_error(self, data: bytes, tally: Tally) -> bool:
        """Whether it is one; then it was counted."""
        if not data:
            # The server's own word. The answer of a provider is never empty.
            tally.failed(NO_PROVIDER)
            self._nobody_took += 1
            return True
        try:
            read_answer(data, self._values)
        except CallError as error:
            self._error = error
            tally.failed(error.kind)
            return True
        return False

    def _end(self, line: Line) -> None:
        now, freed, nobody = self._now, self._freed, self._nobody_took
        if self._from <= now < self._until:
            self._arrived += self._came
        if freed > nobody:
            self._answered_at, self._nobody_since = now, 0
        elif nobody and not self._nobody_since:
            self._nobody_since = now
        self._now = self._freed = self._nobody_took = self._came = 0
        if not self._open:
            self._idle.set()
        if self._schedule is not None or not freed or self._from == 1 << 62:
            return
        if nobody:
            # They would come back as fast as they go.
            asyncio.get_running_loop().call_later(_PAUSE, self._fill, line, nobody)
        if freed > nobody:
            self._fill(line, freed - nobody)

    def _unexpected(self, name: bytes) -> None:
        if name in self._given_up:
            self._given_up.discard(name)
            self._late += 1
        else:
            self._stray += 1

    # --- coming to an end ------------------------------------------------------------------------

    async def _watch(self, tell: Callable[[float, str], None]) -> None:
        """Wait for the end, and give up what takes too long."""
        told = 0.0
        while not self._stopped.is_set():
            now = _clock()
            if now >= self._until:
                return
            self._look(now)
            if now - told >= _TELL * _SECOND:
                told = now
                tell(max(0.0, (now - self._from) / _SECOND), self._note(now))
            left = min(_LOOK, max(0.0, (self._until - now) / _SECOND))
            try:
                async with asyncio.timeout(left):
                    await self._stopped.wait()
            except TimeoutError:
                continue

    def _look(self, now: int) -> None:
        if not all(line.client.is_connected for line in self.lines):
            self._lost()
        if self._nobody_since and now - self._nobody_since > _SECOND:
            self.stop(NOBODY)
        freed = self._give_up(now)
        if freed and self._schedule is None:
            for index in range(freed):
                self._fill(self.lines[index % len(self.lines)], 1)

    def _give_up(self, now: int) -> int:
        """Count calls that nobody answered in time; how many they were."""
        late: list[tuple[bytes, int]] = []
        # Oldest first.
        for name, due in self._open.items():
            if due + self._patience > now:
                break
            late.append((name, due))
        for name, due in late:
            del self._open[name]
            self._given_up.add(name)
            tally = self._counted if due >= self._from else self._before
            tally.failed(NO_ANSWER)
            tally.latencies.record(now - due)
        if late and late[-1][1] >= self._answered_at:
            self.stop(NOBODY)
        return len(late)

    async def _drain(self) -> None:
        """Wait for the last answers, unless it was ended early."""
        while self._open and not self._stopped.is_set():
            self._look(_clock())
            await self._all_answered(_LOOK)

    async def _all_answered(self, seconds: float) -> bool:
        self._idle.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        return not self._open

    def _lost(self) -> None:
        self.stop(LOST)

    def _note(self, now: int) -> str:
        if now < self._from:
            return "warming up"
        rate = self._arrived / max(1e-3, (now - self._from) / _SECOND)
        slow = self._counted.latencies.percentile(99) / 1e6
        wrong = sum(self._counted.errors.values())
        return f"{rate:.0f} calls/s, p99 {slow:.3g} ms" + (f", {wrong} errors" if wrong else "")
