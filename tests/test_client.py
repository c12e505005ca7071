"""The client: what callers pass and get, and every way a call can go wrong as an exception."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from provider import client, connection
from provider.client.waiting import waited_for
from provider.doors.subscriptions import settle
from provider.errors import (
    BY_KIND,
    BadRequest,
    BadResult,
    CallError,
    CallTimeout,
    HandlerError,
    Overloaded,
    StartError,
    TooLarge,
    Unauthorized,
    Unavailable,
    WorkerLost,
)
from provider.wire.values import Limits
from tests.conftest import PATIENCE

HANDLER = """
    import os
    import signal
    import time

    from provider.dispatch import OperationError

    seen = "nothing yet"

    def handle(command, *arg):
        match command:
            case "echo":
                return arg[0]
            case "fail":
                raise KeyError("no such thing")
            case "refuse":
                raise OperationError("out of stock", code=409, details={"left": 0})
            case "set":
                return {"inner": [{1, 2}]}
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "sleep":
                time.sleep(arg[0])
            case "deep":
                value = []
                for _ in range(63):
                    value = [value]
                return value
            case "bits":
                return 1 << 70_000
        return command
"""


@pytest.fixture(scope="module")
def house(start_module_provider):
    return start_module_provider(HANDLER)


# --- values --------------------------------------------------------------------------------------

VALUES = [
    None,
    True,
    0,
    -1,
    2**64,
    -(2**70),
    1.5,
    math.inf,
    "",
    "Grüße \U0001f44b",
    b"\x00\xff",
    [],
    {},
    [1, [2, {"a": [None]}]],
    {"é": 1, "": 2},
    datetime(2026, 11, 21, 8, 0, tzinfo=UTC),
    Decimal("1.10"),
    uuid.UUID(int=7),
]


async def test_values_come_back_as_they_went(house):
    async with house.connect() as python:
        for value, back in zip(
            VALUES,
            await asyncio.gather(*(python.call("echo", value) for value in VALUES)),
            strict=True,
        ):
            assert back == value
            assert type(back) is type(value)
        assert math.isnan(await python.call("echo", math.nan))


TRACE = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "vendor=7",
}
TRACED = """
    from provider.dispatch import Context, operation

    @operation
    def trace(call: Context) -> list:
        return [call.traceparent, call.tracestate]

    @operation
    def parts(call: Context) -> list:
        yield call.traceparent
        yield call.tracestate
