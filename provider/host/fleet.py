"""The workers: what should run against what runs, and which call goes where.

The rule of this file: calls wait here in the order they came, go to the worker in that order, and
come back here when a worker dies before it began them. Calls it had begun are answered with
`worker_lost`; no call is ever begun twice. A dead worker is replaced at once; workers that die one
after the other without having finished a call are replaced with growing pauses, which end as soon
as a file changes.

Before calls are handed over, the file times of the program are compared: the reload goes ahead of
the calls that came after the save, on the same link, so the order needs no waiting.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from typing import TYPE_CHECKING, Any

from provider.errors import CallError, HandlerError, StartError, Unavailable, WorkerLost
from provider.host.advances import Advances
from provider.host.burst import Burst
from provider.host.call import RELOAD
from provider.host.catalogue import Catalogue
from provider.host.files import Look, ProgramFiles
from provider.host.health import Health
from provider.host.life import TAKES_CALLS
from provider.host.link import Link
from provider.telemetry import logs
from provider.wire.frames import Encoding, FrameError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provider.host.call import Call, StreamedCall
    from provider.host.contract import WorkerSetup

AHEAD_CALLS = 256
"""Most calls in the hands of one worker; enough to keep it busy while the host is elsewhere."""
AHEAD_BYTES = 4 * 1024 * 1024
"""Most payload bytes in the hands of one worker, unless a single call is larger."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds before a worker that died young is replaced; doubled each time."""
YOUNG = 5.0
"""Seconds after which a worker that finished no call counts as having lived all the same."""

_log = logs.get_logger(component="fleet")


