"""Calls of one operation that are run together: `operation(batch=...)`.

The rule of this file: each call of a batch is answered as if it had come alone. An argument that
does not fit, or a deadline that has passed, is the answer to that call, and the others are run
without it; a result that is an exception, or cannot travel, is the answer to its call. Only what
the function raises, or a list of the wrong length, is the answer to all.

A batch is made of calls that follow one another: what comes between ends it, so nothing overtakes.
"""

from __future__ import annotations

import inspect
import itertools
from time import monotonic
from typing import TYPE_CHECKING, Any

from provider.errors import BadResult, CallError, CallTimeout, InvalidArgument
from provider.wire.frames import Encoding, FrameType, frame, read_call
from provider.worker.faults import as_handler_error
from provider.worker.operations import Operation, Refusal
from provider.worker.streams import LATE, UNFINISHED, gathered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provider.worker.incoming import Incoming
    from provider.worker.runner import Frame, Runner

_CALL, _ABOUT, _RESULT = int(FrameType.CALL), int(FrameType.ABOUT), int(FrameType.RESULT)
_PRESENT = frozenset({int(Encoding.CBOR), int(Encoding.JSON)})
_NO_CALL: Frame = (0, 0, b"")


class BatchedOperation(Operation):
    """An operation whose function takes a list of arguments and returns as many results."""

    __slots__ = ()

    def call(self, argument: Any, present: bool) -> Any:
        """Call the function with a list of one.

        Args:
            argument: what the caller sent.
            present: whether it sent anything.

        Raises:
            Refusal: the argument does not fit, or the result is no list of one. What else is
                raised is the function's.
        """
        try:
            fitting = self.fit(argument, present)
        except CallError as error:
            raise Refusal(error) from None
        (result,) = self.results([fitting])
        if isinstance(result, BaseException):
            raise result
        return result

    def fit(self, argument: Any, present: bool) -> Any:
        """One member of the list the function is given.

        Raises:
            InvalidArgument: it does not fit.
        """
        args, kwargs = self.binding.bind(argument, present)
        for value in (*args, *kwargs.values()):
            return value
        raise InvalidArgument(f"an argument is missing: {self.binding.parameters[0].name}")

    def results(self, arguments: list[Any]) -> list[Any]:
        """Call the function.

        Raises:
            Refusal: it does not return as many results. What else is raised is the function's.
        """
        (parameter,) = self.binding.parameters
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            result = self.function(**{parameter.name: arguments})
        else:
            result = self.function(arguments)
        wanted = len(arguments)
        if type(result) in UNFINISHED:
            try:
                result = gathered(result, wanted, (_NO_CALL, _NO_CALL))
            except Refusal:
                raise self._misfit(f"more than {wanted} results", wanted) from None
        if isinstance(result, str | bytes | bytearray | dict):
            raise self._misfit(f"a {type(result).__name__}", wanted)
        try:
            results = list(itertools.islice(result, wanted + 1))
        except TypeError:
            raise self._misfit(f"a {type(result).__name__}", wanted) from None
        if len(results) != wanted:
            count = f"more than {wanted}" if len(results) > wanted else str(len(results))
            raise self._misfit(f"{count} results", wanted)
        return results

    def _misfit(self, given: str, wanted: int) -> Refusal:
        return Refusal(
            BadResult(
                f"operation {self.declaration.full_name} returned {given} for a batch of "
                f"{wanted}; it has to return a list of one result for each argument"
            )
        )