"""


async def test_a_trace_goes_along_whichever_way_is_called(start_provider):
    provider = start_provider(TRACED)
    told = list(TRACE.values())
    async with provider.connect() as python:
        assert await python.call("trace") == ["", ""]
        assert await python.call("trace", trace=TRACE) == told
        assert await python.call("trace", trace={"traceparent": told[0]}) == [told[0], ""]
        assert [item async for item in python.stream("parts", trace=TRACE)] == told
        body = await python.call_bytes("trace", content_type="application/json", trace=TRACE)
        assert json.loads(body) == told

    def without_await():
        with client.connect_sync(provider.url, **provider.address) as python:
            assert python.call("trace", trace=TRACE) == told
            assert list(python.stream("parts", trace=TRACE)) == told
            json_body = python.call_bytes("trace", content_type="application/json", trace=TRACE)
            assert json.loads(json_body) == told

    await asyncio.to_thread(without_await)


async def test_no_argument_is_not_the_same_as_none(start_provider):
    provider = start_provider("def handle(command, arg): return repr(arg)")
    async with provider.connect() as python:
        assert await python.call("x") == await python.call("x", None) == "None"
        assert await python.call("x", client.ABSENT) == "None"
        assert repr(client.ABSENT) == "ABSENT"
        assert await python.call_bytes("x") == b"\x64None"


class Thing:
    pass


@pytest.mark.parametrize(
    ("argument", "path"),
    [
        ({"a": [1, Thing()]}, r"\['a'\]\[1\]"),
        ([{1}], r"\[0\]"),
        ({"a": {2: 3}}, r"\['a'\]"),
        ("\ud800", ""),
    ],
)
async def test_an_argument_that_cannot_travel_is_a_type_error(house, argument, path):
    async with house.connect() as python:
        before = await python.status()
        with pytest.raises(TypeError, match=f"^the argument.*{path}"):
            await python.call("echo", argument)
        assert (await python.status())["accepted"] == before["accepted"]


async def test_bytes_go_and_come_untouched(house):
    async with house.connect() as python:
        odd = b"\xbf\x61a\x18\x01\xff"
        assert await python.call_bytes("echo", odd) == b"\xa1\x61a\x01"
        spoken = await python.call_bytes("echo", b"[1]", content_type="application/json")
        assert spoken == b"[1]"
        with pytest.raises(HandlerError, match="no such thing"):
            await python.call_bytes("fail")
        with pytest.raises(HandlerError, match="no such thing") as raised:
            await python.call_bytes("fail", content_type="application/json")
        assert raised.value.type == "KeyError"
        with pytest.raises(CallTimeout):
            await python.call_bytes("sleep", b"\x18\x1e", timeout=0.5)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "argument", "kind", "says"),
    [
        ("", None, BadRequest, "operation is empty"),
        ("x" * 257, None, BadRequest, "longer than 256 bytes"),
        ("fail", None, HandlerError, "no such thing"),
        ("refuse", None, HandlerError, "out of stock"),
        ("set", None, BadResult, "inner"),
        ("bits", None, BadResult, "bits"),
        ("die", None, WorkerLost, "SIGKILL"),
    ],
)
async def test_an_error_is_the_class_of_its_kind(house, operation, argument, kind, says):
    async with house.connect() as python:
        with pytest.raises(CallError, match=says) as raised:
            await python.call(operation, argument)
    assert type(raised.value) is kind
    assert type(raised.value) is BY_KIND[raised.value.kind]


async def test_an_error_tells_what_its_author_gave_it(house):
    async with house.connect() as python:
        with pytest.raises(HandlerError) as raised:
            await python.call("refuse")
    assert (raised.value.code, raised.value.details) == (409, {"left": 0})


async def test_a_late_call_is_told_of_by_the_provider(house):
    async with house.connect() as python:
        with pytest.raises(CallTimeout, match="the handler was still running"):
            await python.call("sleep", 30, timeout=1)


async def test_a_provider_that_says_nothing_is_a_timeout_too(start_provider):
    provider = start_provider(HANDLER)
    async with provider.connect() as python:
        os.kill(provider.pid, signal.SIGSTOP)
        try:
            with pytest.raises(CallTimeout, match=r"no answer on wasmbus\.rpc.* within 0\.05 s"):
                await python.call("echo", 1, timeout=0.05)
            with pytest.raises(CallTimeout, match=r"no answer on \$SRV\.STATS"):
                await python.status(timeout=0.05)
        finally:
            os.kill(provider.pid, signal.SIGCONT)
        assert await python.call("echo", 1) == 1


async def test_a_full_queue_is_told_with_a_time_to_come_back(start_provider):
    provider = start_provider(HANDLER, PROVIDER_QUEUE_CALLS="1", PROVIDER_RELOAD="off")
    async with provider.connect() as python:
        first = asyncio.create_task(python.call("sleep", 1))
        outcomes = await asyncio.gather(
            first, *(python.call("echo", n) for n in range(3)), return_exceptions=True
        )
        assert outcomes[0] == "sleep"
        assert all(isinstance(outcome, Overloaded) for outcome in outcomes[1:])
        assert all(outcome.retry_after_ms > 0 for outcome in outcomes[1:])
        with pytest.raises(Unauthorized, match="PROVIDER_RELOAD"):
            await python.reload()


async def test_nobody_there(house):
    async with house.connect(key="nobody", name="nobody") as python:
        for call in (python.call("x"), python.call_bytes("x"), python.status(), python.reload()):
            with pytest.raises(client.NoProvider, match="is it running"):
                await call
    assert issubclass(client.NoProvider, Unavailable)


async def test_the_status_of_another_lattice_is_not_taken_for_ours(house):
    async with house.connect(lattice="elsewhere") as python:
        with pytest.raises(
            client.NoProvider, match="in lattice elsewhere; 1 of that name elsewhere"
        ):
            await python.status(timeout=2)


async def test_an_argument_over_what_the_server_carries(house):
    async with house.connect() as python:
        with pytest.raises(TooLarge, match=r"the request takes 20\d{5} bytes.*1048576"):
            await python.call("echo", "x" * 2_000_000)
        with pytest.raises(TooLarge, match=r"takes 20000\d\d bytes"):
            await python.call_bytes("echo", b"x" * 2_000_000)
        assert await python.call("echo", 1) == 1


async def test_headers_are_carried_along(house):
    """They count for the server, which hangs up on whoever sends too much."""
    trace = {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01", "tracestate": "a=ü" * 50}
    async with house.connect() as python:
        slow = asyncio.create_task(python.call("sleep", 0.2))
        most = python._client.max_payload
        for size in range(most - 400, most, 20):
            with contextlib.suppress(TooLarge, BadRequest):  # x is no CBOR
                await python.call_bytes("echo", b"x" * size, trace=trace, timeout=PATIENCE)
        with pytest.raises(TooLarge, match=r"takes 1048\d{3} bytes.*1048576"):
            await python.call_bytes("echo", b"x" * most, trace=trace)
        await slow
        assert python._client.stats["reconnects"] == 0


async def test_limits_hold_on_our_side_too(house):
    async with house.connect() as python:
        assert await python.call("deep") is not None
    async with house.connect(limits=Limits(depth=3)) as python:
        assert await python.call("echo", [[[]]]) == [[[]]]
        with pytest.raises(TypeError, match="levels"):
            await python.call("echo", [[[[]]]])
        with pytest.raises(BadResult, match="the answer cannot be read"):
            await python.call("deep")


async def test_another_service_on_the_subject_is_noticed(house, shared_nats):
    import nats

    stranger = await nats.connect(shared_nats.url)
    answers = {"a": b"hello", "b": b"\xa1\x61a\x01", "c": b"\xa1\x65error\x01", "d": b""}

    async def answer(message):
        await message.respond(answers[chr(message.data[-1])])

    await stranger.subscribe("wasmbus.rpc.strange.python.default", cb=answer)
    await settle(stranger)
    try:
        async with house.connect(lattice="strange") as python:
            for word in answers:
                with pytest.raises(BadResult):
                    await python.call("x", word)
    finally:
        await stranger.close()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"5",
        b'{"metadata": 5}',
        b"[" * 100_000,
        b'{"metadata": {"lattice": "strange"}}',
        b'{"operations": {}, "schemas": []}',
        b'{"operations": [5], "schemas": {"a": 5}}',
        b'{"operations": [{"name": "a", "signature": 5, "doc": ""}], "schemas": 5}',
    ],
)
async def test_strangers_who_answer_anything_are_strangers(house, shared_nats, data):
    import nats

    stranger = await nats.connect(shared_nats.url)

    async def answer(message):
        await message.respond(data)

    for subject in (
        "$SRV.STATS.strange",
        "provider.describe.strange.strange.*",
        "provider.admin.strange.strange.status",
    ):
        await stranger.subscribe(subject, cb=answer)
    await settle(stranger)
    try:
        async with house.connect(lattice="strange", name="strange") as python:
            with pytest.raises(client.NoProvider, match="1 of that name elsewhere"):
                await python.status(timeout=1)
            for ask in (python.operations, python.schema):
                with pytest.raises(BadResult, match="cannot be read"):
                    await ask()
            if not data.startswith(b"{"):
                with pytest.raises(BadResult, match="cannot be read"):
                    await python.admin("status", expect=1)
    finally:
        await stranger.close()


async def test_what_is_asked_over_a_closed_connection_is_not_taken(shared_nats):
    async with client.connect(shared_nats.url) as python:
        await python._client.close()
        for ask in (python.status(), python.admin("status"), python.operations()):
            with pytest.raises(Unavailable, match="NATS did not take"):
                await ask


# --- connecting ----------------------------------------------------------------------------------


async def test_no_server_is_said_at_once():
    with pytest.raises(StartError, match=r"no NATS server at nats://127\.0\.0\.1:1 "):
        async with client.connect("nats://127.0.0.1:1"):
            raise AssertionError
    with pytest.raises(StartError, match="no NATS server at"), client.connect_sync("127.0.0.1:1"):
        raise AssertionError


async def test_a_wrong_url_is_a_value_error():
    with pytest.raises(ValueError, match="NATS server URLs such as"):
        async with client.connect("http://127.0.0.1"):
            raise AssertionError


async def test_several_servers_may_be_named(house):
    options = connection.NatsOptions(servers=("nats://127.0.0.1:1", house.url))
    for servers in (f"127.0.0.1:1, {house.url}", options):
        async with client.connect(servers, **house.address) as python:
            assert await python.call("echo", 1) == 1


# --- without await -------------------------------------------------------------------------------


def test_the_same_without_await(house):
    threads = threading.active_count()
    with client.connect_sync(house.url, **house.address) as python:
        assert python.call("echo", [1]) == [1]
        assert python.call_bytes("echo", b"\x01") == b"\x01"
        assert python.status()["ready"]
        python.reload()
        with pytest.raises(HandlerError, match="no such thing"):
            python.call("fail")
        with pytest.raises(TypeError, match="the argument"):
            python.call("echo", Thing())
        with pytest.raises(client.NoProvider, match="--admin"):
            python.admin("status", timeout=0.2)
    assert threading.active_count() == threads


def test_several_threads_share_one_connection(house):
    with (
        client.connect_sync(house.url, **house.address) as python,
        ThreadPoolExecutor(8) as pool,
    ):
        assert list(pool.map(lambda n: python.call("echo", n), range(400))) == list(range(400))


@pytest.mark.parametrize("line", ["python.call('sleep', 30)", "next(python.stream('sleep', 30))"])
def test_who_interrupts_a_call_is_interrupted(start_provider, line):
    house = start_provider(HANDLER)
    program = f"""
