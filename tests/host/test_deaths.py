"""How deaths of workers are told, and when there is no hope."""

from __future__ import annotations

import asyncio
import signal

import pytest

from provider.errors import WorkerLost
from provider.host.deaths import Deaths, obituary
from provider.host.fleet import FleetOptions

DIES = """
    import os, signal, sys, threading, time
    HERE = os.path.dirname(os.path.abspath(__file__))
    if os.path.exists(os.path.join(HERE, "doomed")):
        print("no licence", file=sys.stderr)
        threading.Timer(0.01, os._exit, (9,)).start()
    def handle(command, arg):
        if command == "segv":
            print("into the void", file=sys.stderr, flush=True)
            signal.raise_signal(signal.SIGSEGV)
        if command == "exit":
            os._exit(arg)
        return arg
"""


async def test_a_death_is_told_with_its_cause_its_words_and_its_call(house):
    await house.start(DIES)
    with pytest.raises(WorkerLost):
        await house.call("segv", id="order 7")
    told = await house.events.until("worker_lost")
    assert told["cause"] == "signal"
    assert told["exit"] == "SIGSEGV"
    assert (told["operation"], told["request_id"]) == ("segv", "order 7")
    assert told["last_words"][-1] == "into the void"
    (kept,) = house.fleet.deaths.recent
    assert {key: kept[key] for key in ("worker", "exit")} == {
        "worker": told["worker"],
        "exit": "SIGSEGV",
    }
    assert house.fleet.deaths.restarts == {"signal": 1}


async def test_causes_are_told_apart(house):
    await house.start(DIES)
    for cause in ("exit", "signal"):
        assert await house.call("echo", 1) == 1
        if cause == "exit":
            with pytest.raises(WorkerLost):
                await house.call("exit", 4)
        else:
            house.kill_worker(signal.SIGTERM)
        told = await house.events.until("worker_lost", cause=cause)
        assert told["exit"] == {"exit": 4, "signal": "SIGTERM"}[cause]
        await house.events.until("worker_ready", 2 if cause == "exit" else 3)
    assert house.fleet.deaths.restarts == {"exit": 1, "signal": 1}


async def test_workers_that_die_without_having_served_are_a_crash_loop(house):
    await house.start(DIES, fleet=FleetOptions(crash_limit=3))
    house.save("", "doomed")
    house.kill_worker()
    told = await house.events.until("crash_loop")
    assert told["deaths"] == 3
    assert told["level"] == "critical"
    (why,) = house.hopeless
    assert "died 3 times in a row" in why
    assert "PROVIDER_CRASH_LIMIT" in why


async def test_calls_that_end_their_worker_are_no_crash_loop(house):
    await house.start(DIES, fleet=FleetOptions(crash_limit=2))
    for number in range(4):
        with pytest.raises(WorkerLost):
            await house.call("exit", number)
    assert not house.hopeless


async def test_code_that_does_not_load_is_waited_for_where_it_is_watched(house):
    await house.start(DIES, fleet=FleetOptions(crash_limit=2))
    house.slot._pause = 0.001
    house.save("1 / 0")
    house.kill_worker()
    while house.slot._pause < 0.05:
        await asyncio.sleep(0.01)
    assert not house.hopeless


async def test_code_that_does_not_load_is_hopeless_where_nobody_will_save_it(house):
    await house.start(DIES, fleet=FleetOptions(crash_limit=3), watching=False)
    house.slot._pause = 0.001
    house.save("1 / 0")
    house.kill_worker()
    told = await house.events.until("crash_loop")
    assert "ZeroDivisionError" in told["account"]


def test_callers_are_told_the_last_words_there_were():
    assert obituary("it died", []) == "it died"
    assert obituary("it died", list("abcd")) == "it died; its last words: b | c | d"


def test_hope_is_lost_once():
    lost = []
    deaths = Deaths(2, lost.append)
    for _ in range(5):
        deaths.count("it died")
    assert len(lost) == 1


async def test_callers_whose_call_was_answered_end_no_provider(house):
    await house.start(
        """
        import os, threading
        def handle(command, arg):
            threading.Timer(0.05, os._exit, (3,)).start()
        """,
        fleet=FleetOptions(crash_limit=3),
    )
    for count in range(1, 5):
        await house.call("leave")
        await house.events.until("worker_ready", count + 1)
    assert not house.hopeless


async def test_a_worker_that_has_lived_ends_the_row(house):
    await house.start(DIES, fleet=FleetOptions(crash_limit=2))
    for count in range(2, 6):
        assert await house.call("echo", 1) == 1
        assert await house.call("echo", 2) == 2
        house.kill_worker()
        await house.events.until("worker_ready", count)
    assert not house.hopeless
