"""Several workers: who gets which call, and what holds for all of them."""

from __future__ import annotations

import asyncio
import os

import pytest

from provider.errors import HandlerError, StartError, WorkerLost
from provider.host.fleet import FleetOptions
from provider.host.life import State
from provider.host.slot import AHEAD_CALLS
from tests.conftest import PATIENCE

TWO = FleetOptions(workers=2)

PROGRAM = """
    import os, time
    HERE = os.path.dirname(os.path.abspath(__file__))
    NAME = "old"
    def handle(command, arg):
        if command == "gate":
            print("at the gate", arg)
            with open(os.path.join(HERE, "gate"), "rb", buffering=0) as gate:
                gate.read(1)
            return os.getpid()
        if command == "exit":
            os._exit(arg)
        if command == "work":
            end = time.monotonic() + arg
            while time.monotonic() < end:
                pass
        return os.getpid() if command != "name" else NAME
"""


def pids(house):
    return {slot.link.pid for slot in house.fleet.slots if slot.link is not None}


async def test_two_calls_run_at_once_each_in_a_worker_of_its_own(house):
    await house.start(PROGRAM, fleet=TWO)
    assert len(pids(house)) == house.fleet.concurrency == 2
    first, second = await house.at_the_gate("a"), await house.at_the_gate("b")
    house.open_gate()
    house.open_gate()
    assert {await first, await second} == pids(house)


async def test_a_call_that_takes_long_keeps_no_other_one_waiting(house):
    await house.start(PROGRAM, fleet=TWO)
    running = await house.at_the_gate("a")
    quick = [house.submit("who") for _ in range(3 * AHEAD_CALLS)]
    (other,) = set(await asyncio.gather(*quick))
    house.open_gate()
    assert {await running, other} == pids(house)


async def test_each_worker_runs_one_call_at_a_time_and_all_have_work(house):
    await house.start(PROGRAM, fleet=TWO)
    answered = await asyncio.gather(*(house.submit("work", 0.01) for _ in range(40)))
    for pid in pids(house):
        assert answered.count(pid) >= 10


async def test_what_is_handed_over_ahead_is_the_work_of_a_moment(house):
    await house.start(PROGRAM, fleet=TWO)
    await asyncio.gather(*(house.submit("work", 0.02) for _ in range(10)))
    calls = [house.submit("work", 0.02) for _ in range(50)]
    await house.turn()
    in_hand = [len(slot.link.calls) for slot in house.fleet.slots]
    assert sum(in_hand) <= 6
    assert min(in_hand) >= 1
    await asyncio.gather(*calls)


async def test_who_is_not_known_yet_is_given_little(house):
    await house.start(PROGRAM, fleet=TWO)
    calls = [house.submit("work", 0.05) for _ in range(50)]
    await house.turn()
    assert [len(slot.link.calls) for slot in house.fleet.slots] == [2, 2]
    assert len(await asyncio.gather(*calls)) == 50


async def test_the_calls_of_one_that_dies_go_to_the_other(house):
    await house.start(PROGRAM, fleet=TWO)
    running = await house.at_the_gate("a")
    (dying,) = [
        slot.link.pid
        for slot in house.fleet.slots
        if any(c.begun for c in slot.link.calls.values())
    ]
    (other,) = pids(house) - {dying}
    calls = [house.submit("who") for _ in range(100)]
    os.kill(dying, 9)
    with pytest.raises(WorkerLost):
        await running
    assert house.fleet.ready
    assert other in set(await asyncio.gather(*calls))
    await house.events.until("worker_ready", 3)
    assert len(pids(house)) == 2


async def test_a_save_is_loaded_by_all_before_they_run_another_call(house):
    await house.start(PROGRAM, fleet=TWO)
    running = [await house.at_the_gate(name) for name in "ab"]
    house.save(PROGRAM.replace('"old"', '"new"'))
    after = [house.submit("name") for _ in range(20)]
    await house.turn()
    assert [slot.link.state for slot in house.fleet.slots] == [State.RELOADING] * 2
    house.open_gate()
    house.open_gate()
    await asyncio.gather(*running)
    assert set(await asyncio.gather(*after)) == {"new"}
    assert house.fleet.reloads == 1
    assert len(house.events.of("reloaded")) == 1


async def test_a_forced_reload_is_answered_when_all_have_done_it(house):
    await house.start(PROGRAM, fleet=TWO)
    running = await house.at_the_gate("a")
    reload = house.submit("reload")
    await house.turn()
    await house.call("who")
    assert not reload.answers
    house.open_gate()
    await running
    assert await reload is True
    house.save("1 / 0")
    with pytest.raises(HandlerError, match=r"the old code serves on: .*ZeroDivisionError"):
        await house.call("reload")
    assert await house.call("name") == "old"


async def test_a_forced_reload_survives_the_death_of_one(house):
    await house.start(PROGRAM, fleet=TWO)
    running = await house.at_the_gate("a")
    (busy,) = [slot for slot in house.fleet.slots if slot.link.calls]
    reload = house.submit("reload")
    await house.turn()
    os.kill(busy.link.pid, 9)
    with pytest.raises(WorkerLost):
        await running
    assert await reload is True
    assert not house.fleet.outdated