from provider import client

with client.connect_sync({house.url!r}, **{house.address!r}) as python:
    print("calling", flush=True)
    {line}
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "calling\n"
        with client.connect_sync(house.url, **house.address) as python:
            while not python.status(timeout=PATIENCE)["open"]:
                time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGINT
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert "Error" not in said
    assert "destroyed" not in said
    house.process.kill()  # told to stop, it would wait for the call


def test_a_stream_that_is_left_open_ends_with_the_connection(start_provider):
    house = start_provider(
        """
        def handle(command, arg):
            try:
                for number in range(1_000_000):
                    yield number
            finally:
                print("left", flush=True)
        """
    )
    with client.connect_sync(house.url, **house.address) as python:
        items = python.stream("count")
        assert next(items) == 0
    house.wait_for("printed", text="left")
    items.close()


def test_who_interrupts_the_connecting_is_interrupted():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        program = f"""
from provider import client

with client.connect_sync("nats://127.0.0.1:{silent.getsockname()[1]}"):
    pass
"""
        with (
            subprocess.Popen(
                [sys.executable, "-c", program], stderr=subprocess.PIPE, text=True
            ) as process,
            silent.accept()[0],
        ):
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGINT
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert "destroyed" not in said


class InterruptedLoop(asyncio.SelectorEventLoop):
    """A loop whose caller is interrupted while handing something over to it, once.

    Ctrl-C between two instructions of asyncio cannot be aimed from outside, so the loop itself
    raises there what Python would.
    """

    def __init__(self, when):
        super().__init__()
        self.when = when
        """ "before" anything is handed over, while it is "queued" and the loop has not looked yet,
        or when it is "running" already."""
        self.runs = threading.Event()
        self._looks = threading.Event()

    def call_soon_threadsafe(self, callback, *arguments, context=None):
        when, self.when = self.when, None
        if when == "queued":
            super().call_soon_threadsafe(self._looks.wait)
        if when != "before":
            handle = super().call_soon_threadsafe(callback, *arguments, context=context)
        if when is None:
            self._looks.set()
            return handle
        if when == "running":
            assert self.runs.wait(PATIENCE)
        raise KeyboardInterrupt


