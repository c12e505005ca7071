"""Who comes too many is told so at once, who comes too late is told why; order and owners hold."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from provider.client import NoProvider
from provider.errors import CallError, CallTimeout, Overloaded, TooLarge, Unavailable
from tests.conftest import PATIENCE
from tests.end_to_end.conftest import asked, told

NOTING = """
    import threading
    import time

    ran = []
    lock = threading.Lock()
    together = threading.Barrier(4, timeout=60)
    running = most = 0

    def counted(seconds):
        global running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(seconds)
        with lock:
            running -= 1

    def handle(command, arg):
        if command == "note":
            ran.append(arg)
        elif command == "ran":
            return [ran.copy(), ran.clear()][0]
        elif command == "gate":
            print("at the gate")
            with open(arg, "rb", buffering=0) as gate:
                gate.read(1)
        elif command == "sleep":
            time.sleep(arg)
        elif command == "meet":
            together.wait()
        elif command == "counted":
            counted(arg)
        elif command == "most":
            return most
        return arg
"""


async def held(provider, python, gate, **options) -> asyncio.Task:
    """A call that has begun, and ends when the gate is opened."""
    begun = len(provider.events("printed", text="at the gate"))
    task = asyncio.create_task(python.call("gate", gate.path, **options))
    await asyncio.to_thread(provider.wait_for, "printed", begun + 1, text="at the gate")
    return task


def seconds_in(error: CallTimeout, says: str) -> float:
    """How long the call had been there by the provider's account, which begins like this."""
    account = re.fullmatch(rf"{says} after (?P<seconds>\d+\.\d{{3}}) s; .*", error.message)
    assert account, error.message
    return float(account["seconds"])


# --- too many -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def narrow(serve):
    """A provider with room for few calls and few bytes."""
    return serve(NOTING, PROVIDER_QUEUE_CALLS="5", PROVIDER_QUEUE_BYTES="10KiB")


async def test_a_full_queue_says_so_at_once_while_accepted_calls_are_answered(narrow, gate):
    async with narrow.connect() as python:
        first = await held(narrow, python, gate)
        more = [asyncio.create_task(python.call("note", number)) for number in range(14)]
        done, _ = await asyncio.wait(more[4:])
        assert not any(task.done() for task in (first, *more[:4]))
        for task in done:
            error = task.exception()
            assert isinstance(error, Overloaded)
            assert (error.kind, error.code) == ("overloaded", 429)
            assert error.message == "the queue is full: 5 calls of 5 (PROVIDER_QUEUE_CALLS)"
            assert 10 <= error.retry_after_ms <= 5000
        gate.open()
        assert await first == gate.path
        assert await asyncio.gather(*more[:4]) == [0, 1, 2, 3]
        assert await python.call("ran") == [0, 1, 2, 3]
        status = await python.status()
        assert status["errors"]["overloaded"] == 10
        assert status["open"] == 0
        assert status["accepted"] == status["answered"]


async def test_the_queue_is_full_of_bytes_too(narrow, gate):
    async with narrow.connect() as python:
        first = await held(narrow, python, gate)
        fitting = asyncio.create_task(python.call("note", "x" * 9000))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match=r"bytes of 10240 \(PROVIDER_QUEUE_BYTES\)") as caught:
            await python.call("note", "y" * 3000)
        assert caught.value.retry_after_ms
        with pytest.raises(TooLarge, match="20003 bytes; the whole queue holds 10240"):
            await python.call("note", "z" * 20000)
        small = asyncio.create_task(python.call("note", "small"))
        gate.open()
        assert await small == "small"
        await first
        assert await fitting == "x" * 9000
        assert await python.call("ran") == ["x" * 9000, "small"]


async def test_who_comes_back_after_a_while_is_served(narrow):
    async with narrow.connect() as python:

        async def insistent(number: int) -> int:
            while True:
                try:
                    return await python.call("note", number)
                except Overloaded as error:
                    await asyncio.sleep(error.retry_after_ms / 1000)

        assert await asyncio.gather(*map(insistent, range(50))) == list(range(50))
        assert sorted(await python.call("ran")) == list(range(50))


# --- too late -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(serve):
    return serve(NOTING)


