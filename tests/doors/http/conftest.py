"""A door in the loop of the test, over real sockets, and a client that writes bytes by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from provider.doors.backend import Described, Health
from provider.doors.http.options import HttpOptions
from provider.doors.http.server import HttpServer
from provider.errors import HandlerError
from tests.conftest import PATIENCE


class Echo:
    """A backend that answers with the argument, as it was written.

    Attributes:
        calls: what was asked for.
        cancelled: operations whose callers went away.
        held: as long as it is not set, `wait` does not end.
        begun: set by each `wait`.
    """

    wants_headers = True
    outdated = False

    def __init__(self) -> None:
        self.calls = []
        self.cancelled = []
        self.held, self.begun = asyncio.Event(), asyncio.Event()
        self.left = asyncio.Event()
        self.made = 0

    async def call(self, call):
        self.calls.append(call)
        if call.operation == "wait":
            self.begun.set()
            try:
                await self.held.wait()
            except asyncio.CancelledError:
                self.cancelled.append(call.operation)
                self.left.set()
                raise
        if call.operation == "fail":
            raise HandlerError("no luck", type="Luck", traceback="line 1", details={"a": b"\1"})
        if call.operation == "crash":
            raise RuntimeError("a secret of ours")
        return call.payload or (b"null" if call.encoding in (1, 3) else b"\xf6")

    async def stream(self, call):
        self.calls.append(call)
        try:
            if call.operation == "endless":
                while True:
                    self.made += 1
                    yield json.dumps("x" * 10_000).encode()
                    await asyncio.sleep(0)
            while call.operation == "stubborn":
                try:
                    await asyncio.sleep(0.01)  # a function that will not be stopped
                except asyncio.CancelledError:
                    self.cancelled.append("stubborn")
                yield b"1"
            if call.operation == "fail":
                raise HandlerError("no luck")
            for number in range(int(call.payload or b"0")):
                yield b"%d" % number
            if call.operation == "fail_late":
                raise HandlerError("no luck later")
        finally:
            self.left.set()

    def described(self):
        return Described(1)

    async def refresh(self):
        return self.described()

    async def schemas(self):
        return {}

    async def health(self):
        return Health(live=True, ready=True, started=True)

    async def status(self):
        return {"operations": {}}


class Answer:
    """What came back: status, headers in lower case, body."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def problem(self):
        assert self.headers["content-type"] == "application/problem+json", self.body
        told = json.loads(self.body)
        assert told["status"] == self.status
        return told


class Wire:
    """One connection, written by hand."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))

    def post(self, path: str, body: bytes = b"", *headers: str, close: bool = False) -> None:
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: here",
            f"Content-Length: {len(body)}",
            *headers,
            *(["Connection: close"] if close else []),
        ]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"), body)

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *rest = head.strip().split("\r\n")
            headers = {}
            for each in rest:
                name, _, value = each.partition(": ")
                headers[name.lower()] = value
            if "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            else:
                body = b""
            return Answer(int(line.split(" ")[1]), headers, body)

    async def rest(self) -> bytes:
        """All that comes until the end."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionResetError):
                return await self.reader.read()
            return b""

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class OpenDoor:
    """A door that listens."""

    def __init__(self, server: HttpServer, backend: Echo) -> None:
        self.server, self.backend = server, backend
        self.port = int(server.url.rpartition(":")[2])
        self._wires: list[Wire] = []

    async def connect(self) -> Wire:
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port))
        self._wires.append(wire)
        return wire

    async def hang_up(self) -> None:
        for wire in self._wires:
            await wire.close()

    async def post(self, path: str, body: bytes = b"", *headers: str) -> Answer:
        """A request on a connection of its own."""
        wire = await self.connect()
        wire.post(path, body, *headers, close=True)
        return await wire.answer()


@pytest.fixture
async def open_door():
    """Opens doors: `await open_door(**options)`."""
    opened = []

    async def opening(backend=None, **options) -> OpenDoor:
        backend = backend or Echo()
        server = HttpServer(backend, HttpOptions(**options))
        await server.open()
        opened.append(OpenDoor(server, backend))
        return opened[-1]

    yield opening
    for door in opened:
        door.backend.held.set()
        await door.hang_up()
        await door.server.close()


@pytest.fixture
async def door(open_door):
    """A door with the usual limits."""
    return await open_door()