@pytest.fixture(params=["before", "queued", "running"])
def interrupted_loop(request):
    loop = InterruptedLoop(request.param)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_who_interrupts_the_handing_over_leaves_nothing_running(interrupted_loop):
    loop, when = interrupted_loop, interrupted_loop.when

    async def endless():
        loop.runs.set()
        await loop.create_future()

    work = endless()
    with pytest.raises(KeyboardInterrupt):
        waited_for(work, loop)
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED
    assert loop.runs.is_set() == (when == "running")
    assert not asyncio.all_tasks(loop)


@pytest.mark.parametrize("interrupted_loop", ["running"], indirect=True)
def test_work_that_loses_its_cancellation_is_cancelled_again(interrupted_loop):
    loop = interrupted_loop

    async def forgetful():
        loop.runs.set()
        # As `asyncio.wait_for` does before Python 3.12, when what it waits for has just come.
        with contextlib.suppress(asyncio.CancelledError):
            await loop.create_future()
        await loop.create_future()

    work = forgetful()
    with pytest.raises(KeyboardInterrupt):
        waited_for(work, loop)
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED


def test_an_error_inside_the_block_passes_and_closes():
    threads = threading.active_count()
    with pytest.raises(StartError), client.connect_sync("nats://127.0.0.1:1"):
        raise AssertionError
    assert threading.active_count() == threads


def test_a_client_can_call_and_cancel(house):
    async def work():
        async with house.connect() as python:
            call = asyncio.create_task(python.call("sleep", 0.1))
            await asyncio.sleep(0.02)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await python.call("echo", "next") == "next"

    asyncio.run(work())
