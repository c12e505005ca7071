"""Who comes too many is told so at once, who comes too late is told why; order and owners hold."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from provider.client import NoProvider
from provider.errors import CallError, CallTimeout, Overloaded, TooLarge, Unavailable
from tests.end_to_end.conftest import asked, told

NOTING = """
    import threading
    import time

    ran = []
    lock = threading.Lock()
    together = threading.Barrier(4, timeout=10)
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
        elif command == "sleep":
            print("sleeping")
            time.sleep(arg)
        elif command == "meet":
            together.wait()
        elif command == "counted":
            counted(arg)
        elif command == "most":
            return most
        return arg
"""


async def sleeper(provider, python, seconds: float, **options) -> asyncio.Task:
    """A call that sleeps, once it has begun."""
    begun = len(provider.events("printed", text="sleeping"))
    task = asyncio.create_task(python.call("sleep", seconds, **options))
    await asyncio.to_thread(provider.wait_for, "printed", begun + 1, text="sleeping")
    return task


# --- too many -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def narrow(serve):
    """A provider with room for few calls and few bytes."""
    return serve(NOTING, PROVIDER_QUEUE_CALLS="5", PROVIDER_QUEUE_BYTES="10KiB")


async def test_a_full_queue_says_so_at_once_while_accepted_calls_are_answered(narrow):
    async with narrow.connect() as python:
        first = await sleeper(narrow, python, 0.4)
        began = time.monotonic()
        more = [asyncio.create_task(python.call("note", number)) for number in range(14)]
        done, _ = await asyncio.wait(more[4:])
        assert time.monotonic() - began < 0.3
        assert not first.done()
        assert not any(task.done() for task in more[:4])
        for task in done:
            error = task.exception()
            assert isinstance(error, Overloaded)
            assert (error.kind, error.code) == ("overloaded", 429)
            assert error.message == "the queue is full: 5 calls of 5 (PROVIDER_QUEUE_CALLS)"
            assert 10 <= error.retry_after_ms <= 5000
        assert await first == 0.4
        assert await asyncio.gather(*more[:4]) == [0, 1, 2, 3]
        assert await python.call("ran") == [0, 1, 2, 3]
        status = await python.status()
        assert status["errors"]["overloaded"] == 10
        assert status["open"] == 0
        assert status["accepted"] == status["answered"]


async def test_the_queue_is_full_of_bytes_too(narrow):
    async with narrow.connect() as python:
        first = await sleeper(narrow, python, 0.3)
        fitting = asyncio.create_task(python.call("note", "x" * 9000))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match=r"bytes of 10240 \(PROVIDER_QUEUE_BYTES\)") as caught:
            await python.call("note", "y" * 3000)
        assert caught.value.retry_after_ms
        with pytest.raises(TooLarge, match="20003 bytes; the whole queue holds 10240"):
            await python.call("note", "z" * 20000)
        assert await python.call("note", "small") == "small"
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
def patient(serve):
    """A provider whose callers have a second, or half of one if they do not say."""
    return serve(NOTING, PROVIDER_CALL_TIMEOUT="500ms", PROVIDER_MAX_CALL_TIMEOUT="1s")


@pytest.fixture(autouse=True)
async def settled(request):
    """The test begins with a worker that is up, and whose last call has ended."""
    if "patient" not in request.fixturenames:
        return None
    async with request.getfixturevalue("patient").connect() as python:
        while True:
            with contextlib.suppress(CallTimeout):
                return await python.call("ran", timeout=1)


async def test_a_deadline_that_passes_while_waiting_says_so_and_the_call_never_runs(patient):
    async with patient.connect() as python:
        first = await sleeper(patient, python, 0.4, timeout=1)
        began = time.monotonic()
        late = [python.call("note", number, timeout=0.1) for number in range(20)]
        answers = await asyncio.gather(*late, return_exceptions=True)
        assert 0.1 <= time.monotonic() - began < 0.35
        assert not first.done()
        for error in answers:
            assert isinstance(error, CallTimeout)
            assert (error.kind, error.code) == ("timeout", 504)
            assert error.message.startswith("the call was still waiting after 0.1")
            assert error.message.endswith("s; it was not run")
        assert await first == 0.4
        assert await python.call("note", "after") == "after"
        assert await python.call("ran") == ["after"]
    assert not patient.events("worker_lost")


@pytest.mark.parametrize(
    ("fields", "headers", "seconds"),
    [
        ({}, {}, 0.5),
        ({"timeout_ms": 200}, {}, 0.2),
        ({}, {"Provider-Timeout-Ms": "200"}, 0.2),
        ({"timeout_ms": 200}, {"Provider-Timeout-Ms": "60000"}, 0.2),
        ({"timeout_ms": 60_000}, {}, 1.0),
        ({"timeout_ms": 2**53}, {}, 1.0),
    ],
)
async def test_the_deadline_is_the_callers_or_the_providers(
    patient, wire, fields, headers, seconds
):
    async with wire(patient) as w:
        began = time.monotonic()
        message = await w.connection.request(
            w.native, asked("sleep", 30, **fields), timeout=10, headers=headers or None
        )
        assert seconds <= time.monotonic() - began < seconds + 0.4
    assert told(message)["error"]["message"].startswith("the handler was still running after ")


async def test_a_deadline_holds_by_subject_in_both_encodings(patient):
    async with patient.connect() as python:
        for content_type, body in (("application/json", b"30"), ("application/cbor", b"\x18\x1e")):
            with pytest.raises(CallTimeout, match=r"still (running|waiting) after 0\.2"):
                await python.call_bytes("sleep", body, content_type=content_type, timeout=0.2)


async def test_nobody_is_kept_waiting_by_a_burst_of_overrunning_calls(patient):
    async with patient.connect() as python:
        began = time.monotonic()
        hanging = [python.call("sleep", 30, timeout=0.1 * n) for n in range(1, 5)]
        errors = await asyncio.gather(*hanging, return_exceptions=True)
        assert all(isinstance(error, CallTimeout) for error in errors)
        assert time.monotonic() - began < 1.0
        assert await python.call("note", 1, timeout=1) == 1


# --- order, owners, and those behind a late one --------------------------------------------------


@pytest.fixture(scope="module")
def plain(serve):
    return serve(NOTING)


async def test_a_deadline_that_passes_while_running_says_so_and_the_others_go_on(plain):
    async with plain.connect() as python:
        lost = len(plain.events("worker_lost"))
        first = await sleeper(plain, python, 30, timeout=0.3)
        others = [asyncio.create_task(python.call("note", n)) for n in range(5)]
        with pytest.raises(CallTimeout, match=r"the handler was still running after 0\.3"):
            await first
        assert await asyncio.gather(*others) == [0, 1, 2, 3, 4]
        assert await python.call("ran") == [0, 1, 2, 3, 4]
    line = plain.wait_for("worker_lost", lost + 1)
    assert line["account"].endswith("sleep ran past its deadline")
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


async def test_calls_accepted_before_the_stop_are_answered_and_later_ones_find_nobody(serve):
    provider = serve(NOTING)
    async with provider.connect() as python:
        first = await sleeper(provider, python, 0.3)
        waiting = [asyncio.create_task(python.call("note", number)) for number in range(100)]
        await python.status()  # comes back when they have arrived
        provider.process.terminate()
        await asyncio.to_thread(provider.wait_for, "draining")
        assert await first == 0.3
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


async def test_a_quick_call_is_answered_while_slow_ones_run_beside_it(overlapping):
    async with overlapping.connect() as python:
        slow = [await sleeper(overlapping, python, 0.5) for _ in range(3)]
        assert await python.call("echo", 1) == 1
        assert not any(task.done() for task in slow)
        assert await asyncio.gather(*slow) == [0.5] * 3


async def test_an_expired_waiting_call_never_runs_beside_others_either(overlapping):
    async with overlapping.connect() as python:
        slow = [await sleeper(overlapping, python, 0.5) for _ in range(4)]
        late = [python.call("note", number, timeout=0.1) for number in range(10)]
        for error in await asyncio.gather(*late, return_exceptions=True):
            assert isinstance(error, CallError)
            assert error.message.startswith("the call was still waiting after 0.1")
        assert await asyncio.gather(*slow) == [0.5] * 4
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
            assert await python.call("echo", number, timeout=5) == number
        calls = [python.call("echo", n, timeout=0.5) for n in (*range(60), "hang")]
        *finished, hung = await asyncio.gather(*calls, return_exceptions=True)
        assert finished == list(range(60))
        assert isinstance(hung, CallTimeout)
        assert await python.call("echo", "on", timeout=10) == "on"
