"""A dispatch module in the test's own process, called as the worker calls it.

    with in_process.load("dispatch.py") as dispatch:
        assert dispatch.call("py.factorial", 10) == 3628800

The rule of this file: it has no way of its own to call a function. Arguments and results are
encoded and decoded as on the wire, and the call itself is the worker's `Runner`, so what cannot
travel, or does not fit, fails here with the same error. What only another process can do is left
out: nobody ends a call whose deadline has passed, and nothing is reloaded.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, NamedTuple

from neotasker import embed

import provider.dispatch
from provider.client import ABSENT
from provider.errors import BadResult, CallError
from provider.wire.about import trace_of, write_about
from provider.wire.envelope import check_operation
from provider.wire.frames import Encoding, FrameReader, FrameType, call_frame, frame
from provider.wire.values import Limits, Values
from provider.worker.faults import as_handler_error
from provider.worker.loader import LoadError, Program
from provider.worker.loops import the_loop
from provider.worker.operations import Refusal
from provider.worker.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from types import ModuleType

    from provider.worker.runner import Frame


class InProcess:
    """A dispatch program, loaded into this process. Made by `load`.

    Args:
        program: loaded.
        module: that it was loaded from.
        limits: of arguments and results.

    Attributes:
        module: for tests that look into it, or put something in the place of a part.
    """

    def __init__(self, program: Program, module: ModuleType, limits: Limits | None = None) -> None:
        self.module = module
        self._program = program
        self._values = Values(limits or Limits())
        report = embed.report_result
        self._runner = Runner(program, self._values, _nobody_waits)
        embed.report_result = report  # answers are taken where they are made
        self._number = 0

    @property
    def operations(self) -> list[str]:
        """Names of the declared operations, as they were declared."""
        declared = self._program.operations
        return [] if declared is None else [each.declaration.full_name for each in declared.all]

    def call(
        self,
        operation: str,
        argument: Any = ABSENT,
        *,
        timeout: float = math.inf,
        headers: Mapping[str, str] | None = None,
        caller: str = "",
    ) -> Any:
        """Call an operation and return its result, as a client would get it.

        Args:
            operation: its name, such as `py.factorial`; 1..256 bytes.
            argument: any value that can travel; left out, none is sent.
            timeout: seconds from now to the deadline in the handler's context. It is not enforced.
            headers: those a caller may send and the handler's context knows, such as `traceparent`.
            caller: public key of the actor in the handler's context.

        Raises:
            CallError: the subclass of what went wrong. The handler's traceback is its note.
            TypeError: the argument cannot travel; the text names the path inside it.
        """
        __tracebackhide__ = True  # pytest shows the line of the test instead
        asked = self._asked(operation, argument, timeout, headers or {}, caller)
        with self._at_hand(asked):
            answer = self._runner.outcome(asked.number, asked.encoding, asked.name, asked.payload)
        return self._result(bytes(answer))

    def stream(
        self,
        operation: str,
        argument: Any = ABSENT,
        *,
        timeout: float = math.inf,
        headers: Mapping[str, str] | None = None,
        caller: str = "",
    ) -> Iterator[Any]:
        """Call an operation and yield what it gives, item by item, as a client's stream does.

        The generator runs on when the next item is asked for, and is closed when this one is.
        Arguments and errors as with `call`.
        """
        __tracebackhide__ = True
        asked = self._asked(operation, argument, timeout, headers or {}, caller)
        items = None
        try:
            with self._at_hand(asked):
                result = self._runner.called(asked.encoding, asked.name, asked.payload)
                if isinstance(result, CoroutineType):
                    result = the_loop.run(result, asked.frames)
            items = _items_of(result, asked.frames)
            while True:
                with self._at_hand(asked):
                    try:
                        item = next(items)
                    except StopIteration:
                        return
                    except Refusal as refusal:
                        raise refusal.error from None
                    except CallError as error:  # of the author's own, such as OperationError
                        raise as_handler_error(error) from None
                    data = self._runner.item(item, Encoding.CBOR)
                yield self._values.decode(data)
        except CallError as error:
            self._result(self._runner.error_frame(asked.number, error))
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001  as the worker does
            answer = self._runner.error_frame(asked.number, as_handler_error(error))
            self._result(answer)
        finally:
            if items is not None:
                with self._at_hand(asked):
                    items.close()

    def _asked(
        self,
        operation: str,
        argument: Any,
        timeout: float,
        headers: Mapping[str, str],
        caller: str,
    ) -> _Asked:
        encoding, payload = Encoding.ABSENT, b""
        if argument is not ABSENT:
            try:
                encoding, payload = Encoding.CBOR, self._values.encode(argument)
            except BadResult as error:
                raise TypeError(error.message.replace("the result", "the argument", 1)) from None
        name = check_operation(operation).encode()
        self._number += 1
        number, deadline = self._number, time.monotonic() + timeout
        call = call_frame(number, name, payload, encoding, deadline)
        about = frame(FrameType.ABOUT, number, write_about(trace_of(headers), caller))
        told, called = FrameReader().feed(about + call)
        return _Asked(number, encoding, name, payload, (called, told))

    @contextlib.contextmanager
    def _at_hand(self, asked: _Asked) -> Iterator[None]:
        """While this lasts, the call is the one whose context user code finds."""
        runner = self._runner
        before = runner.current, runner.about, provider.dispatch.find_context
        runner.current, runner.about = asked.frames
        provider.dispatch.find_context = runner.context
        try:
            yield
        finally:
            runner.current, runner.about, provider.dispatch.find_context = before

    def _result(self, answer: bytes) -> Any:
        __tracebackhide__ = True
        [(kind, _, body)] = FrameReader().feed(answer)
        if kind == FrameType.RESULT:
            return self._values.decode(body)
        error = CallError.from_map(Values().decode(body))
        if error.type == KeyboardInterrupt.__name__:
            raise KeyboardInterrupt  # of whoever runs the tests
        if error.traceback:
            error.add_note(error.traceback)
        raise error from None


class _Asked(NamedTuple):
    """A call as it comes out of its frame, and the frames: of the call, of what is known of it."""

    number: int
    encoding: int
    name: bytes
    payload: bytes
    frames: tuple[Frame, Frame]


_loaded: list[Program] = []
"""Programs in this process; they share the event loop."""


@contextlib.contextmanager
def load(program: str | os.PathLike[str], *, limits: Limits | None = None) -> Iterator[InProcess]:
    """Load a dispatch program into this process, and forget it and its helper modules in the end.

    Its hooks for the beginning and the end are called, as a worker does.

    Args:
        program: a `.py` file, or a folder with `__init__.py`.
        limits: of arguments and results, the defaults of a provider when left out.

    Raises:
        LoadError: it cannot be loaded; the text is what a provider would say.
    """
    modules, path, finders = dict(sys.modules), list(sys.path), list(sys.meta_path)
    file = os.path.abspath(program)
    loaded = Program(None, file)
    _loaded.append(loaded)
    try:
        loaded.load()
        yield InProcess(loaded, _module_of(loaded, file), limits)
    except LoadError as error:
        if error.traceback:
            error.add_note(error.traceback)
        raise
    finally:
        loaded.leave()
        _loaded.remove(loaded)
        if not _loaded:
            the_loop.close()
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder in finders]
        sys.path[:] = [place for place in sys.path if place in path]
        for name in loaded.folders.tracked:
            sys.modules.pop(name, None)
            if name in modules:
                sys.modules[name] = modules[name]


def _module_of(program: Program, path: str) -> ModuleType:
    files = {path, os.path.join(path, "__init__.py")}
    tracked = program.folders.tracked
    return next(sys.modules[name] for name in tracked if tracked[name].path in files)


def _items_of(result: Any, call: tuple[Frame, Frame]) -> Generator[Any, None, None]:
    """What a call that asked for a stream is given: the items, or the one result."""
    if isinstance(result, AsyncGeneratorType):
        yield from _pulled(result, call)
    elif isinstance(result, GeneratorType):
        yield from result
    else:
        yield result


def _pulled(
    items: AsyncGeneratorType[Any, None], call: tuple[Frame, Frame]
) -> Generator[Any, None, None]:
    """The items of an async generator, which runs on the loop."""
    end = object()

    async def step() -> Any:
        return await anext(items, end)

    async def close() -> None:
        await items.aclose()

    try:
        while (item := the_loop.run(step(), call)) is not end:
            yield item
    finally:
        the_loop.run(close(), call)


def _nobody_waits(_answer: object) -> None:
    """Answers are taken where they are made."""
