"""A provider as it is served: a process of its own, its worker, and a NATS server.

    with running.run("dispatch.py") as provider:
        assert provider.client.call("py.factorial", 10) == 3628800

The rule of this file: the provider is started by its command, on a NATS server of its own that
nobody else knows. No `.env` and no variable of the shell says where NATS is, or a test would answer
the calls of whoever uses that server.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from provider import client
from provider.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterator

READY_WITHIN = 60.0
"""Seconds a provider has until it answers calls; its own limit for loading comes before."""
GONE_WITHIN = 30.0
"""Seconds it has to leave when it is told to."""
LINES = 10_000
"""Lines of its log that are kept, the newest."""

_OURS = ("PROVIDER_", "NATS_", "PYTHON_DISPATCH", "PYTHON_MAIN")


class Running:
    """A provider that answers calls. Made by `run`.

    Attributes:
        client: to call it with, connected.
        url: of its NATS server.
        pid: of its process.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.client: client.PythonSync
        self.url = ""
        self.pid = process.pid
        self._process = process
        self._log: collections.deque[str] = collections.deque(maxlen=LINES)
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, name="provider-log", daemon=True)
        self._reader.start()

    @property
    def log(self) -> list[str]:
        """What it has written to standard error, a line of JSON each, those of prints included."""
        return list(self._log)

    def call(self, operation: str, argument: Any = client.ABSENT, **options: Any) -> Any:
        """As `provider.client.PythonSync.call`."""
        return self.client.call(operation, argument, **options)

    def wait_until_ready(self) -> None:
        """Wait until it answers calls.

        Raises:
            StartError: it does not; the text ends with what it said.
        """
        if not self._ready.wait(READY_WITHIN) or not self.url:
            said = "\n".join(self._log)
            raise StartError(f"the provider under test did not start:\n{said}")

    def close(self) -> None:
        """Tell it to leave, and see to it that it does."""
        self._process.terminate()
        try:
            self._process.wait(GONE_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._log.append(line.rstrip("\n"))
                if not self.url and '"ready"' in line:
                    self.url = _url_in(line)
                    if self.url:
                        self._ready.set()
        self._ready.set()  # it ended; whoever waits finds no URL


@contextlib.contextmanager
def run(program: str | os.PathLike[str], **settings: str) -> Iterator[Running]:
    """Run a provider, and stop it in the end.

    Args:
        program: the dispatch program.
        settings: further variables, such as `PROVIDER_CONCURRENCY="4"`. `VENV_PATH` and
            `PYTHON_PATH` are also taken from the environment.

    Raises:
        StartError: it does not start; the text ends with what it said.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "provider", "run", os.path.abspath(program)),
            *("--no-env-file", "--embedded-nats", "--embedded-port", "0", "--log-format", "json"),
        ],
        env={**kept, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        # Ctrl-C is for whoever runs the tests; we tell the provider to leave.
        start_new_session=True,
    )
    running = Running(process)
    try:
        running.wait_until_ready()
        address = {
            argument: settings[variable]
            for argument, variable in _ADDRESS.items()
            if variable in settings
        }
        with client.connect_sync(running.url, **address) as running.client:  # type: ignore[arg-type]  # texts, all of them
            yield running
    finally:
        running.close()


_ADDRESS = {
    "lattice": "PROVIDER_LATTICE",
    "key": "PROVIDER_KEY",
    "link_name": "PROVIDER_LINK_NAME",
    "name": "PROVIDER_NAME",
}


def _url_in(line: str) -> str:
    try:
        said = json.loads(line)
    except ValueError:
        return ""
    return str(said["servers"]) if said.get("event") == "ready" else ""
