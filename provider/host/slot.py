"""One place for a worker: who serves there, who comes next, and who is on the way out.

The rule of this file: one worker at a time runs calls here. One that dies is replaced, at once if
it had lived, else with growing pauses that a changed file ends; one that still lives is replaced by
another that has loaded before, and finishes what it has in hand before the other begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from provider.errors import StartError
from provider.host.health import Health
from provider.host.life import TAKES_CALLS, Cause
from provider.host.link import Link
from provider.host.owner import Death
from provider.host.reload import Reloads
from provider.wire.frames import FrameError

if TYPE_CHECKING:
    from provider.host.burst import Burst
    from provider.host.call import Call
    from provider.host.contract import WorkerSetup
    from provider.host.owner import Owner
    from provider.host.reload import Reload
    from provider.host.spawned import Spawned

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds before a worker that died young is replaced; doubled each time."""
YOUNG = 5.0
"""Seconds after which a worker that finished no call counts as having lived all the same."""
QUEUED = 0.01
"""Seconds of work in the hands of one of several workers; what waits longer may go to another."""
STUCK = 0.005
"""Seconds without an answer, beyond what two calls usually take, after which one of several workers
is given nothing more."""
AHEAD_CALLS = 256
"""Most calls in the hands of one worker; enough to keep it busy while the host is elsewhere."""
AHEAD_BYTES = 4 * 1024 * 1024
"""Most payload bytes in the hands of one worker, unless a single call is larger."""


