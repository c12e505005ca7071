"""Calls that give their result in parts: generators, and whoever asked for a stream.

The rule of this file: nothing is produced that may not be sent. Before each item the caller's
credit is looked at; where there is none, or no interest any more, user code does not run on.
However a stream ends, its generator is closed, so that its `finally` runs.

A generator runs in the thread of its call, an async one on the event loop. In the exclusive mode
the thread of the call is the one that reads frames; it reads on between items.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

from provider.errors import BadResult, CallError, CallTimeout, Cancelled
from provider.wire.frames import FrameError, FrameType, frame
from provider.wire.window import Window
from provider.worker.faults import as_handler_error, shown
from provider.worker.incoming import HostGone
from provider.worker.loops import the_loop
from provider.worker.operations import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

    from provider.wire.advance import Advance
    from provider.worker.incoming import Incoming
    from provider.worker.loops import Job
    from provider.worker.reports import Reports
    from provider.worker.runner import Frame, Runner

UNFINISHED = frozenset({types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType})
"""What a function may return that is no result yet."""
BREATH = 32
"""Items an async generator may give without letting others on the loop have their turn."""

REMEMBERED = 512
"""Calls, counted back from the newest, of which it is kept that their callers have left."""
LATE = "the deadline passed while the call waited; it was not run"
"""What a caller is told whose call came up too late."""

_CHUNK, _END = int(FrameType.CHUNK), int(FrameType.END)
_CREDIT = int(FrameType.CREDIT)


def gathered(result: Any, most: int, call: tuple[Frame, Frame]) -> Any:
    """The result of a call that wants it whole: items of a generator as a list.

    Args:
        result: of a type in `UNFINISHED`.
        most: items a list may have.
        call: that it belongs to, and what is known of it.

    Raises:
        Refusal: there are more. What else is raised is user code's.
    """
    if isinstance(result, types.CoroutineType):
        result = the_loop.run(result, call)
        return gathered(result, most, call) if type(result) in UNFINISHED else result
    if isinstance(result, types.AsyncGeneratorType):
        return the_loop.run(_listed(result, most), call)
    items: list[Any] = []
    for item in result:
        if len(items) >= most:
            result.close()
            raise _too_many(most)
        items.append(item)
    return items


async def _listed(result: AsyncGenerator[Any, None], most: int) -> list[Any]:
    items: list[Any] = []
    try:
        async for item in result:
            if len(items) >= most:
                raise _too_many(most)
            items.append(item)
    finally:
        await result.aclose()
    return items


def _too_many(most: int) -> Refusal:
    return Refusal(
        BadResult(
            f"the result cannot travel: its generator gave more than {most} items; ask for a stream"
        )
    )


class Line:
    """What a call can say to the host, and hear from it, beside its result.

    Args:
        number: of the call.
        reports: takes what it says.
        streams: that it may be among.
    """

    __slots__ = ("_number", "_reports", "_streams")

    def __init__(self, number: int, reports: Reports, streams: Streams) -> None:
        self._number = number
        self._reports = reports
        self._streams = streams

    def report(self, told: Advance) -> None:
        """Say how far it is."""
        self._reports.report(self._number, told)

    def left(self) -> bool:
        """Whether its caller is known to have left."""
        return self._streams.left(self._number)


class Flow:
    """How one stream stands with its caller; known to the thread that reads and its own."""

    def __init__(self) -> None:
        self._window = Window()
        self._changed = threading.Condition()
        self._job: Job | None = None
        self._tell: Callable[[], object] = _nobody
        self.cancelled = False
        """Whether the caller wants no more."""

    @property
    def open(self) -> bool:
        """Whether the caller has room for another item."""
        return self._window.open

    @property
    def settled(self) -> bool:
        """Whether there is nothing to wait for: room, or no interest."""
        return self.cancelled or self._window.open

    def sent(self, size: int) -> None:
        """Count a chunk of so many bytes."""
        with self._changed:
            self._window.sent(size)

    def credit(self, count: int) -> None:
        """Count chunks the caller has taken."""
        with self._changed:
            self._window.taken(count)
            self._changed.notify_all()
            self._tell()

    def cancel(self) -> None:
        """Note that the caller wants no more, and cancel what runs for it on the loop."""
        with self._changed:
            self.cancelled = True
            self._changed.notify_all()
            if self._job is not None:
                self._job.cancel()

    def attach(self, job: Job) -> None:
        """Name what is cancelled with this stream."""
        with self._changed:
            self._job = job
            if self.cancelled:
                job.cancel()

    def on_credit(self, tell: Callable[[], object]) -> None:
        """Have this done after each credit, in the thread that reads."""
        self._tell = tell

    def wait(self) -> None:
        """Wait until it is settled, in a thread that does not read."""
        with self._changed:
            self._changed.wait_for(lambda: self.settled)


class Streams:
    """Runs the calls that asked for a stream.

    Args:
        runner: calls the program.
        send: takes each finished frame, at once.
        incoming: where what the host says comes from.
        reports: what functions say of how far they are.
    """

    def __init__(
        self,
        runner: Runner,
        send: Callable[[bytes], None],
        incoming: Incoming,
        reports: Reports,
    ) -> None:
        self._runner = runner
        self._reports = reports
        self._send = send
        self._incoming = incoming
        self._flows: dict[int, Flow] = {}
        self._unwanted: set[int] = set()
        """Calls whose callers have left: streams before they began, and others, of late."""
        self._process = os.getpid()

    @property
    def running(self) -> bool:
        """Whether there is a stream that has not ended."""
        return bool(self._flows)

    def line(self, number: int) -> Line:
        """What the context of a call needs of the host."""
        return Line(number, self._reports, self)

    def left(self, number: int) -> bool:
        """Whether the caller is known to want no more of this call; any thread may ask."""
        flow = self._flows.get(number)
        try:
            if self._incoming.mine:
                self._incoming.look()
        except (HostGone, FrameError, OSError):
            return True  # whoever reads next learns of it, too
        return number in self._unwanted if flow is None else flow.cancelled

    def heed(self, other: Frame) -> None:
        """Take what the host says about a stream, in the thread that reads."""
        import cbor2

        kind, number, body = other
        flow = self._flows.get(number)
        if kind == _CREDIT:
            if flow is not None:
                flow.credit(int(cbor2.loads(body)["credit"]))
        elif flow is not None:
            flow.cancel()
        else:
            # Of calls that are no streams nobody says here that they have ended.
            oldest = number - REMEMBERED
            self._unwanted = {number, *(each for each in self._unwanted if each > oldest)}

    def begin(self, number: int) -> None:
        """Note that this stream is about to run, in the thread that reads."""
        flow = Flow()
        if number in self._unwanted:
            flow.cancel()
        self._flows[number] = flow

    def run(
        self, number: int, encoding: int, operation: bytes, payload: bytes, *, late: bool = False
    ) -> bytes:
        """Run a stream that was begun, and send its chunks.

        Args:
            number: of the call.
            encoding: of its payload, and so of each item.
            operation: its UTF-8.
            payload: as the caller wrote it.
            late: its deadline has passed, so that it is not run.

        Returns:
            The frame that ends it, after the last word on how far it is.

        Raises:
            HostGone: in the thread that reads.
            OSError: the link broke.
        """
        end = self._end_of(number, encoding, operation, payload, late=late)
        return self._reports.last(number) + end

    def _end_of(
        self, number: int, encoding: int, operation: bytes, payload: bytes, *, late: bool
    ) -> bytes:
        flow = self._flows[number]

        def send(item: Any) -> None:
            chunk = self._runner.item(item, encoding)
            if os.getpid() != self._process:
                os._exit(0)  # a child that user code forked, and that came back here
            flow.sent(len(chunk))
            self._send(frame(_CHUNK, number, chunk))

        try:
            if self._incoming.mine:
                self._incoming.look()  # its caller may have left while it waited
            if flow.cancelled:
                raise _gave_up()
            if late:
                raise CallTimeout(LATE)
            self._produce(self._runner.called(encoding, operation, payload), flow, send)
            return frame(_END, number)
        except CallError as error:
            return self._runner.error_frame(number, error)
        finally:
            del self._flows[number]

    def _produce(self, result: Any, flow: Flow, send: Callable[[Any], None]) -> None:
        if isinstance(result, types.CoroutineType):
            result = self._awaited(result, flow)
        if isinstance(result, types.GeneratorType):
            self._pull(result, flow, send)
        elif isinstance(result, types.AsyncGeneratorType):
            self._awaited(_pump(result, flow, send), flow)
        else:
            send(result)

    def _pull(
        self, items: Generator[Any, None, None], flow: Flow, send: Callable[[Any], None]
    ) -> None:
        """Send the items of a generator that runs in this thread."""
        try:
            while True:
                self._wait_for_room(flow)
                try:
                    item = next(items)
                except StopIteration:
                    return
                except Refusal as refusal:
                    raise refusal.error from None
                except BaseException as error:  # noqa: BLE001  whatever user code raises
                    raise as_handler_error(error) from None
                send(item)
        finally:
            try:
                items.close()
            except BaseException as error:  # noqa: BLE001  its caller knows already how it ended
                _complain(error)

    def _wait_for_room(self, flow: Flow) -> None:
        if self._incoming.mine:
            self._incoming.look()
            self._incoming.until(lambda: flow.settled)
        else:
            flow.wait()
        if flow.cancelled:
            raise _gave_up()

    def _awaited(self, coroutine: Coroutine[Any, Any, Any], flow: Flow) -> Any:
        """What a coroutine returns that runs on the loop.

        Raises:
            CallError: what the caller is told about what it raised.
            OSError: the link broke.
        """
        job = the_loop.submit(coroutine, self._runner.call_at_hand())
        flow.attach(job)
        if self._incoming.mine:
            job.on_end(self._incoming.ring)
            self._incoming.until(lambda: job.done)
        try:
            return job.result()
        except _Sent as failed:
            raise failed.error from None
        except BaseException as error:  # noqa: BLE001  whatever user code raises
            if flow.cancelled and isinstance(error, asyncio.CancelledError):
                raise _gave_up() from None
            raise as_handler_error(error) from None


class _Sent(Exception):
    """Sending an item failed, which is no fault of what runs on the loop."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


async def _pump(items: AsyncGenerator[Any, None], flow: Flow, send: Callable[[Any], None]) -> None:
    """Send the items of an async generator. Who wants no more cancels the task."""
    loop, room, given = asyncio.get_running_loop(), asyncio.Event(), 0
    flow.on_credit(functools.partial(loop.call_soon_threadsafe, room.set))
    try:
        while True:
            while not flow.open:
                room.clear()
                await room.wait()
            try:
                item = await items.__anext__()
            except StopAsyncIteration:
                return
            try:
                send(item)
            except Exception as error:  # noqa: BLE001  it is told apart from what user code raises
                raise _Sent(error) from None
            given += 1
            if given % BREATH == 0:
                await asyncio.sleep(0)
    finally:
        flow.on_credit(_nobody)
        await _closed(items)


async def _closed(items: AsyncGenerator[Any, None]) -> None:
    try:
        await items.aclose()
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001  its caller knows already how it ended
        _complain(error)


def _gave_up() -> Cancelled:
    return Cancelled("the caller wants no more of this stream")


def _complain(error: BaseException) -> None:
    sys.stderr.write(f"a generator could not be closed: {shown(error)}\n")


def _nobody() -> None:
    """Nobody waits for credit."""
