"""The workers: what should run against what runs, and which call goes where.

The rule of this file: calls wait here in the order they came, go to a worker in that order, and
come back here when a worker dies before it began them. Calls it had begun are answered with
`worker_lost`; no call is ever begun twice. Of several workers a call goes to one that is not kept
by another call; each runs one call at a time; a reload is over when all have done it.

Before calls are handed over, the file times of the program are compared: the reload goes ahead of
the calls that came after the save, on the same links, so the order needs no waiting.
"""

from __future__ import annotations

import asyncio
import collections
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provider.errors import BadRequest, CallError, Cancelled, Unavailable, WorkerLost
from provider.host.burst import Burst
from provider.host.call import RELOAD
from provider.host.catalogue import Catalogue
from provider.host.deaths import Deaths, obituary
from provider.host.files import ProgramFiles
from provider.host.reloading import Reloading
from provider.host.renewal import RecycleOptions, Renewals
from provider.host.slot import AHEAD_BYTES, AHEAD_CALLS, Slot
from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provider.host.call import Call
    from provider.host.contract import WorkerSetup
    from provider.host.health import Health
    from provider.host.link import Link
    from provider.host.owner import Death
    from provider.host.reload import Reload
    from provider.host.spawned import Spawned

_log = logs.get_logger(component="fleet")


@dataclass(frozen=True)
class FleetOptions:
    """What the fleet is to be like.

    Attributes:
        workers: how many.
        start_timeout: seconds a worker may take to load the user's code.
        watching: whether changed files are loaded by themselves.
        fresh: whether newer code gets a fresh process, or the one that serves.
        recycle: when a worker has served long enough.
        crash_limit: deaths in a row, outside of calls, after which there is no hope; 0 for never.
    """

    workers: int = 1
    start_timeout: float = 30.0
    watching: bool = True
    fresh: bool = False
    recycle: RecycleOptions = field(default_factory=RecycleOptions)
    crash_limit: int = 0


