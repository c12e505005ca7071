"""The processes of a run: how they start, what they use, and that none of them is left.

The rule of this file: a process is ready when a line of its own says so, and whatever ends the run
ends them all. Figures of a process are what Linux counted, not what anybody estimates.
"""

from __future__ import annotations

import collections
import contextlib
import os
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks.measuring.said import Failed
from provider.host.embedded import find_server

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds without which no process needs to start, and no answer to come."""
MAX_PAYLOAD = 8 * 1024 * 1024
"""Bytes of a message the NATS server lets through: a mebibyte, and what is around it."""


class Processes:
    """Starts processes and ends them all. A context manager.

    Attributes:
        folder: for files of the run, gone with it.
        nats_port: of the NATS server, 0 before there is one.

    Args:
        nats_port: of a NATS server that others have started.
    """

    def __init__(self, nats_port: int = 0) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        self._said: dict[int, collections.deque[bytes]] = {}
        self._ready: dict[int, bytes] = {}
        self._readers: dict[int, threading.Thread] = {}
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self.nats_port = nats_port

    @property
    def nats_url(self) -> str:
        """Where the NATS server listens."""
        return f"nats://127.0.0.1:{self.nats_port}"

    def __enter__(self) -> Self:
        return self

    def start_nats(self) -> int:
        """Start the NATS server that all rows share, with JetStream: its process.

        Raises:
            Failed: it does not start.
        """
        config = self.folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:-1"\nmax_payload: {MAX_PAYLOAD}\n'
            f'jetstream {{ store_dir: "{self.folder}/jetstream" }}\n'
        )
        server = self.start([find_server(), "-c", str(config)], ready=rb"Server is ready")
        said = b"".join(self._said[server])
        port = re.search(rb"Listening for client connections on [^ ]*:(\d+)", said)
        assert port is not None
        self.nats_port = int(port[1])
        return server

    def start(
        self,
        command: list[str],
        *,
        ready: bytes,
        environment: Mapping[str, str] | None = None,
        folder: Path = ROOT,
    ) -> int:
        """Start a process and wait until a line it writes says that it is ready.

        Args:
            command: the words.
            ready: what that line matches; empty when nobody waits for one.
            environment: variables beside our own.
            folder: it runs in; ours is where `-m provider` is the one this file belongs to.

        Returns:
            Its process id.

        Raises:
            Failed: it died, or took too long.
        """
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**clean_environment(), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._running.append(process)
        said = self._said[process.pid] = collections.deque(maxlen=50)
        is_ready = threading.Event()

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                if ready and not is_ready.is_set() and re.search(ready, line):
                    self._ready[process.pid] = line
                    is_ready.set()
            is_ready.set()

        reader = self._readers[process.pid] = threading.Thread(target=read, daemon=True)
        reader.start()
        if ready and not (is_ready.wait(PATIENCE) and process.pid in self._ready):
            words = self.last_words(process.pid)
            raise Failed(f"{' '.join(command[1:])} did not start:\n{words}")
        return process.pid

    def ready_line(self, process: int) -> bytes:
        """The line with which a process said that it is ready."""
        return self._ready[process]

    def lines(self, process: int) -> list[bytes]:
        """The last lines a process wrote."""
        return list(self._said[process])

    def last_words(self, process: int) -> str:
        """The same as a text."""
        return b"".join(self._said[process]).decode("utf-8", "replace")

    def runs(self, process: int) -> bool:
        """Whether a process that was started here has not ended."""
        return any(each.pid == process and each.poll() is None for each in self._running)

    def end(self, process: int) -> None:
        """End one process in order, or at once where it does not obey."""
        for each in self._running:
            if each.pid == process:
                self._end(each)

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running):
            self._end(process)
        self._folder.cleanup()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        if process.poll() is None:
            process.kill()
            process.wait()
        # Until all it wrote was read; a child it left may hold the pipe open.
        self._readers[process.pid].join(PATIENCE)
        assert process.stdout is not None
        process.stdout.close()


def clean_environment() -> dict[str, str]:
    """Ours, without what would change a row."""
    ours = ("PROVIDER_", "NATS_", "PYTHON_", "VENV_PATH", "PYTHONASYNCIODEBUG", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def children(process: int) -> list[int]:
    """The processes a process started, oldest first.

    Raises:
        OSError: it is gone.
    """
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def family(host: int) -> dict[str, int]:
    """The provider's processes: the host, its workers, and what else it started, by name.

    Raises:
        OSError: it is gone.
    """
    found = {"host": host}
    for child in children(host):
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        scripts = [Path(word.decode()) for word in words if word.endswith(b".py")]
        name = scripts[0].stem if scripts else "other"
        name = "worker" if name == "__main__" else name
        number = sum(each.startswith(name) for each in found) + 1
        found[name if number == 1 else f"{name} {number}"] = child
    return found


def cpu_seconds(process: int) -> float:
    """Seconds of CPU a process has used, all its threads together.

    Linux has a clock for every process, in nanoseconds; /proc/<pid>/stat has the same count in
    hundredths of a second.

    Raises:
        Failed: it is gone.
    """
    try:
        return time.clock_gettime((~process << 3) | 2)
    except OSError:
        raise Failed(f"the process {process} died") from None


def resident_bytes(process: int) -> int:
    """Memory of a process that is in RAM, libraries it shares with others included.

    Raises:
        OSError: it is gone.
    """
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s*(\d+) kB", status)
    return 1024 * int(found[1]) if found else 0
