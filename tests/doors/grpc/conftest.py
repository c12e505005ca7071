"""A door in the loop of the test, over real sockets, with real clients."""

from __future__ import annotations

import asyncio
import contextlib

import grpc.aio
import pytest

from provider.doors.backend import Described
from provider.doors.backend import Health as HowItIs
from provider.doors.grpc.options import GrpcOptions
from provider.doors.grpc.server import GrpcServer
from provider.errors import HandlerError
from tests.conftest import PATIENCE

TEXT = "t.Text"
"""The service of `Texts`."""


class Backend:
    """A backend that answers with the argument, as it was written.

    Attributes:
        calls: what was asked for.
        operations: what is declared.
        cancelled: operations whose callers went away.
        begun: set by each `wait`.
        held: as long as it is not set, `wait` does not end.
        left: set when a caller of `wait` or of a stream has gone.
        how: what `health` says.
    """

    wants_headers = True
    outdated = False

    def __init__(self) -> None:
        self.calls = []
        self.operations = ()
        self.generation = 0
        self.cancelled = []
        self.begun, self.held, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.how = HowItIs(live=True, ready=True, started=True)
        self.answers = {}
        self.made = 0

    async def call(self, call):
        self.calls.append(call)
        if call.operation.endswith("Wait"):
            self.begun.set()
            try:
                await self.held.wait()
            except asyncio.CancelledError:
                self.cancelled.append(call.operation)
                self.left.set()
                raise
        answer = self.answers.get(call.operation, call.payload)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def stream(self, call):
        self.calls.append(call)
        try:
            while call.operation.endswith("Endless"):
                self.made += 1
                yield call.payload
                await asyncio.sleep(0)
            for answer in self.answers.get(call.operation, [call.payload]):
                if isinstance(answer, Exception):
                    raise answer
                yield answer
        finally:
            self.left.set()

    def described(self):
        return Described(self.generation, tuple(self.operations))

    async def refresh(self):
        return self.described()

    async def health(self):
        return self.how


class Texts:
    """A service of bytes: `Call` is the operation in the message, `Wait` waits."""

    names = (TEXT,)
    files = ()

    def __init__(self, backend) -> None:
        self.backend = backend

    def methods(self, answering):
        async def call(message, asked):
            if message == b"crash":
                raise RuntimeError("a secret of ours")
            if message == b"fail":
                raise HandlerError("no\nluck", type="Luck", traceback="line 1", details={"a": 1})
            if message.isdigit():
                return b"x" * int(message)
            return await self.backend.call(asked.call("Call", message, 0))

        async def wait(message, asked):
            return await self.backend.call(asked.call("Wait", message, 0))

        async def endless(message, asked):
            stream = self.backend.stream(asked.call("Endless", b"x" * 10_000, 0))
            async with contextlib.aclosing(stream):
                async for chunk in stream:
                    yield chunk

        async def both(messages, asked):
            async for message in messages:
                yield message.upper()

        return {
            f"/{TEXT}/Call": answering.unary(call),
            f"/{TEXT}/Wait": answering.unary(wait),
            f"/{TEXT}/Endless": answering.stream(endless),
            f"/{TEXT}/Both": answering.duplex(both),
        }


class Door:
    """A server, what it stands on, and a channel to it."""

    def __init__(self, options) -> None:
        self.backend = Backend()
        self.server = GrpcServer(self.backend, options)
        self.server.add(Texts(self.backend))

    def unary(self, path=f"/{TEXT}/Call"):
        return self.channel.unary_unary(path)


@pytest.fixture
async def open_door():
    """Opens doors: `await open_door(services, **options)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def opened(*services, **options):
            door = Door(GrpcOptions(**options))
            for service in services:
                door.server.add(service(door.backend) if isinstance(service, type) else service)
            stack.push_async_callback(door.server.close)
            await door.server.open()
            door.channel = await stack.enter_async_context(
                grpc.aio.insecure_channel(door.server.address)
            )
            return door

        yield opened


@pytest.fixture
async def door(open_door):
    return await open_door()


@contextlib.asynccontextmanager
async def fails(status):
    """Within, a call fails with this status; the error is in the list that is given."""
    caught = []
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            yield caught
    assert error.value.code() is grpc.StatusCode[status], error.value.details()
    caught.append(error.value)
