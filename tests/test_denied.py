"""Whoever is denied something by NATS is told so, and does not wait for what cannot come."""

from __future__ import annotations

import asyncio

import pytest

from provider.client import connect
from provider.connection import NatsOptions
from provider.denied import Denials
from provider.errors import CallTimeout, Unauthorized
from tests.conftest import NatsServer

USERS = """
authorization { users: [
  { user: caller, password: x, permissions: {
      publish: ["wasmbus.rpc.default.python.default"], subscribe: ["_INBOX.caller.>"] } }
  { user: provider, password: x }
] }
"""
FOREVER = 40.0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    config = tmp_path_factory.mktemp("denied") / "nats.conf"
    config.write_text(USERS)
    server = NatsServer("-c", str(config))
    yield server
    server.stop()


def options(server, inbox: str) -> NatsOptions:
    return NatsOptions((server.url,), user="caller", password="x", inbox_prefix=inbox)


async def test_who_may_not_call_is_told(server):
    async with connect(options(server, "_INBOX.caller"), timeout=FOREVER, key="Other") as python:
        for ask in (python.call("x"), anext(python.stream("x"))):
            with pytest.raises(Unauthorized, match=r"publish on wasmbus.rpc.default.Other.default"):
                await ask
        with pytest.raises(Unauthorized, match=r"publish on provider.default.python.x"):
            await python.call_bytes("x")
        for ask in (python.status(timeout=FOREVER), python.admin("drain", timeout=FOREVER)):
            with pytest.raises(Unauthorized, match="publish on"):
                await ask
        with pytest.raises(Unauthorized, match=r"publish on provider.describe"):
            await python.operations(timeout=FOREVER)
        assert asyncio.current_task().cancelling() == 0


async def test_who_may_hear_no_answer_is_told_whenever_he_asks(server):
    async with connect(options(server, "_INBOX.other"), timeout=FOREVER) as python:
        for _ in range(2):
            with pytest.raises(Unauthorized, match=r"_INBOX.other.>.*NATS_INBOX_PREFIX"):
                await python.call("x")
        with pytest.raises(Unauthorized, match="NATS_INBOX_PREFIX"):
            await anext(python.stream("x"))


async def test_who_may_not_steer_a_stream_is_told(server, start_provider):
    many = "def handle(command, arg):\n    return (number for number in range(1000))\n"
    login = {"NATS_USER": "provider", "NATS_PASSWORD": "x", "NATS_INBOX_PREFIX": "_INBOX.provider"}
    start_provider(many, nats=server.url, PROVIDER_LATTICE="default", PROVIDER_NAME="n", **login)
    async with connect(options(server, "_INBOX.caller"), timeout=FOREVER) as python:
        items = python.stream("x")
        with pytest.raises(Unauthorized, match=r"publish on _PROVIDER.flow"):
            [item async for item in items]


async def test_who_is_allowed_waits_on(server):
    async with connect(options(server, "_INBOX.caller")) as python:
        allowed = asyncio.create_task(python._request(python._address.rpc, b"", 60.0))
        with pytest.raises(Unauthorized):
            await python.call_bytes("x")
        # Nobody listens there, which the server says as before.
        with pytest.raises(Exception, match="no provider listens"):
            await allowed


async def test_a_caller_who_is_cancelled_meanwhile_is_cancelled():
    denials = Denials(lambda: "_INBOX")

    async def wait():
        with denials.noticed("a.b"):
            await asyncio.sleep(FOREVER)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    denials.tell('permissions violation for publish to "a.b"')
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_is_no_denial_changes_nothing():
    denials = Denials(lambda: "_INBOX")
    with pytest.raises(CallTimeout), denials.noticed("a.b"):
        for said in ("", "permissions violation", 'permissions violation for publish to "a.c"'):
            denials.tell(said)
        await asyncio.sleep(0)
        raise CallTimeout
