"""The life of the worker: say hello, load, serve, leave.

The rule of this file: one thread reads frames and runs calls in the order they came. Answers are
held together so that a burst costs one system call, yet none waits for a slow neighbour:

- when nothing more is at hand, what is held goes out before the worker sleeps;
- before an operation that is new or was slow the last time, what is held goes out first;
- what is held for more than half a millisecond goes out after the call that made it so;
- and should a quick operation turn slow, the attendant thread sends what is held.

The attendant also ends the process when the host is gone, even while user code runs.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from _socket import socket  # what the module socket adds takes 3 ms of a start, and is not needed
from time import monotonic
from typing import TYPE_CHECKING, Any

from provider import dispatch
from provider.allocator import keep_memory
from provider.errors import CallTimeout
from provider.wire.frames import (
    BODY_HEAD,
    LARGE,
    VERSION,
    FrameError,
    FrameType,
    frame,
    read_call,
    unpack_call,
)
from provider.wire.progress import Progress
from provider.wire.values import Limits, Values
from provider.worker.answers import Answers
from provider.worker.incoming import HostGone, Incoming
from provider.worker.loader import Loaded, LoadError, Program
from provider.worker.loops import the_loop
from provider.worker.prints import Prints
from provider.worker.reports import Reports
from provider.worker.runner import NO_CALL, Frame, Runner, load_failure
from provider.worker.streams import LATE, Streams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provider.worker.answers import Answer
    from provider.worker.batches import Batch
    from provider.worker.operations import Operations

SLOW = 0.0005
"""Seconds from which a call, or the holding of an answer, counts as long."""
QUICK_NAMES = 4096
"""Names remembered as quick; callers make names up, so there is an end to it."""

_CALL, _ABOUT = int(FrameType.CALL), int(FrameType.ABOUT)
_STREAM, _CREDIT, _CANCEL = map(int, (FrameType.STREAM, FrameType.CREDIT, FrameType.CANCEL))


class _Leave(Exception):
    """The host said BYE."""


def serve(link_descriptor: int, progress_descriptor: int) -> int:
    """Serve the host at the other end of the link until it says BYE or is gone.

    Args:
        link_descriptor: of a connected stream socket.
        progress_descriptor: of the shared memory.

    Returns:
        The exit code of the process: 0 after BYE, 1 when the link broke, 3 when nothing loaded.
    """
    # Inherited to reach us; the user's child processes must not hold them open.
    os.set_inheritable(link_descriptor, False)
    link = socket(fileno=link_descriptor)
    link.setblocking(True)
    progress = Progress(progress_descriptor)
    os.close(progress_descriptor)
    # Ctrl-C reaches the host, which ends the worker in order.
    signal.signal(signal.SIGINT, lambda *_: None)
    os.register_at_fork(after_in_child=link.close)  # it belongs to the parent
    keep_memory()
    answers = Answers(link, progress)
    serving = _Serving(link, progress, answers)
    serving.prints.mark_lines()
    answers.attend(serving.leaves)
    try:
        return serving.run()
    except (OSError, FrameError) as error:
        print(f"the link to the host broke: {error}", file=sys.stderr)
        return 1
    finally:
        if serving.idle:
            answers.leave()


class _Serving:
    """The loop over frames and what it needs."""

    def __init__(self, link: socket, progress: Progress, answers: Answers) -> None:
        self._link = link
        self._answers = answers
        self._progress = progress
        self._quick: set[bytes] = set()
        self._reported = 0
        self._waiting = True
        self._program: Program
        self._runner: Runner | None = None
        self._streams: Streams
        self._incoming = Incoming(link, self._heed, self._heeds)
        self.prints = Prints(self._running)
        self._forked = False
        os.register_at_fork(after_in_child=self._note_fork)

    @property
    def idle(self) -> bool:
        """Whether no call runs any more."""
        return self._runner is None or self._runner.idle

    def leaves(self) -> bool:
        """Whether nothing of the user's runs, so that the main thread sees the end of the host."""
        return self._waiting and self.idle

    def run(self) -> int:
        import cbor2
        import neotasker

        hello = {
            "version": VERSION,
            "pid": os.getpid(),
            "python": "{}.{}.{}".format(*sys.version_info[:3]),
            "prefix": sys.prefix,
            "neotasker": neotasker.__version__,
        }
        self._answers.send(frame(FrameType.HELLO, 0, cbor2.dumps(hello)))
        receive = self._incoming.receive
        try:
            while True:
                received = receive()
                self._waiting = False
                frames = iter(received)
                while (other := self._calls(frames)) is not None:
                    self._answers.flush()
                    if other[0] == _STREAM and self._runner is not None:
                        self._run_stream(self._runner, other, frames)
                    else:
                        self._tell(*other)
                self._waiting = True
                self._answers.flush()
                self._report_new_files()
        except (_Leave, HostGone):
            self._answers.flush()
            if self._runner is not None:
                self._runner.current = NO_CALL
                self._program.leave()
            the_loop.close()
            return 0
        except LoadError as error:
            self._answers.send(frame(FrameType.FAILED, 0, cbor2.dumps(load_failure(error))))
            return 3

    def _calls(self, frames: Iterator[Frame]) -> Frame | None:
        """Run calls up to the first frame that is none, which is returned."""
        runner = self._runner
        if runner is None:
            return next(frames, None)
        operations = self._program.operations
        if operations is not None and operations.batched:
            return self._run_batching(runner, operations, frames)
        if runner.overlapping:
            return self._run_overlapping(runner, frames)
        return self._run_alone_together(runner, frames)

    def _run_alone(  # noqa: C901  a call of ours more is what it costs to take it apart
        self, runner: Runner, frames: Iterator[Frame]
    ) -> Frame | None:
        # The way of every call in the default mode. All it needs is at hand, and around the user's
        # function it is two calls of ours: `outcome`, and `hold`.
        answers, hold, words = self._answers, self._answers.hold, self._progress.words
        quick, outcome, clock = self._quick, runner.outcome, monotonic
        out, error = self.prints.unfinished
        for other in frames:
            kind, number, body = other
            if kind != _CALL:
                if kind == _ABOUT:
                    runner.about = other
                    continue
                return other
            runner.current = other
            # What `read_call` does, which says what is wrong where something is.
            length = len(body)
            if length < BODY_HEAD:
                read_call(body)
            encoding, deadline, size = unpack_call(body)
            start = BODY_HEAD + size
            if length < start:
                read_call(body)
            operation = body[BODY_HEAD:start]
            if length > LARGE:
                operation = bytes(operation)  # of a call that was read to where it stays
            known = operation in quick
            if not known and answers.held:
                answers.flush()
            # The note first, then the clock: whoever looks after the deadline and does not find
            # this call begun may be sure that it will not run.
            words[0] = number
            now = clock()
            if now >= deadline:
                hold(runner.error_frame(number, CallTimeout(LATE)))
                continue
            answer = outcome(number, encoding, operation, body[start:])
            if self._forked:
                os._exit(0)  # a child that user code forked, and that came back here
            if out or error:
                self.prints.end(number)
            hold(answer)
            after = clock()
            if after - now > SLOW:
                quick.discard(operation)
                self._report_new_files()
            elif not known:
                if len(quick) >= QUICK_NAMES:
                    quick.clear()
                quick.add(operation)
            if answers.held and after - answers.since > SLOW:
                answers.flush()
        return None

    def _run_overlapping(self, runner: Runner, frames: Iterator[Frame]) -> Frame | None:
        for other in frames:
            kind, number, body = other
            if kind != _CALL:
                if kind == _ABOUT:
                    runner.about = other
                    continue
                return other
            encoding, deadline, operation, payload = read_call(body)
            self._wait_for_room(runner)
            runner.note(other)
            # In this order, as above.
            self._progress.begin(number)
            if monotonic() < deadline:
                runner.run(number, encoding, operation, payload)
            else:
                self._finish_overlapping(runner.error_frame(number, CallTimeout(LATE)))
        return None

    def _run_batching(
        self, runner: Runner, operations: Operations, frames: Iterator[Frame]
    ) -> Frame | None:
        """As the others, where some calls are run together."""
        from provider.worker.batches import Batch, Gathering

        alone = self._run_overlapping if runner.overlapping else self._run_alone_together
        gathering = Gathering(frames, operations.find, self._incoming, self._answers.flush)
        for each in gathering:
            if isinstance(each, Batch):
                self._run_batch(runner, each)
            elif (other := alone(runner, iter((each,)))) is not None:
                gathering.give_back()
                return other
        return None

    def _run_alone_together(self, runner: Runner, frames: Iterator[Frame]) -> Frame | None:
        return runner.together(functools.partial(self._run_alone, runner, frames))

    def _run_batch(self, runner: Runner, batch: Batch) -> None:
        runner.current = NO_CALL
        work = functools.partial(batch.run, runner)
        if runner.overlapping:
            self._wait_for_room(runner)
            batch.begin(self._progress.begin)
            runner.run_beside(batch.first, lambda: self._finish_overlapping(b"".join(work())))
            return
        if batch.name not in self._quick:
            self._answers.flush()
        batch.begin(self._progress.begin)
        began = monotonic()
        answers = runner.together(work)
        if self._forked:
            os._exit(0)  # a child that user code forked, and that came back here
        self.prints.end(batch.last)
        self._answers.hold_all(answers)
        if monotonic() - began > SLOW:
            self._quick.discard(batch.name)
            self._report_new_files()
            self._answers.flush()
        elif len(self._quick) < QUICK_NAMES:
            self._quick.add(batch.name)

    def _run_stream(self, runner: Runner, other: Frame, frames: Iterator[Frame]) -> None:
        """Run a call that asked for a stream; in the default mode no other frame is looked at."""
        _, number, body = other
        encoding, deadline, operation, payload = read_call(body)
        if runner.overlapping:
            self._incoming.until(lambda: runner.has_room)
            runner.note(other)
        else:
            self._incoming.put_back(list(frames))
            runner.current = other
        self._streams.begin(number)
        # In this order, as above.
        self._progress.begin(number)
        late = monotonic() >= deadline
        work = functools.partial(self._streams.run, number, encoding, operation, payload, late=late)

        def beside() -> None:
            self._finish_overlapping(work())

        if runner.overlapping:
            runner.run_beside(number, beside)
        else:
            answer = runner.together(work)
            self.prints.end(number)
            self._answers.send(answer)

    def _heeds(self) -> bool:
        """Whether what the host says of callers matters to calls that run now."""
        runner = self._runner
        return runner is not None and (
            self._streams.running or (runner.overlapping and self._program.asks_for_context)
        )

    def _wait_for_room(self, runner: Runner) -> None:
        """Wait until another call may run beside others, which may ask for what only we read."""
        if self._heeds():
            self._incoming.until(lambda: runner.has_room)
        runner.wait_for_room()

    def _heed(self, other: Frame) -> None:
        if self._runner is not None:
            self._streams.heed(other)

    def _until_idle(self, runner: Runner) -> None:
        """Wait for calls that run, which may wait for what only we read."""
        if self._heeds():
            self._incoming.until(lambda: runner.idle)
        runner.settle()

    def _finish_overlapping(self, answer: Answer) -> None:
        """Take the answer of one of several calls that run; none may wait for another to end."""
        self.prints.end(self._running())
        self._answers.send(answer)

    def _running(self) -> int:
        """The call that the code which asks belongs to, as well as can be known."""
        mine = self._runner.running() if self._runner is not None else None
        return self._progress.begun() if mine is None else mine

    def _tell(self, kind: int, number: int, body: bytes) -> None:
        import cbor2

        if self._runner is not None:
            self._runner.current = NO_CALL
        if kind == FrameType.SETUP:
            self._set_up(cbor2.loads(body))
        elif kind == FrameType.RELOAD and self._runner is not None:
            self._until_idle(self._runner)
            self._reload(number, force=bool(cbor2.loads(body).get("force")))
        elif kind == FrameType.HEALTH and self._runner is not None:
            # Begun, so that the host can tell a check that hangs from a call before it.
            self._progress.begin(number)
            told = {"trouble": self._program.trouble()}
            self._answers.send(frame(FrameType.TROUBLE, number, cbor2.dumps(told)))
        elif kind == FrameType.SCHEMA and self._runner is not None:
            from provider.worker.schema import schemas

            self._progress.begin(number)  # as above
            operations = self._program.operations
            made = {"schemas": schemas(operations) if operations is not None else {}}
            self._answers.send(frame(FrameType.SCHEMAS, number, cbor2.dumps(made)))
        elif kind == FrameType.BYE:
            if self._runner is not None:
                self._until_idle(self._runner)
                self._runner.close()
            raise _Leave
        elif kind in (_CREDIT, _CANCEL):
            self._heed((kind, number, body))
        else:
            raise FrameError(f"a frame of type {kind} is not for the worker, or too early")

    def _reload(self, number: int, *, force: bool) -> None:
        import cbor2

        began = time.monotonic()
        try:
            loaded = self._program.reload(force=force)
        except LoadError as error:
            failure = cbor2.dumps({"error": load_failure(error)})
            self._answers.send(frame(FrameType.RELOADED, number, failure))
            if self._program.has_new_files:
                # Where the fault may be, in a file that no serving module came from.
                self._report(FrameType.FILES, 0, self._program.state())
        else:
            loaded = loaded._replace(seconds=time.monotonic() - began)
            self._report(FrameType.RELOADED, number, loaded)

    def _set_up(self, setup: dict[str, Any]) -> None:
        values = Values(Limits(**setup["limits"]))
        # Behind the standard library and before installed libraries, as PYTHONPATH would like it
        # but without the power to replace the standard library under our feet.
        extra = [path for path in setup["path"] if path not in sys.path]
        place = next(
            (i for i, path in enumerate(sys.path) if path.endswith(("-packages",))), len(sys.path)
        )
        sys.path[place:place] = extra
        self._program = Program(setup["main"], setup["dispatch"])
        concurrency = setup["concurrency"]
        self._runner = Runner(self._program, values, self._finish_overlapping, concurrency)
        self._runner.on_room = self._incoming.ring
        reports = Reports(self._answers.offer)
        self._answers.on_look = reports.remind
        self._streams = Streams(self._runner, self._answers.send, self._incoming, reports)
        self._runner.ask_host = self._streams.line
        dispatch.find_context = self._runner.context
        loaded = self._program.load()
        self._program.run_background()
        self._report(FrameType.READY, 0, loaded)

    def _report_new_files(self) -> None:
        """Tell the host of files that calls imported."""
        if self._runner is not None and self._program.tracked_count != self._reported:
            self._report(FrameType.FILES, 0, self._program.state())

    def _note_fork(self) -> None:
        self._forked = True

    def _report(self, kind: int, number: int, loaded: Loaded) -> None:
        import cbor2

        self._reported = self._program.tracked_count
        self._answers.send(frame(kind, number, cbor2.dumps(loaded.as_map())))
