"""What functions say of how far they are, as callers and operators see it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import subprocess
import sys

import cbor2
import nats
import pytest

from provider.client import connect_sync
from provider.errors import HandlerError
from tests.conftest import PATIENCE, clean_environment

PROGRAM = """
    import asyncio
    import os
    from provider.dispatch import Context, operation

    HERE = os.path.dirname(os.path.abspath(__file__))

    def at_the_gate():
        print("waits", flush=True)
        with open(os.path.join(HERE, "gate"), "rb", buffering=0) as gate:
            gate.read(1)

    @operation
    def work(context: Context, steps: int):
        for step in range(steps):
            context.progress(step, steps, f"step {step}")
            yield step
        context.progress(steps, steps, "done")

    @operation
    async def work_on_the_loop(context: Context):
        for step in range(1000):
            context.progress(step)
            await asyncio.sleep(0)
        yield "only"

    @operation
    def kept_before_the_end(context: Context):
        for step in range(1000):
            context.progress(step)
        return "whole"

    @operation
    def silent_for_long(context: Context):
        context.progress(1)
        context.progress(2)
        at_the_gate()
        yield "item"

    @operation
    def wrong(context: Context):
        context.progress("much")

    @operation
    def before_the_first(context: Context):
        print("computes", flush=True)
        while not context.cancelled:
            pass
        print("saw it", flush=True)
        yield "late"

    @operation
    async def before_the_first_on_the_loop():
        try:
            print("computes", flush=True)
            await asyncio.Event().wait()
        finally:
            print("saw it", flush=True)
        yield "late"

    @operation
    def note():
        print("noted", flush=True)
        yield 1
