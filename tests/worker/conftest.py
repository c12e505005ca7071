"""What the worker's tests stand on: folders of user code, and a host that is only a socket."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import cbor2
import pytest

import provider
from provider.errors import CallError
from provider.wire.frames import Encoding, FrameReader, FrameType, call_frame, frame
from provider.wire.progress import Progress, new_memory
from provider.wire.values import Values
from provider.worker.loader import Program
from tests.conftest import PATIENCE

PACKAGE = str(Path(provider.__file__).parent)
SCRIPT = str(Path(PACKAGE) / "worker" / "__main__.py")
LIMITS = {
    "depth": 64,
    "items": 1_000_000,
    "string": 64 * 1024 * 1024,
    "integer_bits": 65_536,
    "decimal_exponent": 6_144,
}
NOTHING = object()


class Code:
    """A folder of user code, written file by file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> str:
        """Write a file; returns its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return str(path)

    def path(self, name: str) -> str:
        return str(self.folder / name)


@pytest.fixture
def code(tmp_path):
    return Code(tmp_path)


@pytest.fixture
def imports():
    """Everything a `Program` in our own process changes is put back afterwards."""
    modules, path, finders = dict(sys.modules), list(sys.path), list(sys.meta_path)
    yield
    sys.meta_path[:] = finders
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    sys.modules.update(modules)


@pytest.fixture
def load(code, imports):
    """Load a program in our own process."""

    def loaded(dispatch: str | None = "dispatch.py", main: str | None = None) -> Program:
        program = Program(
            None if main is None else code.path(main),
            None if dispatch is None else code.path(dispatch),
        )
        program.load()
        return program

    return loaded


class WorkerProcess:
    """A real worker process, and the host's end of its link.

    `kind` may be SOCK_SEQPACKET, which shows each of the worker's system calls as one packet.
    """

    def __init__(
        self,
        python: str = sys.executable,
        *,
        environment: dict[str, str] | None = None,
        kind: int = socket.SOCK_STREAM,
    ) -> None:
        self.link, theirs = socket.socketpair(socket.AF_UNIX, kind)
        self.link.settimeout(PATIENCE)
        cell = new_memory()
        os.set_inheritable(cell, True)
        self.progress = Progress(cell)
        self.process = subprocess.Popen(
            [python, "-I", SCRIPT, PACKAGE, str(theirs.fileno()), str(cell), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(theirs.fileno(), cell),
            start_new_session=True,
            env=environment,
        )
        theirs.close()
        os.close(cell)
        self.values = Values()
        self.hello: dict[str, Any] = {}
        self.files: list[dict[str, Any]] = []
        self.packets: list[bytes] = []
        self._reader = FrameReader()
        self._frames: list[tuple[int, int, bytes]] = []
        self._number = 0
        self._printed = threading.Condition()
        self._output = {"stdout": b"", "stderr": b""}
        self._drains = [
            threading.Thread(target=self._drain, args=(name,), daemon=True) for name in self._output
        ]
        for drain in self._drains:
            drain.start()

    # --- frames ---

    def send(self, *frames: bytes) -> None:
        self.link.sendall(b"".join(frames))

    def next_frame(self) -> tuple[int, int, bytes]:
        """The next frame that is not FILES; those are kept in `files`."""
        while True:
            while not self._frames:
                data = self.link.recv(1 << 20)
                if not data:
                    raise EOFError(f"the worker closed its end: {self.printed('stderr')}")
                self.packets.append(data)
                self._frames += self._reader.feed(data)
            kind, number, body = self._frames.pop(0)
            if kind != FrameType.FILES:
                return kind, number, body
            self.files.append(cbor2.loads(body))

    def told(self, expected: int) -> dict[str, Any]:
        kind, _, body = self.next_frame()
        assert kind == expected, (kind, body)
        return cbor2.loads(body)

    def set_up(self, dispatch: str | None = None, main: str | None = None, **more: Any) -> None:
        """Send SETUP, without waiting for what comes of it."""
        setup = {
            "main": main,
            "dispatch": dispatch,
            "path": [],
            "limits": {**LIMITS, **more.pop("limits", {})},
            "concurrency": 1,
            **more,
        }
        self.send(frame(FrameType.SETUP, 0, cbor2.dumps(setup)))

    def load(self, dispatch: str | None = None, main: str | None = None, **more: Any) -> Any:
        """Have it load a program; returns what READY says."""
        self.set_up(dispatch, main, **more)
        self.hello = self.told(FrameType.HELLO)
        return self.told(FrameType.READY)

    def fail(self, dispatch: str | None = None, main: str | None = None, **more: Any) -> Any:
        """Have it load a program that cannot be loaded; returns what FAILED says."""
        self.set_up(dispatch, main, **more)
        self.told(FrameType.HELLO)
        return self.told(FrameType.FAILED)

    def call_bytes(
        self,
        operation: str,
        argument: Any = NOTHING,
        *,
        deadline: float = math.inf,
        encoding: int | None = None,
        payload: bytes | None = None,
    ) -> bytes:
        """A CALL frame with the next number, which is then `last`."""
        self._number += 1
        if encoding is None:
            encoding = Encoding.ABSENT if argument is NOTHING and payload is None else Encoding.CBOR
        if payload is None:
            payload = b"" if argument is NOTHING else self.values.encode(argument)
        return call_frame(self._number, operation.encode(), payload, encoding, deadline)

    def begin(self, operation: str, argument: Any = NOTHING, **more: Any) -> int:
        """Send a call; returns its number."""
        self.send(self.call_bytes(operation, argument, **more))
        return self._number

    def answer(self) -> tuple[int, Any]:
        """The next answer: the number of its call, and its result or the error as exception."""
        kind, number, body = self.next_frame()
        if kind == FrameType.ERROR:
            return number, CallError.from_map(cbor2.loads(body))
        assert kind == FrameType.RESULT, (kind, body)
        return number, self.values.decode(body)

    def answer_at_hand(self) -> tuple[int, Any]:
        """The next answer, which must be there already."""
        self.link.settimeout(0)
        try:
            return self.answer()
        finally:
            self.link.settimeout(PATIENCE)

    def ask(self, operation: str, argument: Any = NOTHING, **more: Any) -> Any:
        """Call and wait; an error answer is raised."""
        number = self.begin(operation, argument, **more)
        answered, result = self.answer()
        assert answered == number
        if isinstance(result, CallError):
            raise result
        return result

    def reload(self, *, force: bool = False) -> dict[str, Any]:
        self._number += 1
        self.send(frame(FrameType.RELOAD, self._number, cbor2.dumps({"force": force})))
        kind, number, body = self.next_frame()
        assert (kind, number) == (FrameType.RELOADED, self._number)
        return cbor2.loads(body)

    def bye(self) -> int:
        """Say BYE; returns the exit code."""
        self.send(frame(FrameType.BYE, 0))
        return self.exit_code()

    def exit_code(self, patience: float = PATIENCE) -> int:
        return self.process.wait(patience)

    @property
    def begun(self) -> int:
        """The newest call the progress cell names."""
        cell = self.progress.begun()
        return cell[0] if isinstance(cell, tuple) else cell

    # --- output ---

    def printed(self, name: str = "stdout") -> bytes:
        """What it has written so far; all of it once the process has ended."""
        if self.process.poll() is not None:
            for drain in self._drains:
                drain.join(PATIENCE)
        with self._printed:
            return self._output[name]

    def wait_for_print(self, text: bytes, name: str = "stdout") -> bytes:
        with self._printed:
            assert self._printed.wait_for(lambda: text in self._output[name], PATIENCE), (
                self._output
            )
            return self._output[name]

    def _drain(self, name: str) -> None:
        stream = getattr(self.process, name)
        while data := os.read(stream.fileno(), 1 << 16):
            with self._printed:
                self._output[name] += data
                self._printed.notify_all()

    def end(self) -> None:
        """Whatever state it is in, nothing of it is left; told to leave if it listens."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.send(frame(FrameType.BYE, 0))
            self.link.shutdown(socket.SHUT_WR)
            self.exit_code(2)
        self.link.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        for drain in self._drains:
            drain.join(PATIENCE)
        self.process.stdout.close()
        self.process.stderr.close()
        self.progress.close()


@pytest.fixture
def start():
    """Start worker processes that are gone after the test."""
    workers: list[WorkerProcess] = []

    def started(*arguments: Any, **more: Any) -> WorkerProcess:
        workers.append(WorkerProcess(*arguments, **more))
        return workers[-1]

    yield started
    for worker in workers:
        worker.end()


@pytest.fixture
def worker(start):
    return start()


@pytest.fixture
def serve_graphs(tmp_path):
    """Serves one handler, or several files, and graphs; all are gone in the end."""
    # Not above: other tests of this folder do without numpy.
    from tests.servables.making import folder, graph, node, serving

    with contextlib.ExitStack() as stack:

        def start(handler, text=None, tracebacks=False, **graphs):
            handlers = {"m/model.py": handler} if isinstance(handler, str) else handler
            graphs = graphs or {"m": text or graph(node("model.py"))}
            config = folder(tmp_path, handlers, **graphs)
            return stack.enter_context(serving(config, tracebacks=tracebacks))

        yield start
