"""What most tests stand on: a real nats-server, real providers, and their logs as data."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from provider import client as provider_client
from provider.host.embedded import find_server
from tests import forked
from tests.logged import PATIENCE, events  # noqa: F401  a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER_PLUGINS_OFF = tuple(
    word
    for name in ("anyio", "asyncio", "hypothesispytest", "rerunfailures", "schemathesis", "timeout")
    for word in ("-p", f"no:{name}")
)
"""For a pytest in a test: what others have for it takes longer to load than the tests to run."""

MEMORY = Path("/dev/shm")
ROOM = 2 << 30
"""Bytes the suite may write at once, ten times over."""


def _has_room(folder: Path) -> bool:
    """Whether files of tests can be kept here: containers often have 64 MB, and nothing may run."""
    if not os.access(folder, os.W_OK):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & os.ST_NOEXEC


# In memory where that is possible: thousands of tests write a few files each, and a disk that
# others use, too, makes them wait for seconds. Whoever sets TMPDIR decides.
if "TMPDIR" not in os.environ and _has_room(MEMORY):
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

# A suite started in the background of a shell is deaf to Ctrl-C, and so were all it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No example is too slow for a machine that has other things to do. And every run of the suite tries
# the same examples: `--hypothesis-profile=explore` looks for new ones.
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=25)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("suite")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    # With --reruns, a process of xdist asks before each test how often that has ended one, right
    # after news that have no answer. Unless told so, the system waits 40 ms before it sends that.
    asking = getattr(config, "failures_db", None)
    if hasattr(config, "workerinput") and asking is not None:
        asking.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(config, "workerinput"):
        gc.disable()  # until all is collected, for nothing of that is garbage


FIRST = (
    *("test_reconnecting.py", "worker/test_serve.py"),
    *("faults/test_nats_faults.py", "test_testing.py"),
    *("host/test_link.py", "wire/test_values.py"),
    *("test_steady_client.py", "fuzz/test_run.py"),
    *("doors/test_nats_door.py", "worker/test_streams.py"),
    *("end_to_end/test_disturbed_streams.py", "end_to_end/test_installation.py"),
    *("faults/test_worker_faults.py", "docs/test_documents.py"),
    *("end_to_end/test_streams.py", "fuzz/test_corpus.py"),
    *("test_client.py", "host/test_fleet.py"),
    *("doors/test_nats_streams.py", "end_to_end/test_classifier_example.py"),
)
"""Files that take long: those that wait, and with each one that computes meanwhile."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Begun last, they would be left alone when all others have ended.
    folder = Path(__file__).parent
    places = {folder / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(FIRST)))


def pytest_collection_finish() -> None:
    # Thousands of tests are kept for as long as the suite runs; no collection need look at them.
    gc.collect()
    gc.freeze()
    gc.enable()


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without any knob of the provider in it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PROVIDER_", "NATS_", "PYTHON_", "VENV_PATH", "PYTHONPATH"))
    }
    return {**kept, **more}


@contextlib.contextmanager
def descriptors_left(spare: int) -> Iterator[None]:
    """Within, this process can open so many descriptors more."""
    # They have holes between them, so counting those that are open would not do.
    free = (number for number in itertools.count() if not os.path.exists(f"/proc/self/fd/{number}"))
    limit = next(itertools.islice(free, spare, None))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class NatsServer:
    """A nats-server process on a free loopback port, or on the port it had before."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self.port = -1
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._process = subprocess.Popen(
            [find_server(), "-a", "127.0.0.1", "-p", str(self.port), *self._arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self._process.stderr is not None
        said = b""
        for line in self._process.stderr:
            said += line
            match = re.search(rb"Listening for client connections on [^ ]*:(\d+)", line)
            if match:
                self.port = int(match[1])
            if b"Server is ready" in line:
                break
        else:
            raise AssertionError(f"nats-server did not start: {said!r}")
        threading.Thread(target=self._process.stderr.read, daemon=True).start()

    def stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGCONT)
            self._process.terminate()
            self._process.wait(PATIENCE)
            assert self._process.stderr is not None
            self._process.stderr.close()
            self._process = None


@pytest.fixture
def nats_server():
    """A NATS server of the test's own."""
    server = NatsServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_nats():
    """One NATS server for tests that only need a server, and keep to a lattice of their own."""
    server = NatsServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def jetstream_nats(tmp_path_factory):
    """As `shared_nats`, with JetStream."""
    server = NatsServer("-js", "-sd", str(tmp_path_factory.mktemp("jetstream")))
    yield server
    server.stop()


