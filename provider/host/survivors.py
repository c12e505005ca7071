"""Sees to it that nothing a worker started outlives a host that is killed.

The rule of this file: one sentinel for the whole host, started with the first worker and beside it,
so that no worker waits for it. It can be lost without harm: the next worker brings a new one. As
process 1, which inherits what workers leave, the host reaps that, too.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from provider import inspection
from provider.host.reaping import reap_orphans

_PATIENCE = 2.0
"""Seconds it may take to end what is left."""
_SENTINEL = Path(__file__).with_name("sentinel.py")


class Survivors:
    """What must not outlive this process: workers, and what they started."""

    def __init__(self) -> None:
        self._workers: dict[int, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._reaper: threading.Thread | None = None

    @property
    def sentinel(self) -> int:
        """Process id of the sentinel, 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    def add(self, pid: int, folder: str) -> None:
        """Note a worker.

        Args:
            pid: its process id, and that of its process group.
            folder: of its control group, empty for none.
        """
        self._workers[pid] = folder
        if os.getpid() == 1 and self._reaper is None:
            self._reaper = threading.Thread(
                target=reap_orphans, args=(self._workers,), name="orphans", daemon=True
            )
            self._reaper.start()
        if self._process is None or self._process.poll() is not None:
            self._begin()
        else:
            self._tell(f"+{pid} {folder}\n")

    def remove(self, pid: int) -> None:
        """Forget a worker that is gone, with all it left."""
        if self._workers.pop(pid, None) is not None:
            self._tell(f"-{pid}\n")

    def close(self) -> None:
        """Let the sentinel go, which ends what is noted still."""
        if self._process is not None:
            os.close(self._pipe)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)
            self._process = None

    def _begin(self) -> None:
        # Without room for one we do without; the next worker asks again.
        with contextlib.suppress(OSError):
            self.close()
            theirs, self._pipe = os.pipe()
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_SENTINEL)],
                    stdin=theirs,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env=inspection.without_secrets(os.environ),
                    start_new_session=True,
                )
            except BaseException:  # whatever it is, no pipe is left open
                os.close(self._pipe)
                raise
            finally:
                os.close(theirs)
            os.set_blocking(self._pipe, False)
            for pid, folder in self._workers.items():
                self._tell(f"+{pid} {folder}\n")

    def _tell(self, line: str) -> None:
        if self._process is not None:
            # It is gone, or does not read: then it is no help, and the next worker sees to it.
            with contextlib.suppress(OSError):
                os.write(self._pipe, os.fsencode(line))


survivors = Survivors()
"""Of this process."""
atexit.register(survivors.close)