async def test_a_deadline_that_passes_while_waiting_says_so_and_the_call_never_runs(plain, gate):
    lost = len(plain.events("worker_lost"))
    async with plain.connect() as python:
        first = await held(plain, python, gate)
        late = [python.call("note", number, timeout=0.1) for number in range(20)]
        answers = await asyncio.gather(*late, return_exceptions=True)
        assert not first.done()
        for error in answers:
            assert isinstance(error, CallTimeout)
            assert (error.kind, error.code) == ("timeout", 504)
            assert seconds_in(error, "the call was still waiting") >= 0.1
            assert error.message.endswith("s; it was not run")
        gate.open()
        assert await first == gate.path
        assert await python.call("note", "after") == "after"
        assert await python.call("ran") == ["after"]
    assert len(plain.events("worker_lost")) == lost


@pytest.fixture(scope="module")
def default(serve):
    """A provider whose default is near, while callers may ask for more."""
    return serve(NOTING, PROVIDER_CALL_TIMEOUT="500ms", PROVIDER_MAX_CALL_TIMEOUT="1h")


@pytest.fixture(scope="module")
def maximum(serve):
    """A provider whose maximum is near, with a default below it."""
    return serve(NOTING, PROVIDER_CALL_TIMEOUT="200ms", PROVIDER_MAX_CALL_TIMEOUT="1s")


@pytest.mark.parametrize(
    ("limit", "fields", "headers", "seconds"),
    [
        ("plain", {"timeout_ms": 200}, {}, 0.2),
        ("plain", {}, {"Provider-Timeout-Ms": "200"}, 0.2),
        ("plain", {"timeout_ms": 200}, {"Provider-Timeout-Ms": "60000"}, 0.2),
        ("default", {}, {}, 0.5),
        ("maximum", {"timeout_ms": 60_000}, {}, 1.0),
        ("maximum", {"timeout_ms": 2**53}, {}, 1.0),
    ],
)
async def test_the_deadline_is_the_callers_or_the_providers(
    request, wire, limit, fields, headers, seconds
):
    async with wire(request.getfixturevalue(limit)) as w:
        began = time.monotonic()
        # Every other limit is above the patience of this request.
        message = await w.connection.request(
            w.native, asked("sleep", 3600, **fields), timeout=PATIENCE, headers=headers or None
        )
        assert time.monotonic() - began >= seconds
    error = CallError.from_map(told(message)["error"])
    assert seconds_in(error, r"the (handler|call) was still (running|waiting)") >= seconds


async def test_a_deadline_holds_by_subject_in_both_encodings(plain):
    async with plain.connect() as python:
        for content_type, body in (("application/json", b"30"), ("application/cbor", b"\x18\x1e")):
            with pytest.raises(CallTimeout, match=r"still (running|waiting) after"):
                await python.call_bytes("sleep", body, content_type=content_type, timeout=0.2)


async def test_nobody_is_kept_waiting_by_a_burst_of_overrunning_calls(plain):
    async with plain.connect() as python:
        hanging = [python.call("sleep", 3600, timeout=0.1 * n) for n in range(1, 5)]
        errors = await asyncio.gather(*hanging, return_exceptions=True)
        assert all(isinstance(error, CallTimeout) for error in errors)
        assert await python.call("note", 1) == 1
        assert await python.call("ran") == [1]


# --- order, owners, and those behind a late one --------------------------------------------------


async def test_a_deadline_that_passes_while_running_says_so_and_the_others_go_on(plain, gate):
    async with plain.connect() as python:
        lost = len(plain.events("worker_lost"))
        first = await held(plain, python, gate, timeout=2)
        others = [asyncio.create_task(python.call("note", n)) for n in range(5)]
        with pytest.raises(CallTimeout) as caught:
            await first
        assert seconds_in(caught.value, "the handler was still running") >= 2
        assert await asyncio.gather(*others) == [0, 1, 2, 3, 4]
        assert await python.call("ran") == [0, 1, 2, 3, 4]
    line = plain.wait_for("worker_lost", lost + 1)
    assert line["account"].endswith("gate ran past its deadline")
    assert line["given_back"] == 5


async def test_a_thousand_concurrent_calls_run_in_the_order_they_came(plain):
    async with plain.connect() as python:
        numbers = list(range(1000))
        assert await asyncio.gather(*(python.call("note", n) for n in numbers)) == numbers
        assert await python.call("ran") == numbers


async def test_answers_of_two_callers_are_never_mixed(plain):
    async with plain.connect() as one, plain.connect() as other:

        async def caller(python, name: str) -> None:
            async def native(number: int) -> None:
                argument = [name, number]
                assert await python.call("echo", argument, request_id="same") == argument

            async def by_subject(number: int) -> None:
                body = f'["{name}",{number}]'.encode()
                told = await python.call_bytes("echo", body, content_type="application/json")
                assert told == body

            await asyncio.gather(*(native(n) if n % 2 else by_subject(n) for n in range(400)))

        await asyncio.gather(caller(one, "one"), caller(other, "other"))


