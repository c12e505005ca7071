"""The same provider for code that does not await.

The rule of this file: it says nothing of its own. Every method waits for the one of `Python` that
it is named after; `end_streams` is for `connect_sync`.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import CancelledError, Future, wait
from typing import TYPE_CHECKING, Any, Final, TypeVar

from provider.client.calling import ABSENT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping

    from provider.client.python import Python

T = TypeVar("T")

MOMENT = 2.0
"""Seconds a call has to end that is interrupted; after half of them it is told again."""
_END: Final[Any] = object()
"""Stands where a stream has no item any more."""


class PythonSync:
    """The same for code that does not await: every method waits for the one it is named after.

    Made by `connect_sync`. May be used from several threads at once.
    """

    def __init__(self, python: Python, loop: asyncio.AbstractEventLoop) -> None:
        self._python = python
        self._loop = loop
        self._streams: set[AsyncGenerator[Any, None]] = set()
        """Those that have neither ended nor been closed."""

    def call(
        self,
        operation: str,
        argument: Any = ABSENT,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> Any:
        """As `Python.call`."""
        return self._wait(
            self._python.call(
                operation, argument, timeout=timeout, request_id=request_id, trace=trace
            )
        )

    def stream(
        self,
        operation: str,
        argument: Any = ABSENT,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
        trace: Mapping[str, str] | None = None,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
    ) -> Generator[Any, None, None]:
        """As `Python.stream`; `close` of what this returns stops the function.

        `on_progress` is called in the thread of the connection.
        """
        items = self._python.stream(
            operation,
            argument,
            timeout=timeout,
            request_id=request_id,
            trace=trace,
            on_progress=on_progress,
        )
        self._streams.add(items)
        try:
            while True:
                item = self._wait(anext(items, _END))
                if item is _END:
                    return
                yield item
        finally:
            if items in self._streams:  # else it ended with the connection
                self._streams.discard(items)
                self._wait(items.aclose())

    def call_bytes(
        self,
        operation: str,
        body: bytes = b"",
        *,
        content_type: str = "application/cbor",
        timeout: float | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> bytes:
        """As `Python.call_bytes`."""
        return self._wait(
            self._python.call_bytes(
                operation, body, content_type=content_type, timeout=timeout, trace=trace
            )
        )

    def reload(self, *, timeout: float | None = None) -> None:
        """As `Python.reload`."""
        self._wait(self._python.reload(timeout=timeout))

    def status(self, *, timeout: float = 2.0) -> dict[str, Any]:
        """As `Python.status`."""
        return self._wait(self._python.status(timeout=timeout))

    def operations(self, *, timeout: float = 10.0) -> list[dict[str, Any]]:
        """As `Python.operations`."""
        return self._wait(self._python.operations(timeout=timeout))

    def schema(
        self, operation: str | None = None, *, timeout: float = 15.0
    ) -> dict[str, dict[str, Any]]:
        """As `Python.schema`."""
        return self._wait(self._python.schema(operation, timeout=timeout))

    def admin(
        self, command: str, *, timeout: float = 2.0, expect: int | None = None
    ) -> list[dict[str, Any]]:
        """As `Python.admin`."""
        return self._wait(self._python.admin(command, timeout=timeout, expect=expect))

    def end_streams(self) -> None:
        """Stop the functions of streams that were left open, while there is a way to say so."""
        while self._streams:
            with contextlib.suppress(RuntimeError):  # somebody waits for its next item
                self._wait(self._streams.pop().aclose())

    def _wait(self, work: Awaitable[T]) -> T:
        return waited_for(work, self._loop)


def waited_for(work: Awaitable[T], loop: asyncio.AbstractEventLoop) -> T:
    """The result of what runs on a loop in another thread.

    Whoever is interrupted meanwhile (Ctrl-C) leaves nothing running there. That may be while the
    work is being handed over, so the task is kept where the loop makes it: what
    `asyncio.run_coroutine_threadsafe` returns would come too late to cancel it.
    """
    answer: Future[T] = Future()
    tasks: list[asyncio.Future[T]] = []

    def begin() -> None:
        tasks.append(asyncio.ensure_future(work, loop=loop))
        tasks[0].add_done_callback(end)

    def end(task: asyncio.Future[T]) -> None:
        error = CancelledError() if task.cancelled() else task.exception()
        if error is None:
            answer.set_result(task.result())
        else:
            answer.set_exception(error)

    def leave() -> None:
        if not tasks:  # not even handed over; begun for its end, or it warns that nobody awaited it
            begin()
        tasks[0].cancel()

    try:
        loop.call_soon_threadsafe(begin)
        return answer.result()
    except BaseException:  # Ctrl-C too: it ends before something else begins
        for _ in range(2):  # `asyncio.wait_for` before 3.12 loses one that comes with its result
            if not answer.done():
                with contextlib.suppress(RuntimeError):  # the loop is closed, nothing runs there
                    loop.call_soon_threadsafe(leave)  # after `begin`, if that is queued
                    wait([answer], MOMENT / 2)
        raise
