"""One worker: its process, its socket, and the calls it was handed.

The rule of this file: a link in doubt is given up. Whatever goes wrong with the socket or the
frames on it, the process group is killed and the worker counted as gone; nothing is resynchronised.
The link knows which calls it holds and, from the memory it shares with the worker, which of them
have begun, and what was finished when it died.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import cbor2

from provider.errors import CallError, StartError
from provider.host.advances import Advances
from provider.host.burst import Burst
from provider.host.channel import Channel
from provider.host.life import Cause, Event, State, after
from provider.host.overtime import Overtime
from provider.host.printed import RECENT, Printed
from provider.host.process import WorkerProcess
from provider.host.spawned import spawn
from provider.wire.frames import (
    CALL_OVERHEAD,
    LARGE,
    VERSION,
    FrameError,
    FrameReader,
    FrameType,
    frame,
    pack_call,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provider.host.call import Call, StreamedCall
    from provider.host.contract import WorkerSetup
    from provider.host.spawned import Spawned

LINK_GRACE = 0.2
"""Seconds between the end of its link and that of a worker, which then dies of its own cause."""
LEAVE_GRACE = 5.0
"""Seconds a worker has to leave after BYE."""
OUTPUT_GRACE = 0.5
"""Seconds the output of a dead worker may still come in; its children may hold the pipe open."""

_RESULT = int(FrameType.RESULT)
_CALL, _STREAM = int(FrameType.CALL), int(FrameType.STREAM)
_CHUNK, _END = int(FrameType.CHUNK), int(FrameType.END)
_PROGRESS = int(FrameType.PROGRESS)
_PARTS = frozenset({_CHUNK, _END, _PROGRESS})
# The steps of the table that every burst of calls takes, looked up once.
_READY, _GIVEN = State.READY, after(State.READY, Event.GIVEN_CALLS)
_BUSY, _ANSWERED = State.BUSY, after(State.BUSY, Event.ALL_ANSWERED)


class Link:
    """A running worker process.

    Args:
        setup: what to start.
        burst: around the answers of one read.
        on_answer: called for each call that ended, with its result bytes or its error.
        on_reloaded: called with this link and the map of each RELOADED frame.
        on_files: called with this link and the map of each FILES frame.
        on_gone: called once, when the process is gone, with a sentence on how it died.
        on_trouble: called with the number and the text of each TROUBLE frame.
        on_schemas: called with this link, the number and the map of each SCHEMAS frame.
        on_chunk: called for each chunk of a call that asked for a stream.
        spawned: its process, where that has begun already.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        *,
        on_answer: Callable[[Call, bytes | None, CallError | None], None],
        on_reloaded: Callable[[Link, dict[str, Any]], None],
        on_files: Callable[[Link, dict[str, Any]], None],
        on_gone: Callable[[Link, str], None],
        on_trouble: Callable[[int, str], None] = lambda _number, _text: None,
        on_schemas: Callable[[Link, int, dict[str, Any]], None] = lambda *_told: None,
        on_chunk: Callable[[Call, bytes], None] = lambda _call, _chunk: None,
        burst: Burst | None = None,
        spawned: Spawned | None = None,
    ) -> None:
        self._setup = setup
        self._spawned = spawned
        self._on_chunk = on_chunk
        self._burst = Burst() if burst is None else burst
        self._on_answer = on_answer
        self._on_reloaded = on_reloaded
        self._on_files = on_files
        self._on_gone = on_gone
        self._on_trouble = on_trouble
        self._on_schemas = on_schemas
        self.state = State.STARTING
        self.calls: dict[int, Call] = {}
        """Handed over and not answered by the worker, by number, in order."""
        self.bytes = 0
        """Of the payloads in `calls`."""
        self.hello: dict[str, Any] = {}
        self.advances = Advances()
        """How far its calls say they are."""
        self.questions: set[int] = set()
        """Numbers of what it was asked between calls, and has not answered."""
        self.unwanted: set[int] = set()
        """Numbers of calls whose callers have gone; some may have ended."""
        self.batches = False
        """Whether its program has operations that run several calls at once."""
        self.refused = False
        """Whether it said that the user's code cannot be loaded."""
        self.expected = False
        """Whether it was told to leave."""
        self.cause: Cause | None = None
        """Why we ended it, None while we did not."""
        self.started = time.monotonic()
        self.ready_since = 0.0
        self.heard = 0.0
        """When frames came last, seconds on the monotonic clock."""
        self._number = 0
        self._printed = Printed(lambda: self.pid)
        self._recent = self._printed.recent
        self._process = WorkerProcess(setup, self._printed.tell)
        self._channel = Channel(self._take, self._doubt, self._link_ended)
        self.write = self._channel.write
        """Sends frames. The worker being gone is told by `on_gone`, not here."""
        self.write_all = self._channel.write_all
        """Sends frames, or their parts, together."""
        self.begun = self._channel.begun
        """The newest call the worker has begun, 0 for none."""
        self._overtime = Overtime(self, setup.concurrency)
        self.overdue = self._overtime.overdue
        """Kills the worker for a call, unless its answer comes within a moment."""
        self.stalled = self._overtime.stalled
        """Kills the worker unless it gets on: it may stand still between two calls."""
        self._loaded: asyncio.Future[dict[str, Any]] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._death = ""
        self._emptied = asyncio.Event()

    @property
    def exit(self) -> int | str | None:
        """Its exit code, or the name of the signal that ended it; None while it lives."""
        return self._process.exit

    @property
    def has_finished(self) -> bool:
        """Whether a call has ended that it began."""
        begun = self.begun()
        handed = (number for number, _, _ in self._recent)
        return any(0 < number <= begun and number not in self.calls for number in handed)

    @property
    def memory(self) -> int:
        """How much memory it has now, in bytes, 0 where nobody knows."""
        return self._process.memory

    @property
    def peak_memory(self) -> int | None:
        """Most memory it had, in bytes, once it is gone; None where nobody knows."""
        return self._process.peak_memory

    @property
    def pid(self) -> int:
        """Process id of the worker, 0 before it exists."""
        return self._process.pid

    async def start(self, timeout: float) -> dict[str, Any]:
        """Start the process and wait until the user's code is loaded.

        Args:
            timeout: seconds for all of it.

        Returns:
            What was loaded, as `worker.loader.Loaded.as_map` has it.

        Raises:
            StartError: the code cannot be loaded, or the process died or took too long.
        """
        loop = asyncio.get_running_loop()
        self._loaded = loop.create_future()
        setup = frame(FrameType.SETUP, 0, cbor2.dumps(self._setup.as_map()))
        await self._spawn()
        self.write(setup)
        try:
            loaded = await asyncio.wait_for(self._loaded, timeout)
        except TimeoutError:
            await self.kill(f"{self._setup.program} was not loaded within {timeout:g} s")
            raise StartError(
                f"loading {self._setup.program} took longer than {timeout:g} s "
                f"(PROVIDER_START_TIMEOUT); does it hang on import?{self._last_words()}"
            ) from None
        except BaseException:  # cancelled too: no process is left behind
            await self.kill("it could not be started")
            raise
        self.check_alive()
        self._happened(Event.LOADED)
        self.ready_since = time.monotonic()
        return loaded

    def check_alive(self) -> None:
        """Make sure that the process is there, as far as we have heard.

        Raises:
            StartError: it is gone; the text says how it died.
        """
        if self.state is State.DEAD:
            raise StartError(f"{self._death}{self._last_words()}")

    def hand_over(self, call: Call, out: list[bytes | memoryview]) -> None:
        """Number the call and add its frame to `out`, which the caller writes.

        Raises:
            UnicodeEncodeError, struct.error: its operation is no text, or over 65535 bytes. Nothing
                has been done then.
        """
        number = self._number + 1
        operation, payload = call.operation, call.payload
        # As `call_frame` does, but a large payload is not copied.
        name, size = operation.encode(), len(payload)
        kind = _STREAM if call.streams else _CALL
        length = CALL_OVERHEAD + len(name) + size
        head = pack_call(length, kind, number, call.encoding, call.deadline, len(name)) + name
        if call.about:
            out.append(frame(FrameType.ABOUT, number, call.about))
        if size <= LARGE:
            out.append(head + payload)
        else:
            out += (head, payload)
        self._number = call.number = number
        call.holder = self
        self.calls[number] = call
        self.bytes += size
        self._recent[number % RECENT] = (number, call.id, operation)

    def busy(self) -> None:
        """Note that it has calls in hand."""
        if self.state is _READY:
            self.state = _GIVEN

    def credit(self, call: Call, count: int) -> None:
        """Tell the worker that the caller of a stream has taken so many chunks more."""
        if self.calls.get(call.number) is call:
            self.write(frame(FrameType.CREDIT, call.number, cbor2.dumps({"credit": count})))

    def left(self, call: Call) -> None:
        """Tell the worker that the caller of a call has gone; its function may ask for that."""
        if self.calls.get(call.number) is call:
            self.unwanted = {number for number in self.unwanted if number in self.calls}
            self.unwanted.add(call.number)
            self.write(frame(FrameType.CANCEL, call.number))

    def cancel(self, call: StreamedCall) -> None:
        """Tell the worker to stop a stream; kill it if it has not when the deadline comes."""
        if self.calls.get(call.number) is not call:
            return
        self.write(frame(FrameType.CANCEL, call.number))
        self._overtime.stopping(call)

    def ask_reload(self, number: int, out: list[bytes | memoryview], *, force: bool) -> None:
        """Add a RELOAD frame to `out`."""
        self._happened(Event.RELOAD_ASKED)
        out.append(frame(FrameType.RELOAD, number, cbor2.dumps({"force": force})))

    def number(self) -> int:
        """The next number on this link, for something that is not a call."""
        self._number += 1
        return self._number

    async def leave(self, grace: float = LEAVE_GRACE) -> None:
        """Tell the worker to finish and go; kill it when it does not.

        Args:
            grace: seconds it has.
        """
        if self.state is State.DEAD:
            return
        self.expected = True
        self._happened(Event.TOLD_TO_LEAVE)
        self.write(frame(FrameType.BYE, 0))
        await self._gone_within(grace)

    async def finish(self) -> None:
        """Tell the worker to finish what it has in hand and go, and wait until it has finished."""
        if self.state is State.DEAD or self._watcher is None:
            return
        self.expected = True
        self._happened(Event.TOLD_TO_LEAVE)
        self.write(frame(FrameType.BYE, 0))
        self._emptied.clear()
        if self.calls:
            emptied = asyncio.ensure_future(self._emptied.wait())
            await asyncio.wait({emptied, self._watcher}, return_when=asyncio.FIRST_COMPLETED)
            emptied.cancel()

    async def kill(self, why: str, cause: Cause = Cause.START) -> None:
        """End the whole process group, and wait until it is gone.

        Args:
            why: for the account of its death.
            cause: in one word.
        """
        self.give_up(why, cause)
        await self._gone_within(LEAVE_GRACE)

    def give_up(self, why: str, cause: Cause) -> None:
        """End the whole process group; `on_gone` follows.

        Args:
            why: for the account of its death.
            cause: in one word.
        """
        self.cause = self.cause or cause
        self._process.give_up(why)

    async def _gone_within(self, grace: float) -> None:
        if self._watcher is None:
            return
        try:
            await asyncio.wait_for(asyncio.shield(self._watcher), grace)
        except TimeoutError:
            self.give_up(f"it did not leave within {grace:g} s", Cause.HANG)
            await asyncio.shield(self._watcher)

    # --- the process -----------------------------------------------------------------------------

    async def _spawn(self) -> None:
        spawned = self._spawned or spawn(self._setup)
        spawned.taken = True
        self.started = spawned.began
        try:
            await self._process.attach(spawned)
            await self._channel.attach(spawned.link, spawned.progress)
        except BaseException as error:  # cancelled too: nothing of ours is left open
            await self._process.abandon()
            spawned.link.close()
            spawned.progress.close()
            if isinstance(error, OSError):
                raise StartError(f"cannot start {self._setup.python}: {error}") from None
            raise
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        code = await self._process.ended()
        await self._process.hear_out(OUTPUT_GRACE)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._channel.ended.wait(), OUTPUT_GRACE)
        self._channel.close()
        self.take_held()
        self._happened(Event.GONE)
        self._death = self._process.account(code, spoke=bool(self.hello))
        if self.ready_since:
            self._on_gone(self, self._death)
        elif self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(StartError(f"{self._death}{self._last_words()}"))
        self._channel.forget()

    def _last_words(self) -> str:
        if not self.last_words:
            return ""
        return "\nIts last words:\n" + "\n".join(f"  {line}" for line in self.last_words)

    @property
    def last_words(self) -> list[str]:
        """The last lines of the worker's standard error."""
        return self._process.last_words

    def _happened(self, event: Event) -> None:
        self.state = after(self.state, event)

    # --- what it says ----------------------------------------------------------------------------

    def take_held(self) -> None:
        """Take the answers the worker has finished and holds; they may arrive all the same."""
        # Where user code has written over them there is no answer.
        with contextlib.suppress(FrameError):
            self._take(FrameReader().feed(self._channel.held()))

    def _take(self, frames: Sequence[tuple[int, int, bytes]]) -> None:
        burst, take, on_answer = self._burst, self.calls.pop, self._on_answer
        burst.begin()
        for kind, number, body in frames:
            if kind == _RESULT:
                call = take(number, None)
                if call is not None:
                    self.bytes -= len(call.payload)
                    on_answer(call, body, None)
            else:
                try:
                    if kind in _PARTS:
                        self._take_part(kind, number, body)
                    else:
                        self._told(kind, number, body)
                except Exception as error:  # noqa: BLE001  a hostile worker is a dead worker
                    self._doubt(error)
                    break
        self.heard = time.monotonic()
        if not self.calls:
            if self.state is _BUSY:
                self.state = _ANSWERED
            else:
                self._emptied.set()
        burst.end()

    def _take_part(self, kind: int, number: int, body: bytes) -> None:
        call = self.calls.get(number)
        if call is None:
            return
        if kind == _PROGRESS:
            self.advances.take(call, body, self.calls)
            return
        if not call.streams:
            raise FrameError(f"a part of a stream came for call {number}, which is none")
        if kind == _CHUNK:
            self._on_chunk(call, body)
            return
        self._ended_with(number)
        self._on_answer(call, b"", None)

    def _ended_with(self, number: int) -> Call | None:
        """The call that the worker has ended, which is let go."""
        call = self.calls.pop(number, None)
        if call is not None:
            self.bytes -= len(call.payload)
            guard: asyncio.TimerHandle | None = getattr(call, "guard", None)
            if guard is not None:
                guard.cancel()
        return call

    def _link_ended(self, why: str) -> None:
        if self.state is not State.DRAINING:
            # Most likely it is dying, and how it died says more than this.
            asyncio.get_running_loop().call_later(LINK_GRACE, self.give_up, why, Cause.LINK)

    def _told(self, kind: int, number: int, body: bytes) -> None:
        told = cbor2.loads(body)
        if not isinstance(told, dict):
            raise FrameError(f"the body of a frame of type {kind} is no map")
        if kind == FrameType.ERROR:
            call = self._ended_with(number)
            if call is not None:
                self._on_answer(call, None, CallError.from_map(told))
        elif kind == FrameType.HELLO:
            if told.get("version") != VERSION:
                raise FrameError(f"the worker speaks version {told.get('version')}")
            self.hello = told
        elif kind == FrameType.READY:
            if self._loaded is not None and not self._loaded.done():
                self._loaded.set_result(told)
        elif kind == FrameType.FAILED:
            if self._loaded is not None and not self._loaded.done():
                self.refused = True
                text = str(told.get("message"))
                trace = str(told.get("traceback") or "")
                self._loaded.set_exception(StartError(f"{text}\n{trace}".rstrip()))
        elif kind == FrameType.RELOADED:
            self._on_reloaded(self, told)
        elif kind == FrameType.FILES:
            self._on_files(self, told)
        elif kind == FrameType.TROUBLE:
            self._on_trouble(number, str(told.get("trouble") or ""))
        elif kind == FrameType.SCHEMAS:
            self._on_schemas(self, number, told)
        else:
            raise FrameError(f"a frame of type {kind} is not for the host")

    def reload_ended(self) -> None:
        """Note that no reload is on its way any more."""
        self._happened(Event.RELOAD_ENDED)
        if self.calls:
            self.busy()

    def _doubt(self, error: Exception) -> None:
        self.give_up(f"it sent what is no frame: {error}", Cause.LINK)
        self._channel.close()
