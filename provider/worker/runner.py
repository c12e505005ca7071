"""Runs one call: bytes in, one frame out, whatever the user's code does.

The rule of this file: nothing a handler raises gets past it. This file and `background` are the
only ones that touch neotasker, the engine of the ancestor: `embed.call_direct` runs the calls of
the default, exclusive mode and its thread pool those of PROVIDER_CONCURRENCY > 1. neotasker catches
`Exception` only and loses its loop to `sys.exit`, so the function it is given has caught
`BaseException` before. And nobody but this process answers: a child that user code forked, and that
comes back here, leaves.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from neotasker import embed, task_supervisor

from provider.dispatch import Context
from provider.errors import BadRequest, BadResult, CallError
from provider.wire import json_form
from provider.wire.about import read_about
from provider.wire.frames import (
    LARGE,
    OVERHEAD,
    Encoding,
    FrameType,
    frame,
    pack_head,
    read_call,
)
from provider.wire.values import Values
from provider.worker.answers import LargeAnswer
from provider.worker.faults import as_handler_error, sendable, shown
from provider.worker.leaving import leave_at_once
from provider.worker.loops import active
from provider.worker.operations import Refusal
from provider.worker.results import travelling
from provider.worker.streams import UNFINISHED, gathered

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider.worker.answers import Answer
    from provider.worker.loader import LoadError, Program

_RESULT, _ERROR = int(FrameType.RESULT), int(FrameType.ERROR)
_CBOR, _JSON = int(Encoding.CBOR), int(Encoding.JSON)
_PRESENT = frozenset({_CBOR, _JSON})
_AS_CBOR = frozenset({_CBOR, int(Encoding.ABSENT)})

_STRINGS = frozenset({bytes, str})

Frame = tuple[int, int, bytes]
"""Type, number and body, as `FrameReader` has them."""
NO_CALL: Frame = (0, 0, b"")
"""Stands where the frame of a call would."""

_BURST = 0
"""The number of work that answers its calls itself; calls count from 1."""

T = TypeVar("T")


class Runner:
    """Runs the calls of one program.

    Args:
        program: what to call.
        values: decodes arguments and encodes results.
        answer: takes each finished frame; with concurrency > 1 from many threads.
        concurrency: calls that may run at once; 1 runs each in the caller's thread.
    """

    def __init__(
        self,
        program: Program,
        values: Values,
        answer: Callable[[Answer], None],
        concurrency: int = 1,
    ) -> None:
        self._program = program
        self._values = values
        self._answer = answer
        self._process = os.getpid()
        # What an error says is written whatever the limits of values are.
        self._plain = Values()
        # The engine reports every outcome through this hook; `outcome` never raises, so there is
        # no other outcome than a frame.
        embed.report_result = self._report
        self.current = NO_CALL
        """The call that runs, where calls run one after the other."""
        self.about = NO_CALL
        """What is known of the call of the same number."""
        self.ask_host: Callable[[int], Any] = _no_line
        """Gives what a call's context needs of the host, as `Context` has it."""
        self._noted: dict[int, tuple[Frame, Frame]] = {}
        self._thread = threading.get_ident()
        self._concurrency = concurrency
        self.overlapping = concurrency > 1
        self.run: Callable[[int, int, bytes, bytes], None] = self._run_here
        self.wait_for_room: Callable[[], None] = _nothing_to_wait_for
        """Wait until another call may run, so that one that is not running is still waiting."""
        self.on_room: Callable[[], None] = _nothing_to_wait_for
        """Called after each call that ran in the pool."""
        if concurrency > 1:
            embed.set_thread_pool_size((0, concurrency))
            self._room = threading.Semaphore(concurrency)
            self._mine = threading.local()
            self.run = self._run_in_pool
            self.wait_for_room = self._wait_for_room

    def running(self) -> int | None:
        """The call that runs in this thread, None where only the order of calls tells."""
        if self._concurrency == 1:
            return None
        call = active.get()
        return getattr(self._mine, "number", None) if call is None else call[0][1]

    def note(self, call: Frame) -> None:
        """Remember the frame of a call that is about to run beside others."""
        self._noted[call[1]] = call, self.about

    def context(self) -> Context:
        """What the call that runs in this thread may know of itself.

        Raises:
            LookupError: none does.
        """
        call, about = active.get() or self.call_at_hand()
        if call is NO_CALL:
            raise LookupError("no call runs in this thread; ask in the handler, not in its threads")
        _, deadline, operation, _ = read_call(call[2])
        told = read_about(about[2]) if about[1] == call[1] else {}
        told["id"] = told.get("id") or f"#{call[1]}"  # as the host's log calls it
        line = self.ask_host(call[1])
        return Context(operation=operation.decode(), deadline=deadline, _line=line, **told)

    def call_at_hand(self) -> tuple[Frame, Frame]:
        """The call whose thread this is, and what is known of it; twice `NO_CALL` for none."""
        if self._concurrency > 1:
            number: int = getattr(self._mine, "number", None) or 0
            return self._noted.get(number, (NO_CALL, NO_CALL))
        if threading.get_ident() == self._thread:
            return self.current, self.about
        return NO_CALL, NO_CALL

    @property
    def has_room(self) -> bool:
        """Whether another call may run in the pool."""
        if not self._room.acquire(blocking=False):
            return False
        self._room.release()
        return True

    @property
    def idle(self) -> bool:
        """Whether no call runs in the pool."""
        if self._concurrency == 1:
            return True
        free = sum(self._room.acquire(blocking=False) for _ in range(self._concurrency))
        for _ in range(free):
            self._room.release()
        return free == self._concurrency

    def settle(self) -> None:
        """Wait until no call runs, so that code can be replaced under nobody's feet."""
        if self._concurrency > 1:
            for _ in range(self._concurrency):
                self._room.acquire()
            self._room.release(self._concurrency)

    def close(self) -> None:
        """Wait for what runs in the pool."""
        task_supervisor.thread_pool.shutdown(wait=True)

    def together(self, work: Callable[[], T]) -> T:
        """Have the engine run work of ours that runs calls one after the other by `outcome`.

        Args:
            work: a burst of calls; so what the engine costs is paid once for all of them.

        Returns:
            What it returns. What it raises passes.
        """
        ended: list[T] = []
        failed: list[Exception] = []

        def run() -> None:
            try:
                ended.append(work())
            except Exception as error:  # noqa: BLE001  the engine would make a text of it
                failed.append(error)

        embed.call_direct(_BURST, run)
        if failed:
            raise failed[0]
        return ended[0]

    def _run_here(self, number: int, encoding: int, operation: bytes, payload: bytes) -> None:
        embed.call_direct(number, self.outcome, number, encoding, operation, payload)

    def _run_in_pool(self, number: int, encoding: int, operation: bytes, payload: bytes) -> None:
        self._room.acquire()
        work = functools.partial(self._run_here, number, encoding, operation, payload)
        task_supervisor.spawn(self._run_and_leave, number, work)

    def run_beside(self, number: int, work: Callable[[], None]) -> None:
        """Have a thread of the pool do this, which is call `number`; waits for room."""
        self._room.acquire()
        task_supervisor.spawn(self._run_and_leave, number, work)

    def _run_and_leave(self, number: int, work: Callable[[], None]) -> None:
        self._mine.number = number
        try:
            work()
        except BaseException as error:  # noqa: BLE001  the pool would keep it to itself
            sys.stderr.write(f"call {number} cannot be answered: {shown(error)}\n")
            leave_at_once(1)
        finally:
            self._mine.number = None
            self._noted.pop(number, None)
            self._room.release()
            self.on_room()

    def _wait_for_room(self) -> None:
        with self._room:
            return

    def _report(self, number: int, result: bytes = b"", error: object = None) -> None:
        if number == _BURST:
            return
        if os.getpid() != self._process:
            os._exit(0)
        if error is not None:  # the link broke under an answer, or a fault of ours
            raise SystemError(f"the runner failed: {error}")
        self._answer(result)

    def outcome(self, number: int, encoding: int, operation: bytes, payload: bytes) -> Answer:
        """The frame that answers this call, which is run here and now. Raises nothing."""
        try:
            command = operation.decode("utf-8")
            if encoding == _CBOR:
                argument = self._values.decode(payload)
            elif encoding == _JSON:
                argument = json_form.decode(payload, self._values)
            else:
                argument = None
        except CallError as error:
            return self.error_frame(number, error)
        except Exception as error:  # noqa: BLE001  whatever the bytes did, the caller is told
            problem = BadRequest(f"the request cannot be read: {shown(error, 200)}")
            return self.error_frame(number, problem)
        try:
            result = self._program.call(command, argument, encoding in _PRESENT)
            if type(result) in UNFINISHED:
                result = gathered(result, self._values.limits.items, self.call_at_hand())
        except Refusal as refusal:
            return self.error_frame(number, refusal.error)
        except BaseException as error:  # noqa: BLE001  the rule of this file
            return self.error_frame(number, as_handler_error(error))
        try:
            if encoding not in _AS_CBOR:
                body = json_form.encode(result, self._values)
            elif type(result) in _STRINGS and (parts := self._values.long_string(result)):
                head, content = parts
                size = len(head) + len(content) + OVERHEAD
                head = pack_head(size, _RESULT, number) + head
                return head + content if size <= LARGE else LargeAnswer(head, content)
            else:
                body = self._values.encode(result)
            return pack_head(len(body) + OVERHEAD, _RESULT, number) + body
        except CallError as error:
            return self._second_try(number, encoding, result, error)
        except BaseException as error:  # noqa: BLE001  methods of user types run while encoding
            misfit = BadResult(f"the result cannot travel: {shown(error, 200)}")
            return self.error_frame(number, misfit)

    def _second_try(self, number: int, encoding: int, result: Any, refusal: CallError) -> bytes:
        """The answer of an operation whose result does not travel as it is."""
        try:
            if self._program.operations is None:
                return self.error_frame(number, refusal)
            return frame(_RESULT, number, self.encoded(travelling(result), encoding))
        except CallError as error:
            return self.error_frame(number, error)
        except BaseException as error:  # noqa: BLE001  properties of user types run here
            misfit = BadResult(f"the result cannot travel: {shown(error, 200)}")
            return self.error_frame(number, misfit)

    def called(self, encoding: int, operation: bytes, payload: bytes) -> Any:
        """What the program returns for this call, finished or not.

        Raises:
            CallError: what the caller is told, whatever was raised.
        """
        argument = self.argument(encoding, payload)
        try:
            command = operation.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadRequest(f"the request cannot be read: {shown(error, 200)}") from None
        try:
            return self._program.call(command, argument, encoding in _PRESENT)
        except Refusal as refusal:
            raise refusal.error from None
        except BaseException as error:  # noqa: BLE001  the rule of this file
            raise as_handler_error(error) from None

    def argument(self, encoding: int, payload: bytes) -> Any:
        """What a caller sent, None for nothing.

        Raises:
            CallError: it cannot be read.
        """
        try:
            if encoding == _CBOR:
                return self._values.decode(payload)
            if encoding == _JSON:
                return json_form.decode(payload, self._values)
        except CallError:
            raise
        except Exception as error:  # noqa: BLE001  whatever the bytes did, the caller is told
            raise BadRequest(f"the request cannot be read: {shown(error, 200)}") from None
        return None

    def item(self, value: Any, encoding: int) -> bytes:
        """The bytes of one item of a stream, or of one result of a batch.

        Raises:
            CallError: it cannot travel.
        """
        try:
            try:
                return self.encoded(value, encoding)
            except BadResult:
                if self._program.operations is None:
                    raise
                return self.encoded(travelling(value), encoding)
        except CallError:
            raise
        except BaseException as error:  # noqa: BLE001  methods of user types run while encoding
            raise BadResult(f"the result cannot travel: {shown(error, 200)}") from None

    def encoded(self, result: Any, encoding: int) -> bytes:
        """The bytes of a result, in the encoding of its call.

        Raises:
            BadResult: it cannot travel.
        """
        if encoding in _AS_CBOR:
            return self._values.encode(result)
        return json_form.encode(result, self._values)

    def error_frame(self, number: int, error: CallError) -> bytes:
        """The frame that answers call `number` with this error."""
        try:
            if error.details is not None:
                self._values.encode(error.details)
            body = self._plain.encode(error.as_map())
        except BaseException as problem:  # noqa: BLE001  details the author gave cannot travel
            reason = problem.message if isinstance(problem, CallError) else shown(problem, 200)
            error.details = None
            error.message += f" (its details are left out: {reason})"
            body = self._plain.encode(error.as_map())
        return frame(_ERROR, number, body)


def _nothing_to_wait_for() -> None:
    """Calls run one after the other in the caller's thread."""


def _no_line(_number: int) -> None:
    """There is no host yet."""


def load_failure(error: LoadError) -> dict[str, Any]:
    """A failed load as it travels to the host."""
    return {
        "message": sendable(str(error)),
        "traceback": error.traceback,
    }