async def test_calls_accepted_before_the_stop_are_answered_and_later_ones_find_nobody(serve, gate):
    provider = serve(NOTING)
    async with provider.connect() as python:
        first = await held(provider, python, gate)
        waiting = [asyncio.create_task(python.call("note", number)) for number in range(100)]
        await python.status()  # comes back when they have arrived
        provider.process.terminate()
        await asyncio.to_thread(provider.wait_for, "draining")
        gate.open()
        assert await first == gate.path
        assert await asyncio.gather(*waiting) == list(range(100))
        assert await asyncio.to_thread(provider.wait) == 0
        with pytest.raises((NoProvider, Unavailable)):
            await python.call("note", 1)
    assert provider.events("drained")


# --- overlapping calls ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def overlapping(serve):
    return serve(NOTING, PROVIDER_CONCURRENCY="4")


async def test_calls_overlap_when_told_to_and_no_more_than_told(overlapping):
    async with overlapping.connect() as python:
        # Each of these ends only when four are there.
        await asyncio.gather(*(python.call("meet") for _ in range(8)))
        await asyncio.gather(*(python.call("counted", 0.01) for _ in range(40)))
        assert await python.call("most") == 4


AWAITING = """
    import asyncio

    together = asyncio.Barrier(5)
    here = most = 0

    async def handle(command, arg):
        global here, most
        if command == "most":
            return most
        here += 1
        most = max(most, here)
        if command == "meet":
            await together.wait()
        else:
            await asyncio.sleep(0.01)
        here -= 1
        return arg
"""


@pytest.mark.parametrize("handler", ["handle", "operations"])
async def test_coroutines_overlap_on_the_loop_of_the_worker(start_provider, handler):
    source = AWAITING
    if handler == "operations":
        source += """
    from provider.dispatch import operation
    most_of_all = operation(name="most")(lambda: most)

    @operation
    async def meet(arg: int):
        return await handle("meet", arg)

    @operation
    async def other(arg: int):
        return await handle("other", arg)
"""
    provider = start_provider(source, PROVIDER_CONCURRENCY="5")
    async with provider.connect() as python:
        # Each of these ends only when five are there.
        assert await asyncio.gather(*(python.call("meet", n) for n in range(10))) == [*range(10)]
        await asyncio.gather(*(python.call("other", n) for n in range(40)))
        assert await python.call("most") == 5


async def test_a_quick_call_is_answered_while_slow_ones_run_beside_it(overlapping, gate):
    async with overlapping.connect() as python:
        slow = [await held(overlapping, python, gate) for _ in range(3)]
        assert await python.call("echo", 1) == 1
        assert not any(task.done() for task in slow)
        gate.open(3)
        assert await asyncio.gather(*slow) == [gate.path] * 3


async def test_an_expired_waiting_call_never_runs_beside_others_either(overlapping, gate):
    async with overlapping.connect() as python:
        slow = [await held(overlapping, python, gate) for _ in range(4)]
        late = [python.call("note", number, timeout=0.1) for number in range(10)]
        for error in await asyncio.gather(*late, return_exceptions=True):
            assert isinstance(error, CallTimeout)
            assert seconds_in(error, "the call was still waiting") >= 0.1
        gate.open(4)
        assert await asyncio.gather(*slow) == [gate.path] * 4
        assert await python.call("ran") == []


async def test_answers_of_overlapping_calls_go_to_their_own_callers(overlapping):
    async with overlapping.connect() as python:
        numbers = list(range(500))
        assert await asyncio.gather(*(python.call("echo", n) for n in numbers)) == numbers


HOLDS_THE_INTERPRETER = """
    import re

    def handle(command, arg):
        if arg == "hang":
            re.match(r"(a|a)*$", "a" * 60 + "b")  # in C, and for longer than anybody waits
        return arg
"""


async def test_what_was_finished_is_answered_when_the_call_behind_it_holds_the_interpreter(
    start_provider,
):
    provider = start_provider(HOLDS_THE_INTERPRETER)
    async with provider.connect() as python:
        for number in range(20):  # so that the operation counts as quick
            assert await python.call("echo", number) == number
        calls = [python.call("echo", n, timeout=2) for n in (*range(60), "hang")]
        *finished, hung = await asyncio.gather(*calls, return_exceptions=True)
        assert finished == list(range(60))
        assert isinstance(hung, CallTimeout)
        assert await python.call("echo", "on") == "on"