class Fleet:
    """Keeps a worker running and hands it calls.

    Args:
        setup: what to start.
        start_timeout: seconds a worker may take to load the user's code.
        watching: whether changed files are loaded by themselves.
        on_files: called with the tracked files whenever they may have changed.
        burst: whose end hands over what waits.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        *,
        start_timeout: float,
        watching: bool,
        on_files: Callable[[list[str]], None] = lambda _files: None,
        burst: Burst | None = None,
    ) -> None:
        self._setup = setup
        self._start_timeout = start_timeout
        self._watching = watching
        self._on_files = on_files
        self.finish: Callable[[Call, bytes | None, CallError | None], None]
        self.on_chunk: Callable[[Call, bytes], None] = lambda _call, _chunk: None
        """Called for each chunk of a streamed call."""
        self.on_renewed: Callable[[], None] = lambda: None
        """Called whenever another program serves, after the last answer of the old one."""
        self.broken: str | None = None
        """Why nothing is loaded, None while something is or is about to be."""
        self.reload_error: str | None = None
        """Why the newest text of the program does not serve, None when it does."""
        self.reloads = 0
        self.reloads_failed = 0
        self.restarts = 0
        self.wants_context = False
        """Whether the program asks what is known of a call beside its argument."""
        self.health = Health(start_timeout)
        """What the program said of itself."""
        self.catalogue = Catalogue(start_timeout)
        """What the program declares."""
        self.advances = Advances()
        """How far its calls say they are."""
        self._waiting: collections.deque[Call] = collections.deque()
        self._link: Link | None = None
        self.burst = Burst() if burst is None else burst
        self.burst.at_end(self._hand_over)
        self._pause = FIRST_PAUSE
        self._restarting: asyncio.Task[None] | None = None
        self._retry = asyncio.Event()
        self._leaving = False
        self._files = ProgramFiles()
        self._failed_look: Look = []
        """What the files looked like when the reload was asked for that last failed."""
        self._reloads_asked: collections.deque[Look] = collections.deque()
        """What the files looked like, for each reload under way."""
        self._reload_timer: asyncio.TimerHandle | None = None
        self._forced: dict[int, Call] = {}
        self._settled = asyncio.Event()
        """Something was loaded, or was not."""

    async def catch_up(self) -> None:
        """Have what was saved loaded without waiting for a call, and wait for that."""
        while self.outdated:
            self._settled.clear()
            self.files_changed()
            await self._settled.wait()

    @property
    def link(self) -> Link | None:
        """The worker that serves, None while there is none."""
        return self._link

    @property
    def outdated(self) -> bool:
        """Whether the program has changed since what serves was loaded, as far as can be seen."""
        return self._watching and (bool(self._reloads_asked) or self._files.outdated)

    @property
    def ready(self) -> bool:
        """Whether a worker takes calls now."""
        return self._link is not None and self._link.state in TAKES_CALLS

    async def start(self) -> dict[str, Any]:
        """Start the first worker.

        Returns:
            What was loaded.

        Raises:
            StartError: the user's code cannot be loaded.
        """
        link = self._new_link()
        loaded = await link.start(self._start_timeout)
        self._serve_with(link, loaded)
        return loaded

    async def schemas(self, patience: float) -> dict[str, Any]:
        """JSON Schema of every operation, as `Catalogue.schemas` has it."""
        return await self.catalogue.schemas(self._link, patience)

    async def ask_health(self) -> None:
        """Have the program asked how it is, which takes a moment at most."""
        await self.health.ask(self._link)

    @property
    def healthy(self) -> bool:
        """Whether a worker takes calls and its program did not say that it is unwell."""
        return self.ready and not self.health.trouble

    def submit(self, call: Call) -> None:
        """Take a call; it is handed over with all others of this turn of the loop."""
        self._waiting.append(call)
        if not self.burst.open:
            self.burst.want()

    def open_calls(self) -> Iterator[Call]:
        """Every call that waits or runs and is not answered."""
        held = self._link.calls if self._link is not None else {}
        for calls in (self._waiting, self._forced.values(), held.values()):
            yield from (call for call in calls if call.open)

    def forget_answered(self) -> None:
        """Let go of waiting calls that were answered without having been run."""
        if any(not call.open for call in self._waiting):
            self._waiting = collections.deque(call for call in self._waiting if call.open)

    def has_begun(self, call: Call) -> bool:
        """Whether the worker has begun this call."""
        return bool(call.number) and self._link is not None and (call.number <= self._link.begun())

    def take_finished(self) -> None:
        """Answer what the worker has finished, though it holds the answers back."""
        if self._link is not None:
            self._link.take_held()

    def overdue(self, call: Call) -> None:
        """Have the worker killed for this call unless its answer is on the way."""
        if self._link is not None:
            self._link.overdue(call)

    def credit(self, call: Call, count: int) -> None:
        """Tell the worker that the caller of a stream has taken so many chunks more."""
        if self._link is not None:
            self._link.credit(call, count)

    def cancel(self, call: StreamedCall) -> None:
        """Have the worker stop a stream, or not begin it."""
        if self._link is not None:
            self._link.cancel(call)

    def files_changed(self) -> None:
        """Told by the watcher: some file of the dispatch folders may have changed."""
        if not self._watching:
            return
        self._files.told_of_change = True
        if self._link is None:
            self._retry.set()
        else:
            self.burst.want()

    def try_again(self) -> None:
        """Told by who wants the program loaded: do not wait if there is a pause between starts."""
        if self._link is None:
            self._retry.set()

    async def stop(self, grace: float) -> None:
        """Let the worker finish and leave.

        Args:
            grace: seconds it has before it is killed.
        """
        self._leaving = True
        if self._restarting is not None:
            self._restarting.cancel()
            await asyncio.gather(self._restarting, return_exceptions=True)
        if self._link is not None:
            await self._link.leave(grace)

    # --- handing over ----------------------------------------------------------------------------

    def _hand_over(self) -> None:
        link, waiting, files = self._link, self._waiting, self._files
        if link is None or not (waiting or files.told_of_change) or link.state not in TAKES_CALLS:
            return
        out: list[bytes] = []
        # The comparison comes first: it notes what this reload is for, so none is asked for twice.
        if self._watching and files.changed():
            self._ask_reload(link, 0, out, force=False)
        while waiting and len(link.calls) < AHEAD_CALLS:
            call = waiting[0]
            if not call.open:
                waiting.popleft()
                continue
            if link.bytes + len(call.payload) > AHEAD_BYTES and link.calls:
                break
            waiting.popleft()
            if call.operation == RELOAD:
                call.number = link.number()
                self._forced[call.number] = call
                self._ask_reload(link, call.number, out, force=True)
            else:
                link.hand_over(call, out)
        if out:
            link.write(out[0] if len(out) == 1 else b"".join(out))

    # --- reload ----------------------------------------------------------------------------------

    def _ask_reload(self, link: Link, number: int, out: list[bytes], *, force: bool) -> None:
        link.ask_reload(number, out, force=force)
        self._reloads_asked.append(self._files.look())
        if self._reload_timer is None:
            self._time_reload(link)

    def _time_reload(self, link: Link) -> None:
        self._reload_timer = asyncio.get_running_loop().call_later(
            self._start_timeout, self._reload_hangs, link
        )

    def _reload_hangs(self, link: Link) -> None:
        # The clock runs for the reload itself, not for the calls ahead of it.
        oldest = next(iter(link.calls), 0)
        if oldest and oldest <= link.begun():
            self._time_reload(link)
            return
        self._reload_timer = None
        _log.error("reload_hangs", program=self._setup.program, seconds=self._start_timeout)
        link.give_up(f"reloading took longer than {self._start_timeout:g} s")

    def _reloaded(self, number: int, told: dict[str, Any]) -> None:
        link = self._link
        if link is None or not self._reloads_asked:
            raise FrameError("a reload ended that nobody asked for")
        error = told.get("error")
        look = self._reloads_asked.popleft()
        if self._reload_timer is not None:
            self._reload_timer.cancel()
            self._reload_timer = None
        if self._reloads_asked:
            self._time_reload(link)
        else:
            link.reload_ended()
            self._settled.set()
        if error is not None:
            self._reload_failed(number, error, look)
            return
        self._note_program(told)
        if told.get("modules"):
            self.reloads += 1
            self.health.renewed()
            self._renewed()
            _log.info("reloaded", program=self._setup.program, modules=told["modules"])
        elif self.reload_error is not None and not told.get("unfinished"):
            _log.info("reload_not_needed", program=self._setup.program)
        if not told.get("unfinished"):
            self.reload_error = None
        if number:
            self._answer_forced(number, None)

    def _reload_failed(self, number: int, error: Any, look: Look) -> None:
        text = str(error.get("message")) if isinstance(error, dict) else str(error)
        trace = str(error.get("traceback") or "") if isinstance(error, dict) else ""
        # After a save that was seen before a call, the watcher's word on the same save follows.
        is_new = bool(number) or text != self.reload_error or look != self._failed_look
        self.reloads_failed += is_new
        self.reload_error, self._failed_look = text, look
        (_log.error if is_new else _log.debug)(
            "reload_failed",
            program=self._setup.program,
            error=text,
            **({"exception": trace} if trace else {}),
        )
        if number:
            failure = f"reload failed, the old code serves on: {text}"
            self._answer_forced(number, HandlerError(failure, traceback=trace or None))

    def _answer_forced(self, number: int, error: CallError | None) -> None:
        call = self._forced.pop(number, None)
        if call is None:
            return
        is_json = call.encoding in (Encoding.JSON, Encoding.JSON_ABSENT)
        result = None if error is not None else b"true" if is_json else b"\xf5"
        self.finish(call, result, error)

    def _note_program(self, told: dict[str, Any]) -> None:
        """Note what the worker told of the program it has loaded."""
        self._files.take(told)
        self.health.declared = bool(told.get("health"))
        self.wants_context = bool(told.get("context"))
        self.catalogue.take(told)
        if self._link is not None:
            self._link.batches = self.catalogue.batched
        self._on_files(self._files.all)

    # --- life and death --------------------------------------------------------------------------

    def _new_link(self) -> Link:
        return Link(
            self._setup,
            on_answer=self.finish,
            burst=self.burst,
            on_reloaded=self._reloaded,
            on_files=self._note_program,
            on_gone=self._gone,
            on_trouble=self.health.told,
            on_schemas=self.catalogue.told,
            on_chunk=self.on_chunk,
            on_progress=self._advanced,
        )

    def _advanced(self, call: Call, body: bytes) -> None:
        self.advances.take(call, body, self._link.calls if self._link is not None else {})

    def _renewed(self) -> None:
        """The program is another one; what is known of the old one is not of this."""
        self.catalogue.renewed()
        self.on_renewed()

    def _serve_with(self, link: Link, loaded: dict[str, Any]) -> None:
        self._renewed()
        self._files.forget()
        self._note_program(loaded)
        link.batches = self.catalogue.batched
        self._link = link
        self.broken = None
        self.reload_error = None
        self._reloads_asked.clear()
        self._retry.clear()
        self._settled.set()
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

    def _gone(self, link: Link, account: str) -> None:
        if link is not self._link:
            return  # it never served
        begun = link.begun()
        running = link.calls.get(begun)
        self._link = None
        self.health.forget()
        self.catalogue.forget()
        self.advances.forget()
        if self._reload_timer is not None:
            self._reload_timer.cancel()
            self._reload_timer = None
        lost: list[Call] = []
        never_begun: list[Call] = []
        for number, call in sorted({**link.calls, **self._forced}.items()):
            if call.open:
                # A reload runs when no call does; behind a running call it has not begun.
                was_begun = running is None if number in self._forced else number <= begun
                (lost if was_begun else never_begun).append(call)
        link.calls.clear()
        self._forced.clear()
        for call in never_begun:
            call.number = 0
        self._waiting.extendleft(reversed(never_begun))
        words = link.last_words
        if lost or not self._leaving:
            _log.error(
                "worker_lost",
                worker=link.pid,
                account=account,
                operation=running.operation if running else None,
                last_words=words[-5:],
                answered_with_error=len(lost),
                given_back=len(never_begun),
            )
        if not self._leaving:
            has_lived = begun > 1 or link.overran or time.monotonic() - link.ready_since > YOUNG
            if has_lived:
                self._pause = FIRST_PAUSE
            self.restarts += 1
            self._restarting = asyncio.get_running_loop().create_task(
                self._restart(0.0 if has_lived else self._longer_pause())
            )
        for call in lost:
            self.finish(call, None, WorkerLost(_obituary(account, words)))

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
                self._serve_with(link, await link.start(self._start_timeout))
            except Exception as error:  # noqa: BLE001  whatever it was, there has to be a next try
                await link.kill("it could not be started")
                self._break(str(error) if isinstance(error, StartError) else repr(error))
                pause = self._longer_pause()
            else:
                return

    def _break(self, reason: str) -> None:
        """Nothing is loaded and nothing can be: say so to all who wait."""
        broken = f"nothing is loaded: {reason.partition(chr(10))[0]}"
        if broken != self.broken:
            _log.error("nothing_loaded", program=self._setup.program, reason=reason)
        self.broken = broken
        waiting, self._waiting = self._waiting, collections.deque()
        for call in waiting:
            self.finish(call, None, Unavailable(broken, retry_after_ms=1000))


def _obituary(account: str, words: list[str]) -> str:
    if not words:
        return account
    return account + "; its last words: " + " | ".join(words[-3:])
