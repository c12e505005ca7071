"""The event loop on which coroutines of user code run.

The rule of this file: there is one loop, it runs from the first coroutine to the end of the worker,
and in a thread of its own. So what one call leaves on it, such as a connection that has to answer
pings, lives on between calls, and calls that overlap share it. Whoever needs a coroutine's result
waits for it; nothing a coroutine raises gets past its `Job`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from provider.worker.runner import Frame

LAST_ACTS = 2.0
"""Seconds that tasks which are still there have, once the worker leaves."""

active: contextvars.ContextVar[tuple[Frame, Frame] | None] = contextvars.ContextVar(
    "provider_call", default=None
)
"""The call that a coroutine belongs to, and what is known of it; None outside the loop."""


class Job:
    """A coroutine on its way through the loop.

    Args:
        loop: that runs.
        coroutine: taken to its end.
        call: whose it is, as `active` has it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any],
        call: tuple[Frame, Frame] | None,
    ) -> None:
        self._loop = loop
        self._coroutine = coroutine
        self._call = call
        self._process = os.getpid()
        self._task: asyncio.Task[None] | None = None
        self._ended: concurrent.futures.Future[Any] = concurrent.futures.Future()
        loop.call_soon_threadsafe(self._begin)

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._ended.done()

    def on_end(self, tell: Callable[[], None]) -> None:
        """Have this done when it ends, in the thread of the loop; at once when it has."""
        self._ended.add_done_callback(lambda _: tell())

    def cancel(self) -> None:
        """Cancel its task. It ends when it likes, as tasks do."""
        self._loop.call_soon_threadsafe(self._cancel)

    def result(self) -> Any:
        """Wait for what it returns. What it raises is raised here, whatever that is."""
        return self._ended.result()

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._work())
        self._task.add_done_callback(self._never_begun)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        active.set(self._call)
        try:
            result = await self._coroutine
        except BaseException as error:  # noqa: BLE001  SystemExit would end the loop
            _leave_if_forked(self._process)
            self._ended.set_exception(error)
        else:
            _leave_if_forked(self._process)
            self._ended.set_result(result)

    def _never_begun(self, _task: asyncio.Task[None]) -> None:
        if not self._ended.done():
            self._coroutine.close()
            self._ended.set_exception(asyncio.CancelledError())


def _leave_if_forked(process: int) -> None:
    """End a child that user code forked: nobody waits for it here."""
    if os.getpid() != process:
        os._exit(0)


class Loop:
    """The event loop of a worker; its thread is started for the first coroutine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def submit(
        self, coroutine: Coroutine[Any, Any, Any], call: tuple[Frame, Frame] | None = None
    ) -> Job:
        """Begin a coroutine.

        Raises:
            RuntimeError: it was asked from the loop itself, or from a forked child, where the loop
                does not run; the coroutine is closed.
        """
        if threading.current_thread() is self._thread or os.getpid() != self._process:
            coroutine.close()
            raise RuntimeError("no coroutine can be waited for here; await it instead")
        return Job(self._running(), coroutine, call)

    def run(
        self, coroutine: Coroutine[Any, Any, Any], call: tuple[Frame, Frame] | None = None
    ) -> Any:
        """Wait for a coroutine. What it raises is raised here.

        Args:
            coroutine: to run.
            call: whose it is, as `active` has it.
        """
        return self.submit(coroutine, call).result()

    def close(self) -> None:
        """Cancel what still runs, wait a moment for it, and end the thread."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        with contextlib.suppress(concurrent.futures.TimeoutError):
            asyncio.run_coroutine_threadsafe(_end_all(), loop).result(LAST_ACTS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LAST_ACTS)
        if not thread.is_alive():
            loop.close()
        self._loop = self._thread = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run, args=(self._loop,), name="provider-loop", daemon=True
                )
                self._thread.start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while _left(loop):
        continue


def _left(loop: asyncio.AbstractEventLoop) -> bool:
    """Run the loop until it is stopped; whether a task of the user's did that, by `sys.exit`."""
    try:
        loop.run_forever()
    except BaseException as error:  # noqa: BLE001  the loop goes on
        sys.stderr.write(f"a task of the event loop raised {type(error).__name__}\n")
        return True
    return False


async def _end_all() -> None:
    this = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not this]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


the_loop = Loop()
"""Of this process."""
