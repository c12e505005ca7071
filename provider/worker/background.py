"""Background workers of a dispatch module: `@neotasker.background_worker(interval=1)` and its like.

The rule of this file: they run while their module serves, on a supervisor of their own. This file
and `runner` are the only ones that touch neotasker. Its traps, of version 0.0.41:

- its default pool is that of the calls, and a worker without interval takes a thread of it for
  ever; so there is a pool for them alone, with more threads than workers;
- a worker that is async, or has an interval, needs a loop of the supervisor;
- what one raises is lost, or ends it; here it is written to standard error, and the worker goes on;
- one that is told to stop between two looks sleeps through a whole interval; it is told again.

The supervisor is not started: that would only begin the monitor of its pool, which complains of
long work every five seconds. `embed.start`, which swallows SIGINT, is not called either.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import neotasker

from provider.worker.faults import described, traced
from provider.worker.marks import is_a

if TYPE_CHECKING:
    import types

SUPERVISOR = "provider-background"
"""The id of our supervisors; there is one for each module that serves."""
LOOP = "background"
"""The name of its loop."""
STOPPING = 2.0
"""Seconds the workers of a module have, together, to stop."""
AGAIN = 0.02
"""Seconds between two times that a worker is told to stop."""
PAUSE = 1.0
"""Seconds a worker without interval rests after an error."""
SAME = 10.0
"""Seconds for which an error that a worker repeats is not written again."""
THREADS = 8
"""Of the pool, beside one for each worker; what has an interval runs there."""


class Background:
    """The background workers among the names of a module.

    Args:
        module: executed.
    """

    def __init__(self, module: types.ModuleType) -> None:
        found = list(getattr(module, "__dict__", {}).values())
        self.workers: list[Any] = []
        for value in found:
            known = any(value is each for each in self.workers)
            if is_a(value, neotasker.BackgroundWorker) and not known:
                self.workers.append(value)
        self._supervisor: Any = None

    def start(self) -> None:
        """Start those that do not run. One that cannot be started is written to standard error."""
        if not self.workers:
            return
        self._supervisor = supervisor = neotasker.TaskSupervisor(SUPERVISOR)
        supervisor.set_thread_pool(0, len(self.workers) + THREADS)
        supervisor.create_aloop(LOOP, daemon=True, default=True)
        for worker in self.workers:
            self._adopt(worker)
            try:
                worker.start()
            except BaseException as error:  # noqa: BLE001  whatever hooks of a user's class do
                _write(f"the background worker {_name(worker)} cannot be started", error)

    def stop(self) -> None:
        """Stop them all and wait for it, for `STOPPING` seconds at most."""
        if self._supervisor is None:
            return
        for worker in self.workers:
            _tell(worker)
        until = time.monotonic() + STOPPING
        running = [worker for worker in self.workers if worker.is_started()]
        while running and time.monotonic() < until:
            for worker in running:
                worker.send_stop_events()
            running[0]._stopped.wait(AGAIN)  # noqa: SLF001  there is no other way to wait with a limit
            running = [worker for worker in running if worker.is_started()]
        for worker in running:
            sys.stderr.write(
                f"the background worker {_name(worker)} did not stop within {STOPPING:g} s and is "
                "left behind\n"
            )
        self._supervisor.thread_pool.shutdown(wait=False)
        if not running:
            self._supervisor.stop_aloop(LOOP, wait=STOPPING)
        self._supervisor = None

    def _adopt(self, worker: Any) -> None:
        """Have a worker run on our supervisor, unless the author gave it another one."""
        if worker.supervisor is neotasker.task_supervisor or worker.supervisor.id == SUPERVISOR:
            if isinstance(worker, neotasker.BackgroundAsyncWorker):
                worker.worker_loop = None
                if worker._spawn == worker.supervisor.spawn:  # noqa: SLF001  else a pool was given
                    worker._spawn = self._supervisor.spawn  # noqa: SLF001  it was bound before
            worker.supervisor = self._supervisor
        if worker.on_error is None or isinstance(worker.on_error, _Complaints):
            worker.on_error, worker.on_error_kwargs = _Complaints(worker), {}


class _Complaints:
    """What a worker raised, on its way to the log."""

    def __init__(self, worker: Any) -> None:
        self._name = _name(worker)
        # Others have their interval, or run on the loop, which must not wait.
        rests = not isinstance(worker, neotasker.BackgroundAsyncWorker)
        self._pause = PAUSE if rests else 0.0
        self._worker = worker
        self._last = ("", 0.0)
        self._lock = threading.Lock()

    def __call__(self) -> None:
        error = sys.exc_info()[1]
        if error is None:
            return
        text, now = described(error), time.monotonic()
        with self._lock:
            said, when = self._last
            if text != said or now - when > SAME:
                self._last = text, now
                _write(f"the background worker {self._name} failed", error)
        until = now + self._pause
        while self._worker.is_active() and time.monotonic() < until:
            time.sleep(AGAIN)  # nothing tells a worker that it is to stop


def _tell(worker: Any) -> None:
    try:
        worker.stop(wait=False)
    except BaseException as error:  # noqa: BLE001  whatever hooks of a user's class do
        _write(f"the background worker {_name(worker)} cannot be told to stop", error)


def _write(what: str, error: BaseException) -> None:
    sys.stderr.write(f"{what}: {described(error)}\n{traced(error)}")


def _name(worker: Any) -> str:
    return str(getattr(worker, "_name", worker)).removeprefix("_background_worker_")