"""


@pytest.fixture(
    scope="module",
    params=["1", pytest.param("4", marks=pytest.mark.long)],
    ids=["alone", "overlapping"],
)
def provider(request, serve):
    made = serve(PROGRAM, PROVIDER_CONCURRENCY=request.param, PROVIDER_ADMIN="on")
    os.mkfifo(made.folder / "gate")
    made.gate = os.open(made.folder / "gate", os.O_RDWR)
    yield made
    os.close(made.gate)


@contextlib.asynccontextmanager
async def messages(provider, body, *, subject=None, **headers):
    """The messages that answer a request, without our client."""
    connection = await nats.connect(provider.url)
    lattice, name = (provider.environment[f"PROVIDER_{part}"] for part in ("LATTICE", "NAME"))
    try:
        inbox = connection.new_inbox()
        subscription = await connection.subscribe(inbox)
        where = f"provider.{lattice}.{name}.{subject}"
        await connection.publish(
            f"wasmbus.rpc.{lattice}.python.default" if subject is None else where,
            body,
            reply=inbox,
            headers=headers or None,
        )
        yield subscription, connection
    finally:
        await connection.close()


async def until_the_end(subscription, read):
    told = []
    while True:
        told.append(read((await subscription.next_msg(PATIENCE)).data))
        if "end" in told[-1] or "error" in told[-1]:
            return told


async def test_callers_of_a_stream_are_told(provider):
    async with provider.connect() as python:
        told = []
        items = [item async for item in python.stream("work", 3, on_progress=told.append)]
        assert items == [0, 1, 2]
        assert told[0] == {"done": 0, "total": 3, "note": "step 0"}
        assert told[-1] == {"done": 3, "total": 3, "note": "done"}
        assert [item async for item in python.stream("work", 3)] == [0, 1, 2]
        assert await python.call("work", 3) == [0, 1, 2]


@pytest.mark.parametrize("operation", ["work_on_the_loop", "kept_before_the_end"])
async def test_the_last_word_is_not_lost_and_most_others_are(provider, operation):
    async with provider.connect() as python:
        told = []
        async for _ in python.stream(operation, on_progress=told.append):
            pass
        assert told[0] == {"done": 0, "total": None, "note": ""}
        assert told[-1]["done"] == 999
        assert len(told) < 500


async def test_the_newest_word_is_told_although_the_function_says_no_more(provider):
    async with provider.connect() as python:
        told, news = [], asyncio.Event()

        def on_progress(word):
            told.append(word["done"])
            if word["done"] == 2:
                news.set()

        items = python.stream("silent_for_long", on_progress=on_progress)
        first = asyncio.ensure_future(anext(items))
        await asyncio.wait_for(news.wait(), PATIENCE)
        assert told == [1, 2]
        os.write(provider.gate, b"x")
        assert await asyncio.wait_for(first, PATIENCE) == "item"
        await items.aclose()


@pytest.mark.parametrize("as_json", [True, False])
async def test_by_subject_it_is_asked_for_with_a_header(provider, as_json):
    kind = "application/json" if as_json else "application/cbor"
    headers = {"Provider-Stream": "true", "Content-Type": kind}
    read, body = (json.loads, b"1") if as_json else (cbor2.loads, b"\x01")
    async with messages(provider, body, subject="work", **headers) as (subscription, _):
        assert await until_the_end(subscription, read) == [{"chunk": 0, "seq": 0}, {"end": 1}]
    headers["Provider-Progress"] = "true"
    async with messages(provider, body, subject="work", **headers) as (subscription, _):
        told = await until_the_end(subscription, read)
    assert told[0] == {"progress": None}
    assert {"progress": {"done": 0, "total": 1, "note": "step 0"}} in told
    assert told[-2:] == [{"progress": {"done": 1, "total": 1, "note": "done"}}, {"end": 1}]


async def test_native_requests_say_so_and_get_their_id_in_all_messages(provider):
    request = {"operation": "work", "stream": True, "progress": True, "id": "me", "payload": 1}
    async with messages(provider, cbor2.dumps(request)) as (subscription, _):
        first = await subscription.next_msg(PATIENCE)
        assert cbor2.loads(first.data) == {"id": "me", "progress": None}
        assert first.reply.startswith("_PROVIDER.flow.")
        told = await until_the_end(subscription, cbor2.loads)
    assert {word["id"] for word in told} == {"me"}
    assert told[-1] == {"id": "me", "end": 1}


async def test_a_refused_stream_was_not_accepted(provider):
    request = {"operation": "reload" * 40, "stream": True, "progress": True}
    async with messages(provider, cbor2.dumps(request)) as (subscription, _):
        told = await until_the_end(subscription, cbor2.loads)
    assert told[-1]["error"]["kind"] == "unknown_operation"


async def test_what_is_no_progress_is_the_functions_fault(provider):
    async with provider.connect() as python:
        with pytest.raises(HandlerError, match="done is str"):
            await python.call("wrong")


async def test_the_status_says_how_far_a_plain_call_is(provider):
    async with provider.connect() as python:
        before = len(provider.events("printed", text="waits"))
        call = asyncio.ensure_future(python.call("silent_for_long", request_id="me"))
        await asyncio.to_thread(provider.wait_for, "printed", before + 1, text="waits")
        async with asyncio.timeout(PATIENCE):
            while not ((status := await python.status())["progress"]):
                pass  # the word may come after the print
        (word,) = status["progress"]
        assert (word["operation"], word["request_id"]) == ("silent_for_long", "me")
        assert word["done"] in (1, 2)
        (told,) = await python.admin("status", timeout=PATIENCE, expect=1)
        assert told["progress"][0]["operation"] == "silent_for_long"
        os.write(provider.gate, b"x")
        assert await asyncio.wait_for(call, PATIENCE) == ["item"]
        assert (await python.status())["progress"] == []


@pytest.mark.parametrize("operation", ["before_the_first", "before_the_first_on_the_loop"])
async def test_who_leaves_before_the_first_item_stops_the_function(provider, operation):
    computes = len(provider.events("printed", text="computes"))
    saw_it = len(provider.events("printed", text="saw it"))
    async with provider.connect() as python:
        first = asyncio.ensure_future(anext(python.stream(operation)))
        await asyncio.to_thread(provider.wait_for, "printed", computes + 1, text="computes")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await asyncio.to_thread(provider.wait_for, "printed", saw_it + 1, text="saw it")


@pytest.mark.parametrize("says_so", [True, False])
async def test_who_says_so_or_just_disappears_stops_the_function(provider, says_so):
    computes = len(provider.events("printed", text="computes"))
    saw_it = len(provider.events("printed", text="saw it"))
    request = {"operation": "before_the_first", "stream": True, "progress": True}
    async with messages(provider, cbor2.dumps(request)) as (subscription, connection):
        first = await subscription.next_msg(PATIENCE)
        await asyncio.to_thread(provider.wait_for, "printed", computes + 1, text="computes")
        if says_so:
            await connection.publish(first.reply, cbor2.dumps({"cancel": True}))
    # Who is gone is missed at the next message, which comes within seconds.
    await asyncio.to_thread(provider.wait_for, "printed", saw_it + 1, text="saw it")


@pytest.mark.parametrize("provider", ["1"], indirect=True)
async def test_who_leaves_while_the_stream_waits_never_has_it_run(provider):
    before = len(provider.events("printed", text="waits"))
    noted = len(provider.events("printed", text="noted"))
    async with provider.connect() as python:
        busy = asyncio.ensure_future(python.call("silent_for_long"))
        await asyncio.to_thread(provider.wait_for, "printed", before + 1, text="waits")
        request = {"operation": "note", "stream": True, "progress": True}
        async with messages(provider, cbor2.dumps(request)) as (subscription, connection):
            first = await subscription.next_msg(PATIENCE)
            await connection.publish(first.reply, b'{"cancel": true}')
            error = cbor2.loads((await subscription.next_msg(PATIENCE)).data)["error"]
            assert error["kind"] == "cancelled"
        os.write(provider.gate, b"x")
        assert await asyncio.wait_for(busy, PATIENCE) == ["item"]
        assert await python.call("work", 1) == [0]
    assert len(provider.events("printed", text="noted")) == noted


def test_code_that_does_not_await_is_told_too(provider):
    told = []
    with connect_sync(provider.url, **provider.address, timeout=PATIENCE) as python:
        assert list(python.stream("work", 2, on_progress=told.append)) == [0, 1]
    assert told[-1]["done"] == 2


@pytest.mark.parametrize("provider", ["1"], indirect=True)
def test_the_command_shows_it_on_a_terminal_or_when_told_to(provider, provider_command):
    names = ("NATS_URL", "PROVIDER_LATTICE", "PROVIDER_NAME")
    environment = {name: provider.environment[name] for name in names}
    done = provider_command("call", "work", "2", "--stream", "--progress", **environment)
    assert (done.returncode, done.stdout) == (0, b"0\n1\n")
    lines = done.stderr.decode().splitlines()
    assert (lines[0], lines[-1]) == ("0/2 (0 %) step 0", "2/2 (100 %) done")
    done = provider_command("call", "work", "2", "--stream", **environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"0\n1\n", b"")
    done = provider_command("call", "work", "2", "--progress", **environment)
    assert done.returncode == 2
    ours, terminal = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "provider", "call", "work", "2", "--stream"],
            env=clean_environment(**environment, TERM="xterm", COLUMNS="12"),
            stdout=subprocess.PIPE,
            stderr=terminal,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, b"0\n1\n")
        shown = os.read(ours, 4096).decode()
    finally:
        os.close(terminal)
        os.close(ours)
    assert shown.startswith("\r\x1b[K0/2 (0 %) s\r\x1b[K")
    assert shown.endswith("\r\x1b[K")