class Provider:
    """A provider process, its log lines as they come, and a client to call it with.

    Attributes:
        lines: everything it wrote to standard error, log lines as maps, other lines as texts.
    """

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        folder: Path,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.environment = environment
        self.lines: list[dict | str] = []
        self._news = threading.Condition()
        pipes = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process: subprocess.Popen[bytes] | forked.Process
        if command[:3] == [sys.executable, "-m", "provider"]:
            self.process = forked.Process(command[3:], environment, folder, **pipes)
        else:
            self.process = subprocess.Popen(
                command, env=environment, cwd=folder, start_new_session=True, **pipes
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            text = line.decode("utf-8", "replace").rstrip("\n")
            with self._news:
                try:
                    self.lines.append(json.loads(text))
                except ValueError:
                    self.lines.append(text)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def events(self, event: str, **fields: object) -> list[dict]:
        """The log lines so far with this event and these fields."""
        return [line for line in self.lines.copy() if _is(line, event, fields)]

    def wait_for(
        self, event: str, count: int = 1, patience: float = PATIENCE, **fields: object
    ) -> dict:
        """Wait until a log line with this event has come `count` times; the newest one."""
        found: list[dict] = []
        looked_at = 0
        end = time.monotonic() + patience
        with self._news:
            while True:
                # Each line is looked at once, or a flood of them would be all this machine does.
                found += [line for line in self.lines[looked_at:] if _is(line, event, fields)]
                looked_at = len(self.lines)
                if len(found) >= count:
                    return found[-1]
                left = end - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    break
                self._news.wait(min(left, 0.5))
        raise AssertionError(f"{event} {fields} was not logged {count} times:\n{self.text}")

    @property
    def text(self) -> str:
        return "\n".join(str(line) for line in self.lines)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def worker_pid(self) -> int:
        """Process id of the newest worker that became ready."""
        return int(self.wait_for("worker_ready")["worker"])

    @property
    def url(self) -> str:
        return self.environment.get("NATS_URL", "nats://127.0.0.1:4222")

    @property
    def address(self) -> dict[str, str]:
        names = {"lattice": "PROVIDER_LATTICE", "key": "PROVIDER_KEY", "name": "PROVIDER_NAME"}
        return {
            field: self.environment[variable]
            for field, variable in names.items()
            if variable in self.environment
        }

    def connect(self, **options):
        """An async context manager: a client of this provider."""
        options = {"timeout": PATIENCE, **self.address, **options}
        return provider_client.connect(self.url, **options)

    def call(self, operation: str, *argument, **options):
        """Connect, call once, and disconnect."""

        async def work():
            async with self.connect() as python:
                return await python.call(operation, *argument, **options)

        return asyncio.run(work())

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait until the process is gone; its exit code."""
        code = self.process.wait(patience)
        self._reader.join(patience)
        return code

    def stop(self) -> int:
        """Stop in order; the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        """Make sure nothing is left."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def _is(line: dict | str, event: str, fields: dict[str, object]) -> bool:
    return (
        isinstance(line, dict)
        and line.get("event") == event
        and all(line.get(name) == value for name, value in fields.items())
    )


_numbers = iter(range(1, 1_000_000))


def _starting(default_folder: Path, nats_url: str):
    """A function that starts providers, and the list of those it started."""
    started: list[Provider] = []

    def start(
        source: str | None = None,
        *flags: str,
        ready: bool = True,
        nats: str | None = None,
        folder: Path | None = None,
        **environment: str,
    ) -> Provider:
        folder = folder or default_folder
        variables = {
            "NATS_URL": nats_url if nats is None else nats,
            "PROVIDER_LOG_FORMAT": "json",
            # A hundredth of a second of each start; those that are about them have them.
            "PROVIDER_WORKER_CGROUP": "off",
            "PROVIDER_LATTICE": f"test{os.getpid()}x{next(_numbers)}",
            **environment,
        }
        variables.setdefault("PROVIDER_NAME", variables["PROVIDER_LATTICE"])
        if source is not None:
            write(folder / "dispatch.py", source)
            variables["PYTHON_DISPATCH"] = str(folder / "dispatch.py")
        provider = Provider(
            [sys.executable, "-m", "provider", "run", *flags],
            clean_environment(**variables),
            folder,
        )
        started.append(provider)
        if ready:
            provider.wait_for("ready")
        return provider

    return start, started


@pytest.fixture
def start_provider(tmp_path, shared_nats):
    """Starts providers: `start_provider(source, *flags, **environment)`.

    Args of the function:
        source: text of a dispatch program, written to `dispatch.py` in the test's folder; or None
            when flags or environment say what to serve.
        flags: further arguments of `provider run`.
        ready: whether to wait until calls are answered.
        nats: URL of a NATS server; the shared one, with a lattice of the test's own, by default.
        folder: working directory, the test's own by default.
        environment: further variables.
    """
    start, started = _starting(tmp_path, shared_nats.url)
    yield start
    for provider in started:
        provider.close()


@pytest.fixture(scope="module")
def start_module_provider(tmp_path_factory, shared_nats):
    """As `start_provider`, for providers that all tests of a module share."""
    start, started = _starting(tmp_path_factory.mktemp("provider"), shared_nats.url)
    yield start
    for provider in started:
        provider.close()


def write(path: Path, source: str) -> Path:
    """Write a program, its common indentation taken off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(source))
    return path


@pytest.fixture
def provider_command(tmp_path):
    """Runs the command: `provider_command("call", ..., **environment)`, a completed process."""

    def run(
        *arguments: str, stdin: bytes = b"", folder: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        return forked.run(
            list(arguments),
            clean_environment(**environment),
            folder or tmp_path,
            stdin=stdin,
            timeout=2 * PATIENCE,
        )

    return run


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def until_gone(pid: int, patience: float = PATIENCE) -> bool:
    """Wait for the end of a process that is not our child."""
    end = time.monotonic() + patience
    while alive(pid):
        if time.monotonic() > end:
            return False
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                import select

                select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
            finally:
                os.close(descriptor)
    return True


@pytest.fixture
def processes():
    """Functions about processes, for tests that kill them."""

    class Processes:
        alive = staticmethod(alive)
        until_gone = staticmethod(until_gone)

    return Processes