class Fleet:
    """Keeps workers running and hands them calls.

    Args:
        setup: what to start.
        options: how.
        on_files: called with the tracked files whenever they may have changed.
        on_hopeless: called once when workers die as soon as they are started.
        burst: whose end hands over what waits.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        options: FleetOptions,
        *,
        on_files: Callable[[list[str]], None] = lambda _files: None,
        on_hopeless: Callable[[str], None] = lambda _why: None,
        burst: Burst | None = None,
    ) -> None:
        self._setup = setup
        self._watching = options.watching
        self._fresh = options.fresh
        self._on_files = on_files
        self.finish: Callable[[Call, bytes | None, CallError | None], None]
        self.on_chunk: Callable[[Call, bytes], None] = lambda _call, _chunk: None
        """Called for each chunk of a streamed call."""
        self.on_renewed: Callable[[], None] = lambda: None
        """Called whenever another program serves, after the last answer of the old one."""
        self.on_broken: Callable[[str | None], None] = lambda _why: None
        """Called with `broken` when it changes."""
        self.broken: str | None = None
        """Why nothing is loaded, None while something is or is about to be."""
        self.deaths = Deaths(options.crash_limit, on_hopeless)
        """Of workers, and how many were replaced."""
        self.wants_context = False
        """Whether the program asks what is known of a call beside its argument."""
        self.catalogue = Catalogue(options.start_timeout)
        """What the program declares."""
        self._waiting: collections.deque[Call] = collections.deque()
        self._held = False
        self.burst = Burst() if burst is None else burst
        self.slots = tuple(
            Slot(setup, options.start_timeout, self.burst, self) for _ in range(options.workers)
        )
        """The places of the workers."""
        self._reloading = Reloading(setup.program, self, fresh=options.fresh)
        self._renewals = Renewals(
            self.slots, options.recycle, self._reloading.over, self.deaths.replaced
        )
        self._recycles = bool(options.recycle.calls)
        several = options.workers > 1
        self.burst.at_end(self._hand_over_to_several if several else self._hand_over)
        self._leaving = False
        self._files = ProgramFiles(contents=options.fresh, watching=options.watching)

    # --- what others ask -------------------------------------------------------------------------

    @property
    def link(self) -> Link | None:
        """A worker that serves, the first of them; None while there is none."""
        return next((slot.link for slot in self.slots if slot.link is not None), None)

    @property
    def links(self) -> list[Link]:
        """All workers that may have calls in hand."""
        return [link for slot in self.slots for link in slot.links]

    @property
    def reload_error(self) -> str | None:
        """Why the newest text of the program does not serve, None when it does."""
        return self._reloading.error

    @property
    def reloads(self) -> int:
        """How many reloads there were after which something else served."""
        return self._reloading.done

    @property
    def reloads_failed(self) -> int:
        """How many reloads found something wrong."""
        return self._reloading.failed

    @property
    def restarts(self) -> int:
        """How many workers were replaced."""
        return sum(self.deaths.restarts.values())

    @property
    def concurrency(self) -> int:
        """How many calls can run at once, while all workers serve."""
        return len(self.slots) * self._setup.concurrency

    @property
    def ready(self) -> bool:
        """Whether a worker takes calls now."""
        return any(slot.serves for slot in self.slots)

    @property
    def healthy(self) -> bool:
        """Whether a worker takes calls and its program did not say that it is unwell."""
        return any(slot.serves and not slot.health.trouble for slot in self.slots)

    @property
    def health(self) -> Health:
        """What programs said of themselves: the first that has trouble, or the first."""
        told = [slot.health for slot in self.slots if slot.serves] or [self.slots[0].health]
        return next((each for each in told if each.trouble), told[0])

    @property
    def outdated(self) -> bool:
        """Whether the program has changed since what serves was loaded, as far as can be seen."""
        return self._watching and (bool(self._reloading.under_way) or self._files.outdated)

    async def ask_health(self) -> None:
        """Have the programs asked how they are, which takes a moment at most."""
        await asyncio.gather(*(slot.health.ask(slot.link) for slot in self.slots))

    async def schemas(self, patience: float) -> dict[str, Any]:
        """JSON Schema of every operation, as `Catalogue.schemas` has it."""
        link = next((slot.link for slot in self.slots if slot.serves), None)
        return await self.catalogue.schemas(link, patience)

    async def catch_up(self) -> None:
        """Have what was saved loaded without waiting for a call, and wait for that."""
        while self.outdated:
            self._reloading.settled.clear()
            self.files_changed()
            await self._reloading.settled.wait()

    # --- life ------------------------------------------------------------------------------------

    async def start(self, spawned: Spawned | None = None) -> dict[str, Any]:
        """Start the first workers.

        Args:
            spawned: the process of one, where that has begun already.

        Returns:
            What was loaded.

        Raises:
            StartError: the user's code cannot be loaded.
        """
        first, *others = self.slots
        loaded = await first.start(spawned)
        starting = [asyncio.ensure_future(slot.start()) for slot in others]
        try:
            await asyncio.gather(*starting)
        except BaseException:  # cancelled too: no other one is left starting
            for each in starting:
                each.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
            raise
        self._renewals.start()
        return loaded

    async def stop(self, grace: float) -> None:
        """Let the workers finish and leave.

        Args:
            grace: seconds they have before they are killed.
        """
        self._leaving = True
        await self._renewals.stop()
        await asyncio.gather(*(slot.stop(grace) for slot in self.slots))
        self._files.close()

    def files_changed(self) -> None:
        """Told by the watcher: some file of the dispatch folders may have changed."""
        if not self._watching:
            return
        self._files.told_of_change = True
        self.try_again()
        if self.ready:
            self.burst.want()

    def try_again(self) -> None:
        """Told by who wants the program loaded: do not wait if there is a pause between starts."""
        for slot in self.slots:
            slot.try_again()

    # --- calls -----------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """Take a call; it is handed over with all others of this turn of the loop."""
        self._waiting.append(call)
        if not self.burst.open:
            self.burst.want()

    def hold(self, held: bool) -> None:
        """Hand over no calls, because their results have nowhere to go; or do so again."""
        self._held = held
        if not held:
            self.burst.want()

    def open_calls(self) -> Iterator[Call]:
        """Every call that waits or runs and is not answered."""
        in_hand = (link.calls.values() for link in self.links)
        for calls in (self._waiting, self._reloading.calls(), *in_hand):
            yield from (call for call in calls if call.open)

    def forget_answered(self) -> None:
        """Let go of waiting calls that were answered without having been run."""
        if any(not call.open for call in self._waiting):
            self._waiting = collections.deque(call for call in self._waiting if call.open)

    def take_finished(self) -> None:
        """Answer what workers have finished, though they hold the answers back."""
        for link in self.links:
            link.take_held()

    def _hand_over(self) -> None:
        """Hand over what waits, where there is one worker."""
        waiting, files, slot = self._waiting, self._files, self.slots[0]
        if not (waiting or files.told_of_change) or self._held or not slot.takes_calls:
            return
        # The comparison comes first: it notes what this reload is for, so none is asked for twice.
        if self._watching and files.changed():
            self._ask_reload(None)
        if waiting:
            self._fill(slot)
        if slot.out:
            slot.write()
        if self._recycles:
            self._renewals.served(slot)

    def _hand_over_to_several(self) -> None:
        waiting, files = self._waiting, self._files
        if not (waiting or files.told_of_change) or self._held:
            return
        takers = [slot for slot in self.slots if slot.takes_calls]
        if not takers:
            return
        # As above.
        if self._watching and files.changed():
            self._ask_reload(None)
        self._spread(takers)
        for slot in self.slots:
            if slot.out:
                slot.write()
            if self._recycles:
                self._renewals.served(slot)

    def _fill(self, slot: Slot) -> None:
        # The way of every call where there is one worker, so nothing is asked of the slot for each.
        waiting, link, out = self._waiting, slot.link, slot.out
        assert link is not None
        calls = link.calls
        while waiting and len(calls) < AHEAD_CALLS:
            call = waiting[0]
            if not call.open:
                waiting.popleft()
                continue
            if link.bytes + len(call.payload) > AHEAD_BYTES and calls:
                break
            waiting.popleft()
            if call.operation == RELOAD:
                self._ask_reload(call)
            else:
                try:
                    link.hand_over(call, out)
                except (UnicodeEncodeError, struct.error) as error:
                    self._refuse(call, error)

    def _spread(self, takers: list[Slot]) -> None:
        waiting, now = self._waiting, time.monotonic()
        while waiting:
            call = waiting[0]
            if not call.open:
                waiting.popleft()
            elif call.operation == RELOAD:
                waiting.popleft()
                self._ask_reload(call)
            else:
                free = [slot for slot in takers if slot.has_room(call, now)]
                if not free:
                    break
                waiting.popleft()
                try:
                    min(free, key=_calls_in_hand).hand_over(call, now)
                except (UnicodeEncodeError, struct.error) as error:
                    self._refuse(call, error)

    def _refuse(self, call: Call, error: Exception) -> None:
        # Doors see to it that there are none; one that was not seen costs nobody else anything.
        self.finish(call, None, BadRequest(f"its operation cannot be told to the worker: {error}"))

    # --- reload ----------------------------------------------------------------------------------

    def _ask_reload(self, call: Call | None) -> None:
        if call is None and self._fresh and self._files.same_contents():
            self._reloading.settled.set()
            return
        if call is not None and self._renewals.joined_by(call):
            return
        reload = self._reloading.begin(self._files.look(), call)
        if self._fresh:
            self._renewals.reload(reload)
            return
        for slot in self.slots:
            if slot.serves and slot.reloads is not None:
                slot.reloads.ask(reload, slot.out)
            if slot.coming:
                slot.missed = True

    def reload_answered(self, reload: Reload, told: dict[str, Any]) -> None:
        """As `Owner.reload_answered`."""
        if "error" not in told:
            self._note_program(told)
            if told.get("modules"):
                for slot in self.slots:
                    slot.health.renewed()
                self._renewed()
        if not reload.asked:
            self._reloading.over(reload)

    def _note_program(self, told: dict[str, Any]) -> None:
        """Note what a worker told of the program it has loaded."""
        self._files.take(told)
        self._describe(told)

    def _describe(self, told: dict[str, Any]) -> None:
        self.wants_context = bool(told.get("context"))
        self.catalogue.take(told)
        for slot in self.slots:
            slot.health.declared = bool(told.get("health"))
            for link in slot.links:
                link.batches = self.catalogue.batched
        self._on_files(self._files.all)

    def _renewed(self) -> None:
        """The program is another one; what is known of the old one is not of this."""
        self.catalogue.renewed()
        self.on_renewed()

    # --- what slots tell -------------------------------------------------------------------------

    def described(self, link: Link, told: dict[str, Any]) -> None:
        """As `Owner.described`."""
        if any(slot.link is link for slot in self.slots):
            self._note_program(told)

    def schemas_told(self, link: Link, number: int, told: dict[str, Any]) -> None:
        """As `Owner.schemas_told`."""
        self.catalogue.told(link, number, told)

    def joins(self, link: Link, loaded: dict[str, Any]) -> None:
        """As `Owner.joins`."""
        self._renewed()
        self._files.join(loaded, alone=not self.ready)
        self._describe(loaded)
        link.batches = self.catalogue.batched

    def serves(self, slot: Slot, loaded: dict[str, Any]) -> None:
        """As `Owner.serves`."""
        link = slot.link
        assert link is not None
        if slot.missed:
            slot.missed, self._files.told_of_change = False, True
        self._note_broken(None)
        self._reloading.serves()
        self._renewals.joined(slot)
        for path in loaded.get("hidden", ()):
            _log.warning("file_hidden_by_library", file=path)
        _log.info(
            "worker_ready",
            worker=link.pid,
            python=link.hello.get("python"),
            program=self._setup.program,
            seconds=round(link.ready_since - link.started, 3),
        )
        self.burst.want()

    def finished(self) -> None:
        """As `Owner.finished`."""
        self._renewed()
        self.burst.want()

    def died(self, slot: Slot, death: Death) -> None:
        """As `Owner.died`."""
        self.catalogue.forget(death.link)
        self._waiting.extendleft(reversed(death.given_back))
        self._reloading.forget_untouched()
        self.deaths.note(death, quiet=self._leaving or death.expected)
        for reload in death.reloads:
            if not reload.asked:
                self._reloading.over(reload)
        if slot.vacant and not self._leaving:
            self.deaths.replaced(death.cause)
            slot.restart(lived=death.lived)
        words = death.link.last_words
        for call in death.lost:
            self.finish(call, None, WorkerLost(obituary(death.account, words)))
        for call in death.unwanted:
            self.finish(call, None, Cancelled("the caller has gone; it was not run"))
        self.burst.want()

    def not_started(self, reason: str, *, refused: bool) -> None:
        """As `Owner.not_started`."""
        # Code that does not load is waited for where somebody may be about to save it again.
        if not (refused and self._watching):
            self.deaths.count(reason)
        if self.ready:
            _log.error("worker_not_started", program=self._setup.program, reason=reason)
            return
        broken = f"nothing is loaded: {reason.partition(chr(10))[0]}"
        if broken != self.broken:
            _log.error("nothing_loaded", program=self._setup.program, reason=reason)
        self._note_broken(broken)
        self._reloading.settled.set()
        waiting, self._waiting = self._waiting, collections.deque()
        for call in waiting:
            self.finish(call, None, Unavailable(broken, retry_after_ms=1000))

    def _note_broken(self, why: str | None) -> None:
        if why != self.broken:
            self.broken = why
            self.on_broken(why)


def _calls_in_hand(slot: Slot) -> int:
    return 0 if slot.link is None else len(slot.link.calls)
