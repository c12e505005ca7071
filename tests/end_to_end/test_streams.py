"""Streams as callers see them: in both ways to call, with and without flow, to every end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys

import cbor2
import nats
import pytest

from provider.client import connect_sync
from provider.errors import CallError, CallTimeout, TooLarge, WorkerLost
from provider.wire.window import CHUNKS
from tests.conftest import PATIENCE, clean_environment

PROGRAM = """
    import asyncio
    import os
    import signal
    import time

    from provider.dispatch import context, operation

    closed = []

    @operation
    def count(to: int):
        try:
            for number in range(to):
                yield number
        finally:
            closed.append("count")
            print("closed", flush=True)

    @operation
    async def wait_for_ever():
        try:
            yield "begun"
            await asyncio.Event().wait()
        finally:
            print("closed", flush=True)

    @operation
    def die(after: int):
        yield from range(after)
        os.kill(os.getpid(), signal.SIGKILL)

    @operation
    def grow():
        yield "small"
        yield "x" * 2_000_000

    @operation
    def hang():
        yield "begun"
        while True:
            time.sleep(60)

    @operation
    async def double(of: int):
        await asyncio.sleep(0)
        return [2 * of, context().operation]

    @operation
    def plain():
        return {"a": 1}
"""


@pytest.fixture(
    scope="module",
    params=["1", pytest.param("4", marks=pytest.mark.long)],
    ids=["alone", "overlapping"],
)
def provider(request, serve):
    return serve(PROGRAM, PROVIDER_CONCURRENCY=request.param)


@contextlib.asynccontextmanager
async def asked(provider, request, *, subject=None, **headers):
    """What comes back for a request, without our client; the subscription and its connection."""
    connection = await nats.connect(provider.url)
    try:
        inbox = connection.new_inbox()
        subscription = await connection.subscribe(inbox)
        lattice = provider.environment["PROVIDER_LATTICE"]
        data = cbor2.dumps(request) if subject is None else request
        subject = (
            f"wasmbus.rpc.{lattice}.python.default"
            if subject is None
            else f"provider.{lattice}.{provider.environment['PROVIDER_NAME']}.{subject}"
        )
        await connection.publish(subject, data, reply=inbox, headers=headers or None)
        yield subscription, connection
    finally:
        await connection.close()


async def closes(provider, before: int) -> None:
    """Wait until another generator has been closed."""
    await asyncio.to_thread(provider.wait_for, "printed", before + 1, text="closed")


def closed_so_far(provider) -> int:
    return len(provider.events("printed", text="closed"))


async def test_items_come_in_order_and_end(provider):
    async with provider.connect() as python:
        more = 5 * CHUNKS
        assert [item async for item in python.stream("count", more)] == list(range(more))
        assert [item async for item in python.stream("plain")] == [{"a": 1}]
        assert await python.call("count", 3) == [0, 1, 2]
        assert await python.call("double", 4) == [8, "double"]


async def test_native_messages_are_as_documented(provider):
    request = {"operation": "count", "stream": True, "id": "me", "payload": 2}
    async with asked(provider, request) as (messages, _):
        told = [await messages.next_msg(PATIENCE) for _ in range(3)]
    assert [cbor2.loads(message.data) for message in told] == [
        {"id": "me", "chunk": 0, "seq": 0},
        {"id": "me", "chunk": 1, "seq": 1},
        {"id": "me", "end": 2},
    ]
    assert told[0].reply == told[1].reply != ""
    assert told[0].reply.startswith("_PROVIDER.flow.")
    assert told[2].reply == ""


@pytest.mark.parametrize("as_json", [True, False])
async def test_by_subject_the_same_is_asked_for_with_a_header(provider, as_json):
    kind = "application/json" if as_json else "application/cbor"
    headers = {"Provider-Stream": "true", "Content-Type": kind}
    read = json.loads if as_json else cbor2.loads
    async with asked(provider, b"\x02" if not as_json else b"2", subject="count", **headers) as (
        messages,
        _,
    ):
        told = [read((await messages.next_msg(PATIENCE)).data) for _ in range(3)]
        assert told == [{"chunk": 0, "seq": 0}, {"chunk": 1, "seq": 1}, {"end": 2}]
    async with asked(provider, b"", subject="nothing_of_that_name", **headers) as (messages, _):
        message = await messages.next_msg(PATIENCE)
        assert message.headers["Nats-Service-Error-Code"] == "404"
        assert read(message.data)["error"]["kind"] == "unknown_operation"
    async with asked(provider, b"", subject="plain", **{"Provider-Stream": "maybe"}) as (
        messages,
        _,
    ):
        message = await messages.next_msg(PATIENCE)
        assert "must be true or false" in message.headers["Nats-Service-Error"]


async def test_who_gives_no_credit_gets_one_window_and_a_reason(provider):
    before = closed_so_far(provider)
    request = {"operation": "count", "stream": True, "timeout_ms": 4000, "payload": 10_000}
    async with asked(provider, request) as (messages, _):
        for number in range(CHUNKS):
            assert cbor2.loads((await messages.next_msg(PATIENCE)).data)["seq"] == number
        error = cbor2.loads((await messages.next_msg(PATIENCE)).data)["error"]
    assert error["kind"] == "cancelled"
    assert "flow: false" in error["message"]
    await closes(provider, before)


@pytest.mark.parametrize("by_subject", [True, False])
async def test_who_wants_no_flow_control_gets_everything(provider, by_subject):
    more = 20 * CHUNKS
    if by_subject:
        how = asked(
            provider,
            cbor2.dumps(more),
            subject="count",
            **{"provider-stream": "true", "provider-flow": "false"},
        )
    else:
        how = asked(
            provider, {"operation": "count", "stream": True, "flow": False, "payload": more}
        )
    async with how as (messages, _):
        for number in range(more):
            assert cbor2.loads((await messages.next_msg(PATIENCE)).data)["seq"] == number
        assert cbor2.loads((await messages.next_msg(PATIENCE)).data) == {"end": more}


async def test_who_leaves_stops_the_function(provider):
    before = closed_so_far(provider)
    async with provider.connect() as python:
        for operation, *argument in (("count", 10**9), ("wait_for_ever",)):
            async with contextlib.aclosing(python.stream(operation, *argument)) as items:
                async for _ in items:
                    break
            await closes(provider, before)
            before += 1
        status = await python.status()
        assert status["errors"]["cancelled"] >= 2


async def test_who_disappears_stops_the_function(provider):
    before = closed_so_far(provider)
    request = {"operation": "count", "stream": True, "flow": False, "payload": 10**9}
    async with asked(provider, request) as (messages, _):
        await messages.next_msg(PATIENCE)
    await closes(provider, before)


async def test_only_who_has_the_subject_of_a_stream_steers_it(provider):
    request = {"operation": "count", "stream": True, "payload": CHUNKS + 1}
    async with asked(provider, request) as (messages, connection):
        first = await messages.next_msg(PATIENCE)
        for _ in range(CHUNKS - 1):  # until it waits
            await messages.next_msg(PATIENCE)
        other = first.reply.rpartition(".")[0]
        for subject, data in (
            (f"{other}.{'0' * 16}", cbor2.dumps({"cancel": True})),
            (first.reply, b"\xff"),
            (first.reply, cbor2.dumps({"credit": "many"})),
            (first.reply, cbor2.dumps({"credit": 2**60})),  # no more than was sent
        ):
            await connection.publish(subject, data)
        await messages.next_msg(PATIENCE)
        assert cbor2.loads((await messages.next_msg(PATIENCE)).data) == {"end": CHUNKS + 1}


async def test_a_stream_needs_somebody_to_answer(provider):
    async with provider.connect() as python:
        before = (await python.status())["errors"]
        connection = await nats.connect(provider.url)
        lattice = provider.environment["PROVIDER_LATTICE"]
        await connection.publish(
            f"wasmbus.rpc.{lattice}.python.default",
            cbor2.dumps({"operation": "wait_for_ever", "stream": True}),
        )
        await connection.close()
        assert await python.call("plain") == {"a": 1}
        assert (await python.status())["errors"] == before


async def test_a_deadline_ends_a_stream_that_waits_or_hangs(provider):
    async with provider.connect() as python:
        deaths = len(provider.events("worker_lost"))
        before = closed_so_far(provider)
        with pytest.raises(CallTimeout, match="the stream was still running"):
            async for _ in python.stream("wait_for_ever", timeout=4):
                pass
        await closes(provider, before)
        with pytest.raises(CallTimeout, match="the stream was still running"):
            async for _ in python.stream("hang", timeout=4):
                pass
        # The first stopped when it was told to, the other one's worker had to be.
        await asyncio.to_thread(provider.wait_for, "worker_lost", deaths + 1)
        assert await python.call("plain") == {"a": 1}


async def test_an_item_too_large_for_a_message_ends_its_stream(provider):
    async with provider.connect() as python:
        items = []
        with pytest.raises(TooLarge, match="max_payload"):
            async for item in python.stream("grow"):
                items.append(item)
        assert items == ["small"]
        assert await python.call("plain") == {"a": 1}


async def test_a_worker_that_dies_ends_its_streams(provider):
    async with provider.connect() as python:
        items = []
        with pytest.raises(WorkerLost, match="SIGKILL"):
            async for item in python.stream("die", 3):
                items.append(item)
        assert items == [0, 1, 2]
        assert [item async for item in python.stream("count", 2)] == [0, 1]


def test_code_that_does_not_await_iterates(provider):
    before = closed_so_far(provider)
    with connect_sync(provider.url, **provider.address, timeout=PATIENCE) as python:
        assert list(python.stream("count", 3)) == [0, 1, 2]
        items = python.stream("count", 10**9)
        assert next(items) == 0
        items.close()
        provider.wait_for("printed", before + 2, text="closed")
        with pytest.raises(CallError):
            list(python.stream("nothing_of_that_name"))


@pytest.mark.parametrize("provider", ["1"], indirect=True)
def test_the_command_prints_items_as_they_come_and_ctrl_c_stops(provider, provider_command):
    before = closed_so_far(provider)
    names = ("NATS_URL", "PROVIDER_LATTICE", "PROVIDER_NAME")
    environment = {name: provider.environment[name] for name in names}
    done = provider_command("call", "--stream", "count", "3", **environment)
    assert (done.returncode, done.stdout) == (0, b"0\n1\n2\n")
    done = provider_command("call", "--stream", "die", "0", **environment)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"worker_lost" in done.stderr
    with subprocess.Popen(
        [sys.executable, "-m", "provider", "call", "--stream", "wait_for_ever", "--json"],
        env=clean_environment(**environment),
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"chunk": "begun"}
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    provider.wait_for("printed", before + 2, text="closed")