class Slot:
    """A place for a worker.

    Args:
        setup: what to start.
        start_timeout: seconds a worker may take to load the user's code.
        burst: around the answers of one read.
        owner: told of everything.
    """

    def __init__(
        self, setup: WorkerSetup, start_timeout: float, burst: Burst, owner: Owner
    ) -> None:
        self.setup = setup
        self.start_timeout = start_timeout
        self._burst = burst
        self._owner = owner
        self.link: Link | None = None
        """Of the worker that serves, None while there is none."""
        self.reloads: Reloads | None = None
        """Asked of it."""
        self.health = Health(start_timeout)
        """What its program said of itself."""
        self.out: list[bytes | memoryview] = []
        """Frames for it that are not written yet."""
        self.coming = 0
        """Workers for this place that do not serve yet."""
        self.missed = False
        """Whether a reload was asked of others meanwhile."""
        self._leaving: tuple[Link, Reloads] | None = None
        self._pause = FIRST_PAUSE
        self._starting: asyncio.Task[None] | None = None
        self._retiring: asyncio.Task[None] | None = None
        self._retry = asyncio.Event()
        self._closed = False
        self._given = self._seen = 0
        self._news = 0.0
        self._pace = 0.0

    # --- calls -----------------------------------------------------------------------------------

    @property
    def serves(self) -> bool:
        """Whether there is a worker that takes calls."""
        return self.link is not None and self.link.state in TAKES_CALLS

    @property
    def links(self) -> list[Link]:
        """All that may have calls in hand."""
        links = [] if self._leaving is None else [self._leaving[0]]
        return links if self.link is None else [*links, self.link]

    @property
    def takes_calls(self) -> bool:
        """Whether calls can be handed over now: the one before has finished what it had."""
        link, leaving = self.link, self._leaving
        return (
            link is not None
            and link.state in TAKES_CALLS
            and (leaving is None or not leaving[0].calls)
        )

    def fits(self, call: Call) -> bool:
        """Whether this call can be handed over on top of what it has."""
        link = self.link
        return link is not None and (
            not link.calls
            or (len(link.calls) < AHEAD_CALLS and link.bytes + len(call.payload) <= AHEAD_BYTES)
        )

    def has_room(self, call: Call, now: float) -> bool:
        """As `fits`, where another worker may be quicker: so much as is done in a moment.

        Args:
            call: to be handed over.
            now: seconds on the monotonic clock.
        """
        link = self.link
        if link is None or not self.fits(call):
            return False
        have = len(link.calls)
        done = self._given - have
        if done > self._seen:
            pace = (link.heard - self._news) / (done - self._seen)
            self._pace = pace if not self._pace else (3 * self._pace + pace) / 4
            self._seen, self._news = done, link.heard
        if have < self.setup.concurrency or link.batches:
            return True
        if now - self._news > STUCK + 2 * self._pace:
            return False
        ahead = int(QUEUED / self._pace) if self._pace > 0 else 1
        return have < self.setup.concurrency + max(1, ahead)

    def hand_over(self, call: Call, now: float = 0.0) -> None:
        """Add the frames of a call to those that are written next.

        Raises:
            UnicodeEncodeError, struct.error: as `Link.hand_over`.
        """
        link = self.link
        assert link is not None
        alone = not link.calls
        link.hand_over(call, self.out)
        if alone:
            self._news, self._seen = now, self._given
        self._given += 1

    def write(self) -> None:
        """Write what was handed over."""
        link, out = self.link, self.out
        if link is not None:
            if link.calls:
                link.busy()
            link.write_all(out)
            self.out = []

    # --- life ------------------------------------------------------------------------------------

    async def start(self, spawned: Spawned | None = None) -> dict[str, Any]:
        """Start the first worker.

        Args:
            spawned: its process, where that has begun already.

        Returns:
            What was loaded.

        Raises:
            StartError: the user's code cannot be loaded.
        """
        return await self._start(self._new_link(spawned))

    @property
    def vacant(self) -> bool:
        """Whether nobody serves here and nobody is on the way."""
        return self.link is None and (self._starting is None or self._starting.done())

    def restart(self, *, lived: bool) -> None:
        """Have the worker that is gone replaced.

        Args:
            lived: at once; otherwise after a pause, which is longer each time.
        """
        if lived:
            self._pause = FIRST_PAUSE
        if not self._closed:
            self._starting = asyncio.get_running_loop().create_task(
                self._restart(0.0 if lived else self._longer_pause())
            )

    def try_again(self) -> None:
        """Do not wait if there is a pause between starts."""
        if self.link is None:
            self._retry.set()

    async def renew(self) -> None:
        """Put another worker in the place of the one that serves, once it has loaded.

        Raises:
            StartError: it did not load; the one that serves goes on.
        """
        if self._retiring is not None:
            await asyncio.wait({self._retiring})
        link = self._new_link()
        self.coming += 1
        try:
            loaded = await link.start(self.start_timeout)
            await self._settled(link)
            old, asked = self.link, self.reloads
            if self._closed or old is None or asked is None or old.state not in TAKES_CALLS:
                # It died meanwhile, and is being replaced already.
                await link.kill("the worker it was to replace has gone")
                return
            await self._join(link, loaded)
        finally:
            self.coming -= 1
        self._leaving = old, asked
        self._serve_with(link, loaded)
        self._retiring = asyncio.get_running_loop().create_task(self._retire(old))

    async def stop(self, grace: float) -> None:
        """Let the worker finish and leave.

        Args:
            grace: seconds it has before it is killed.
        """
        self._closed = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        await asyncio.gather(*(link.leave(grace) for link in self.links))
        if self._retiring is not None:
            await asyncio.wait({self._retiring})

    async def _retire(self, old: Link) -> None:
        await old.finish()
        self._owner.finished()
        await old.leave()

    async def _start(self, link: Link) -> dict[str, Any]:
        """Have a worker load, and serve where nobody does."""
        self.coming += 1
        try:
            loaded = await link.start(self.start_timeout)
            await self._join(link, loaded)
        finally:
            self.coming -= 1
        self._serve_with(link, loaded)
        return loaded

    async def _settled(self, link: Link) -> None:
        """Wait for the reloads of the worker that serves, and look whether this one still lives."""
        try:
            if self.reloads is not None:
                await self.reloads.settled()
        except asyncio.CancelledError:
            await link.kill("nobody wants it any more")
            raise
        link.check_alive()

    async def _join(self, link: Link, loaded: dict[str, Any]) -> None:
        try:
            self._owner.joins(link, loaded)
        except Exception as error:  # noqa: BLE001  who wrote that map is the worker
            await link.kill("what it said of its program makes no sense", Cause.LINK)
            raise StartError(f"the worker did not say what it has loaded: {error!r}") from None

    def _new_link(self, spawned: Spawned | None = None) -> Link:
        owner = self._owner
        return Link(
            self.setup,
            on_answer=owner.finish,
            burst=self._burst,
            on_reloaded=self._reloaded,
            on_files=owner.described,
            on_gone=self._gone,
            on_trouble=self.health.told,
            on_schemas=owner.schemas_told,
            on_chunk=owner.on_chunk,
            spawned=spawned,
        )

    def _serve_with(self, link: Link, loaded: dict[str, Any]) -> None:
        self.health.forget()
        self.health.declared = bool(loaded.get("health"))
        self.out = []
        self._given = self._seen = 0
        self._pace = 0.0
        self._retry.clear()
        self.link = link
        self.reloads = Reloads(
            link, self.start_timeout, self.setup.program, self._owner.reload_answered
        )
        self._owner.serves(self, loaded)

    def _reloaded(self, link: Link, told: dict[str, Any]) -> None:
        reloads = self._reloads_of(link)
        if reloads is None:
            raise FrameError("a reload ended that nobody asked for")
        reloads.told(told)

    def _reloads_of(self, link: Link) -> Reloads | None:
        if link is self.link:
            return self.reloads
        if self._leaving is not None and link is self._leaving[0]:
            return self._leaving[1]
        return None

    def _gone(self, link: Link, account: str) -> None:
        reloads = self._reloads_of(link)
        if reloads is None:
            return  # it never served
        if link is self.link:
            self.link = self.reloads = None
            self.out = []
            self.health.forget()
        else:
            self._leaving = None
        begun = link.begun()
        running = link.calls.get(begun)
        lost: list[Call] = []
        unwanted: list[Call] = []
        back: list[tuple[int, Call]] = []
        for number, call in link.calls.items():
            if call.open:
                if number <= begun:
                    lost.append(call)
                elif number in link.unwanted:
                    unwanted.append(call)
                else:
                    back.append((number, call))
        left: list[Reload] = []
        for number, reload in reloads.gone():
            # A reload runs when no call does; behind a running call it has not begun.
            if running is None:
                reload.lost = account
            if reload.call is not None and reload.call.open and reload.untouched:
                back.append((number, reload.call))
            else:
                left.append(reload)
        lived = link.has_finished or link.cause is Cause.DEADLINE
        link.calls.clear()
        for _, call in back:
            call.give_back()
        lived = lived or time.monotonic() - link.ready_since > YOUNG
        self._owner.died(
            self,
            Death(
                link=link,
                account=account,
                cause=link.cause or (Cause.SIGNAL if isinstance(link.exit, str) else Cause.EXIT),
                running=running,
                lost=lost,
                unwanted=unwanted,
                given_back=[call for _, call in sorted(back, key=_by_number)],
                reloads=left,
                expected=link.expected,
                lived=lived,
            ),
        )

    def _longer_pause(self) -> float:
        pause, self._pause = self._pause, min(LONGEST_PAUSE, self._pause * 2)
        return pause

    async def _restart(self, pause: float) -> None:
        """Start workers until one serves, with pauses that a changed file ends."""
        while True:
            if pause:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._retry.wait(), pause)
            # From here on a change may come too late for this start, and is for the next one.
            self._retry.clear()
            link = self._new_link()
            try:
                await self._start(link)
            except Exception as error:  # noqa: BLE001  whatever it was, there has to be a next try
                await link.kill("it could not be started")
                reason = str(error) if isinstance(error, StartError) else repr(error)
                self._owner.not_started(reason, refused=link.refused)
                pause = self._longer_pause()
            else:
                return


def _by_number(entry: tuple[int, Call]) -> int:
    return entry[0]