class Batch:
    """Calls that are run together.

    Args:
        operation: that they are for.
        calls: number, encoding, deadline, operation and payload of each, in the order they came.
    """

    def __init__(
        self, operation: BatchedOperation, calls: list[tuple[int, int, float, bytes, bytes]]
    ) -> None:
        self._operation = operation
        self._calls = calls
        self._late: set[int] = set()

    @property
    def first(self) -> int:
        """The number of its first call."""
        return self._calls[0][0]

    @property
    def last(self) -> int:
        """The number of its last call."""
        return self._calls[-1][0]

    @property
    def name(self) -> bytes:
        """What its first caller called the operation."""
        return self._calls[0][3]

    def begin(self, note: Callable[[int], None]) -> None:
        """Note that its calls begin, and which of them are too late.

        Args:
            note: `Progress.begin`.
        """
        for number, _, deadline, _, _ in self._calls:
            # In this order: whoever does not find a call begun may be sure that it will not run.
            note(number)
            if monotonic() >= deadline:
                self._late.add(number)

    def run(self, runner: Runner) -> list[bytes]:
        """Run it; returns the frames that answer its calls. Raises nothing."""
        answers: dict[int, bytes] = {}
        fitting: list[tuple[int, int]] = []
        arguments: list[Any] = []
        for number, encoding, _, _, payload in self._calls:
            argument, error = self._argument(runner, number, encoding, payload)
            if error is None:
                arguments.append(argument)
                fitting.append((number, encoding))
            else:
                answers[number] = runner.error_frame(number, error)
        for (number, encoding), result in zip(fitting, self._results(arguments), strict=True):
            answers[number] = _answer(runner, number, encoding, result)
        return [answers[call[0]] for call in self._calls]

    def _argument(
        self, runner: Runner, number: int, encoding: int, payload: bytes
    ) -> tuple[Any, CallError | None]:
        """What the function is given for a call, or why it is not."""
        if number in self._late:
            return None, CallTimeout(LATE)
        try:
            argument = runner.argument(encoding, payload)
            return self._operation.fit(argument, encoding in _PRESENT), None
        except CallError as error:
            return None, error
        except BaseException as error:  # noqa: BLE001  types of the author's check by their own code
            return None, as_handler_error(error)

    def _results(self, arguments: list[Any]) -> list[Any]:
        """A result or an exception for each argument."""
        problem: CallError
        if not arguments:
            return []
        try:
            return self._operation.results(arguments)
        except Refusal as refusal:
            problem = refusal.error
        except BaseException as error:  # noqa: BLE001  whatever the function raises
            problem = as_handler_error(error)
        return [_Failed(problem)] * len(arguments)


class _Failed:
    """What all calls of a batch are told."""

    def __init__(self, error: CallError) -> None:
        self.error = error


def _answer(runner: Runner, number: int, encoding: int, result: Any) -> bytes:
    try:
        if isinstance(result, _Failed):
            raise result.error
        if isinstance(result, BaseException):
            raise as_handler_error(result)
        return frame(_RESULT, number, runner.item(result, encoding))
    except CallError as error:
        return runner.error_frame(number, error)


class Gathering:
    """The frames of a burst, with calls that are run together put together.

    Args:
        frames: at hand.
        find: the operation a command is for.
        incoming: where more come from.
        idle: called before more is waited for.
    """

    def __init__(
        self,
        frames: Iterator[Frame],
        find: Callable[[str], Operation | None],
        incoming: Incoming,
        idle: Callable[[], None],
    ) -> None:
        self._frames = frames
        self._find = find
        self._incoming = incoming
        self._idle = idle
        self._back: list[Frame] = []
        """Taken, and to be taken again before all others."""

    def __iter__(self) -> Iterator[Frame | Batch]:
        while (at_hand := self._take()) is not None:
            operation, call = self._read(at_hand)
            yield at_hand if operation is None else self._batch(operation, call)

    def give_back(self) -> None:
        """Have received again what was taken and not handed out, because this one ends here."""
        if rest := [*self._back, *self._frames]:
            self._incoming.put_back(rest)

    def _take(self) -> Frame | None:
        return self._back.pop(0) if self._back else next(self._frames, None)

    def _read(self, other: Frame) -> tuple[BatchedOperation | None, Any]:
        """The operation of a call that is run together with others, and the call; None for none."""
        kind, number, body = other
        if kind != _CALL:
            return None, None
        encoding, deadline, name, payload = read_call(body)
        found = self._find(name.decode("utf-8", "replace"))
        if isinstance(found, BatchedOperation):
            return found, (number, encoding, deadline, name, payload)
        return None, None

    def _batch(
        self, operation: BatchedOperation, first: tuple[int, int, float, bytes, bytes]
    ) -> Batch:
        declared, calls = operation.declaration, [first]
        about: list[Frame] = []
        now = monotonic()
        until = now + declared.wait
        while len(calls) < declared.batch:
            # Not so long that the time of a caller runs out for nothing but waiting.
            until = min(until, (now + calls[-1][2]) / 2)
            other = self._take() or self._wait(until)
            if other is None:
                break
            if other[0] == _ABOUT:
                about = [other]  # a batch has many callers, so its function is told of none
                continue
            found, call = self._read(other)
            if found is not operation:
                about.append(other)
                break
            about.clear()
            calls.append(call)
        # What is known of a call that is not among these is for whoever runs it.
        self._back = about
        return Batch(operation, calls)

    def _wait(self, until: float) -> Frame | None:
        """The next frame that comes until then."""
        while (left := until - monotonic()) > 0:
            self._idle()
            received = self._incoming.soon(left)
            if received:
                self._frames = iter(received)
                return self._take()
        return None