async def test_one_that_starts_while_the_others_reload_does_not_serve_older_code(house):
    late = "if os.path.exists(os.path.join(HERE, 'slow')): print('has read'), time.sleep(1)"
    source = PROGRAM.replace('NAME = "old"', f'NAME = "old"\n    {late}')
    await house.start(source, fleet=TWO)
    house.save("", "slow")
    dying = house.fleet.slots[1].link.pid
    os.kill(dying, 9)
    await house.events.until("worker_lost", worker=dying)
    await house.events.until("printed", text="has read")
    (house.folder / "slow").unlink()
    house.save(source.replace('"old"', '"new"'))
    assert await house.call("name") == "new"
    await house.events.until("worker_ready", 3)
    names = await asyncio.gather(*(house.submit("name") for _ in range(50)))
    assert set(names) == {"new"}
    running = [await house.at_the_gate(name) for name in "ab"]  # both are asked
    house.open_gate()
    house.open_gate()
    await asyncio.gather(*running)


async def test_one_that_starts_while_a_helper_is_reloaded_loads_it_afterwards(house):
    source = """
        import os, time
        import helper
        HERE = os.path.dirname(os.path.abspath(__file__))
        if os.path.exists(os.path.join(HERE, "slow")):
            print("has read", flush=True)
            time.sleep(1)
        def handle(command, arg):
            time.sleep(0.02)
            return os.getpid(), helper.NAME
        """
    house.save("NAME = 'old'", "helper.py")
    await house.start(source, fleet=TWO)
    house.save("", "slow")
    dying = house.fleet.slots[1].link.pid
    os.kill(dying, 9)
    await house.events.until("worker_lost", worker=dying)
    await house.events.until("printed", text="has read")
    house.save("NAME = 'newer'", "helper.py")
    house.fleet.files_changed()
    assert (await house.call("name"))[1] == "newer"
    await house.events.until("worker_ready", 3)
    answers = await asyncio.gather(*(house.submit("name") for _ in range(20)))
    assert {pid for pid, _ in answers} == pids(house)
    assert {name for _, name in answers} == {"newer"}


async def test_one_that_starts_while_fresh_ones_take_over_is_followed_by_another(house):
    source = """
        import os, time
        import helper
        HERE = os.path.dirname(os.path.abspath(__file__))
        if os.path.exists(os.path.join(HERE, "slow")):
            print("has read", flush=True)
            time.sleep(2)
        def handle(command, arg):
            time.sleep(0.02)
            return os.getpid(), helper.NAME
        """
    house.save("NAME = 'old'", "helper.py")
    await house.start(source, fleet=FleetOptions(workers=2, fresh=True))
    house.save("", "slow")
    dying = house.fleet.slots[1].link.pid
    os.kill(dying, 9)
    await house.events.until("printed", text="has read")
    (house.folder / "slow").unlink()
    house.save("NAME = 'newer'", "helper.py")
    house.fleet.files_changed()
    await house.events.until("worker_ready", 4)  # of the other place, and late of this one
    async with asyncio.timeout(PATIENCE):
        names = set()
        while names != {"newer"} or len(pids(house)) < 2:
            names = {name for _, name in await asyncio.gather(*map(house.submit, ["name"] * 20))}


async def test_where_one_cannot_be_started_none_is_left_starting(house, processes):
    source = """
        import os, time
        HERE = os.path.dirname(os.path.abspath(__file__))
        for number in range(3):
            try:
                os.close(os.open(os.path.join(HERE, str(number)), os.O_CREAT | os.O_EXCL))
                break
            except FileExistsError:
                pass
        if number == 1:
            time.sleep(0.5)
            raise ValueError("no")
        if number == 2:
            print("starting", os.getpid(), flush=True)
            time.sleep(2)
        def handle(command, arg):
            return 1
        """
    with pytest.raises(StartError, match="no"):
        await house.start(source, fleet=FleetOptions(workers=3))
    told = await house.events.until("printed")
    assert await asyncio.to_thread(processes.until_gone, int(told["text"].split()[1]), 1.0)


async def test_one_that_read_newer_code_tells_the_others(house):
    await house.start(PROGRAM, fleet=TWO)
    house.save(PROGRAM.replace('"old"', '"newer"'))
    os.kill(house.fleet.slots[1].link.pid, 9)
    await house.events.until("worker_ready", 3)
    running = await house.at_the_gate("a")  # whoever it is, the other one answers
    assert await house.call("name") == "newer"
    house.open_gate()
    await running
    await asyncio.gather(*(house.submit("work", 0.02) for _ in range(4)))
    names = await asyncio.gather(*(house.submit("name") for _ in range(20)))
    assert set(names) == {"newer"}


async def test_a_place_that_cannot_be_filled_is_not_the_end_of_the_other(house):
    await house.start(PROGRAM, fleet=TWO, watching=False)
    house.save("1 / 0")
    os.kill(house.fleet.slots[0].link.pid, 9)
    await house.events.until("worker_not_started")
    assert house.fleet.broken is None
    assert await house.call("name") == "old"


async def test_one_healthy_worker_is_enough_and_trouble_is_told(house):
    await house.start(
        """
        import os
        HERE = os.path.dirname(os.path.abspath(__file__))
        from provider.dispatch import health
        @health
        def well():
            if os.path.exists(os.path.join(HERE, str(os.getpid()))):
                raise RuntimeError("no disk")
        def handle(command, arg): return os.getpid()
        """,
        fleet=TWO,
    )
    await house.fleet.ask_health()
    assert house.fleet.healthy
    first, second = (slot.link.pid for slot in house.fleet.slots)
    for pid, healthy in ((second, True), (first, False)):
        house.save("", str(pid))
        for slot in house.fleet.slots:
            slot.health.renewed()
        await house.fleet.ask_health()
        assert house.fleet.healthy is healthy
        assert "no disk" in house.fleet.health.trouble
