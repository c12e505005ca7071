"""`grpc.health.v1.Health`, as its own client asks."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from provider.doors.backend import Health
from provider.doors.grpc import health
from tests.conftest import PATIENCE
from tests.doors.grpc.conftest import TEXT, fails

SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3


def ask(service=""):
    return health_pb2.HealthCheckRequest(service=service)


@pytest.fixture
def stub(door):
    return health_pb2_grpc.HealthStub(door.channel)


@pytest.mark.parametrize("service", ["", TEXT, "grpc.health.v1.Health"])
async def test_it_is_as_the_backend_says(door, stub, service):
    assert (await stub.Check(ask(service))).status == SERVING
    door.backend.how = Health(live=True, ready=False, started=True, reasons=("broken",))
    assert (await stub.Check(ask(service))).status == NOT_SERVING


async def test_a_service_that_is_not_there(stub):
    async with fails("NOT_FOUND"):
        await stub.Check(ask("t.Nothing"))


async def test_who_watches_is_told_of_changes_and_of_the_end(door, stub, monkeypatch):
    monkeypatch.setattr(health, "AGAIN", 0.01)
    watching = stub.Watch(ask(TEXT))
    unknown = stub.Watch(ask("t.Nothing"))
    async with asyncio.timeout(PATIENCE):
        assert (await watching.read()).status == SERVING
        assert (await unknown.read()).status == UNKNOWN
        door.backend.how = Health(live=True, ready=False, started=True)
        assert (await watching.read()).status == NOT_SERVING
        door.backend.how = Health(live=True, ready=True, started=True)
        assert (await watching.read()).status == SERVING
        door.server.stop_listening()
        assert (await watching.read()).status == NOT_SERVING
        assert await watching.read() is grpc.aio.EOF
        await door.server.settled()


async def test_it_answers_when_no_more_calls_are_taken(open_door):
    door = await open_door(concurrency=1)
    waiting = asyncio.ensure_future(door.unary(f"/{TEXT}/Wait")(b""))
    async with asyncio.timeout(PATIENCE):
        await door.backend.begun.wait()
        answer = await health_pb2_grpc.HealthStub(door.channel).Check(ask())
        assert answer.status == SERVING
        door.backend.held.set()
        await waiting


async def test_bytes_that_are_no_question(door):
    async with fails("INVALID_ARGUMENT"):
        await door.unary("/grpc.health.v1.Health/Check")(b"\xff\xff")
