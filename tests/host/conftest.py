"""The inside of the host over real workers: admission, fleet and path put together without NATS."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import cbor2
import pytest

from provider.host.admission import Admission
from provider.host.call import Call
from provider.host.contract import resolve
from provider.host.fleet import Fleet, FleetOptions
from provider.host.path import CallPath
from provider.host.watch import Watch
from provider.wire.frames import Encoding
from tests.conftest import PATIENCE

if TYPE_CHECKING:
    from tests.logged import Events

PROGRAM = """
    import ctypes, os, signal, sys, time

    HERE = os.path.dirname(os.path.abspath(__file__))

    def handle(command, arg):
        with open(os.path.join(HERE, "ran"), "a") as file:
            file.write(f"{command} {arg}\\n")
        if command == "echo":
            return arg
        if command == "fail":
            raise ValueError(arg)
        if command == "gate":
            print("at the gate", arg)
            with open(os.path.join(HERE, "gate"), "rb", buffering=0) as gate:
                gate.read(1)
            return arg
        if command == "exit":
            print("last words", file=sys.stderr)
            os._exit(arg)
        if command == "segv":
            signal.raise_signal(signal.SIGSEGV)
        if command == "hang":
            time.sleep(3600)
        if command == "close":
            os.closerange(3, 1024)
            time.sleep(3600)
        raise LookupError(command)
"""
"""Does what the tests ask for, and writes down every call it begins."""


class Asked:
    """A submitted call. Await it for its result; it must be answered once."""

    def __init__(self, operation, payload, encoding, deadline, id):  # noqa: A002
        self.answers = []
        self._future = asyncio.get_running_loop().create_future()
        self.call = Call(operation, payload, encoding, deadline, self._answer, id=id)

    def _answer(self, call, result, error):
        assert call is self.call
        self.answers.append((result, error))
        if not self._future.done():
            self._future.set_result(None)

    @property
    def error(self):
        assert len(self.answers) == 1
        return self.answers[0][1]

    async def _wait(self):
        async with asyncio.timeout(PATIENCE):
            await self._future
        result, error = self.answers[0]
        if error is not None:
            raise error
        return cbor2.loads(result)

    def __await__(self):
        return self._wait().__await__()


class House:
    """A fleet, its admission and its path, around a program in a folder."""

    def __init__(self, folder: Path, events: Events) -> None:
        self.folder = folder
        self.events = events
        self.asked: list[Asked] = []
        self.hopeless: list[str] = []
        self.file = folder / "dispatch.py"
        self.path: CallPath
        self.fleet: Fleet
        self.admission: Admission
        self._gate = -1
        self._watch: Watch | None = None

    def save(self, source, name="dispatch.py"):
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source))
        return file

    def build(
        self,
        source=PROGRAM,
        *,
        watch=False,
        watching=True,
        start_timeout=PATIENCE,
        call_timeout=0.0,
        max_call_timeout=0.0,
        queue_calls=1000,
        queue_bytes=1 << 24,
        fleet=None,
        reload_allowed=True,
        setup=None,
        **contract,
    ):
        if source is not None:
            self.save(source)
        contract = {"venv": None, "main": None, "dispatch": str(self.file), **contract}
        self.setup = setup or resolve(**contract)
        if watch:
            self._watch = Watch(self._files_changed)
        self.fleet = Fleet(
            self.setup,
            dataclasses.replace(
                fleet or FleetOptions(), start_timeout=start_timeout, watching=watching
            ),
            on_hopeless=self.hopeless.append,
            on_files=self._watch.files if self._watch else lambda _files: None,
        )
        self.admission = Admission(queue_calls, queue_bytes)
        self.path = CallPath(
            self.admission,
            self.fleet,
            call_timeout=call_timeout,
            max_call_timeout=max_call_timeout,
            reload_allowed=reload_allowed,
        )

    def _files_changed(self):
        self.fleet.files_changed()

    async def start(self, source=PROGRAM, **options):
        self.build(source, **options)
        return await self.fleet.start()

    def submit(self, operation, *argument, timeout=None, id=""):  # noqa: A002
        payload = cbor2.dumps(argument[0]) if argument else b""
        encoding = Encoding.CBOR if argument else Encoding.ABSENT
        asked = Asked(operation, payload, encoding, self.path.deadline(timeout), id)
        self.asked.append(asked)
        self.path.submit(asked.call)
        return asked

    async def call(self, operation, *argument, **options):
        return await self.submit(operation, *argument, **options)

    async def at_the_gate(self, name, **options):
        """A call that runs, and goes on until `open_gate`."""
        if self._gate < 0:
            os.mkfifo(self.folder / "gate")
            self._gate = os.open(self.folder / "gate", os.O_RDWR)
        asked = self.submit("gate", name, **options)
        await self.events.until("printed", text=f"at the gate {name}")
        return asked

    def open_gate(self):
        os.write(self._gate, b"x")

    def shut_gate(self):
        """Take back what nobody came through the gate for."""
        os.set_blocking(self._gate, False)
        with contextlib.suppress(BlockingIOError):
            os.read(self._gate, 100)

    @property
    def slot(self):
        return self.fleet.slots[0]

    @property
    def worker(self):
        assert self.fleet.link is not None
        return self.fleet.link.pid

    def kill_worker(self, number=signal.SIGKILL):
        os.kill(self.worker, number)

    async def turn(self):
        """Let what was submitted be handed over."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    @property
    def ran(self):
        """What the program began, in order."""
        file = self.folder / "ran"
        return file.read_text().splitlines() if file.exists() else []

    async def close(self):
        self.path.abandon("the test is over")
        await self.fleet.stop(0.0)
        if self._watch is not None:
            self._watch.close()
        if self._gate >= 0:
            os.close(self._gate)
        # The accounting of every test: each call was answered, and once.
        assert [len(asked.answers) for asked in self.asked] == [1] * len(self.asked)
        assert self.admission.open == 0
        assert self.admission.bytes == 0
        assert self.admission.accepted == self.admission.answered


@pytest.fixture
async def house(tmp_path, events):
    """A `House`; `await house.start(source)` makes it answer."""
    made = House(tmp_path, events)
    yield made
    if hasattr(made, "path"):
        await made.close()


@pytest.fixture
def fake_python(tmp_path):
    """Makes a program that stands where the worker's interpreter should: `fake_python(source)`.

    It finds its end of the link in `link`, and `frame(type, number, map)` to speak on it.
    """

    def make(source):
        head = f"""
            #!{sys.executable}
            import os, socket, sys, time
            sys.path.insert(0, {str(Path(__file__).parents[2])!r})
            import cbor2
            from provider.wire.frames import FrameType, VERSION
            from provider.wire.frames import frame as bytes_of
            link = socket.socket(fileno=int(sys.argv[4]))
            def frame(kind, number=0, body=None):
                link.sendall(bytes_of(kind, number, cbor2.dumps({{}} if body is None else body)))
        """
        file = tmp_path / "fake_python"
        file.write_text(textwrap.dedent(head).lstrip() + textwrap.dedent(source))
        file.chmod(0o755)
        return str(file)

    return make
