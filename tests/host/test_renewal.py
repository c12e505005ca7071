"""New before old: fresh workers in the place of others that still serve."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal

import pytest

from provider.errors import CallTimeout, HandlerError, Unavailable, WorkerLost
from provider.host import renewal
from provider.host.fleet import FleetOptions
from provider.host.life import State
from provider.host.renewal import RecycleOptions
from tests.conftest import PATIENCE

FRESH = FleetOptions(fresh=True)


def program(name, *more):
    lines = "\n    ".join(more)
    return f"""
    import os, sys, time
    HERE = os.path.dirname(os.path.abspath(__file__))
    {lines}
    def handle(command, arg):
        if command == "gate":
            print("at the gate", arg)
            with open(os.path.join(HERE, "gate"), "rb", buffering=0) as gate:
                gate.read(1)
        if command == "exit":
            os._exit(arg)
        return os.getpid() if command == "who" else "{name}"
    """


async def test_newer_code_gets_a_fresh_process_and_the_old_one_leaves(house, processes):
    await house.start(program("old"), fleet=FRESH)
    old = await house.call("who")
    house.save(program("new"))
    assert await house.call("reload") is True
    assert await house.call("name") == "new"
    assert await house.call("who") != old
    assert processes.until_gone(old)
    while len(house.fleet.links) > 1:
        await asyncio.sleep(0.01)
    assert house.fleet.reloads == 1
    assert house.fleet.deaths.restarts == {"reload": 1}
    assert not house.events.of("worker_lost")


async def test_the_old_code_serves_until_the_new_is_ready(house):
    await house.start(program("old"), fleet=FRESH)
    wait = "os.close(os.open(os.path.join(HERE, 'gate'), os.O_RDONLY))"
    os.mkfifo(house.folder / "gate")
    house.save(program("new", wait))
    for _ in range(5):
        assert await house.call("name") == "old"
    while not house.slot.coming:
        await asyncio.sleep(0.001)
    assert await house.call("name") == "old"
    while True:  # until it stands at the gate
        try:
            os.close(os.open(house.folder / "gate", os.O_WRONLY | os.O_NONBLOCK))
            break
        except OSError:
            await asyncio.sleep(0.001)
    await house.events.until("worker_ready", 2)
    assert await house.call("name") == "new"


async def test_the_old_worker_finishes_what_it_has_before_the_new_one_begins(house):
    await house.start(program("old"), fleet=FRESH)
    running = await house.at_the_gate("a")
    behind = [house.submit("name") for _ in range(5)]
    await house.turn()
    house.save(program("new"))
    reload = house.submit("reload")
    assert await reload is True
    assert [link.state for link in house.fleet.links] == [State.DRAINING, State.READY]
    after = house.submit("name")
    await house.turn()
    assert not house.fleet.link.calls  # one call at a time, also now
    assert house.fleet.ready
    house.open_gate()
    assert await running == "old"
    assert await asyncio.gather(*behind) == ["old"] * 5
    assert await after == "new"


async def test_the_next_one_waits_until_the_one_before_has_left(house):
    await house.start(program("old"), fleet=FRESH)
    running = await house.at_the_gate("a")
    assert await house.call("reload") is True
    second = house.submit("reload")
    await house.turn()
    third = house.submit("name")
    await asyncio.sleep(0.5)
    assert not second.answers
    assert len(house.fleet.links) == 2
    house.open_gate()
    assert await running == await third == "old"
    assert await second is True


async def test_one_that_takes_its_time_to_leave_is_waited_for_by_the_next(house, processes):
    source = program("it").replace(
        "import os, sys, time", "import os, sys, time, provider.dispatch"
    )
    source += """
    @provider.dispatch.shutdown
    def slowly():
        time.sleep(1)
    """
    await house.start(source, fleet=FRESH)
    first = await house.call("who")
    assert await house.call("reload") is True
    assert processes.alive(first)
    assert await house.call("reload") is True
    assert not processes.alive(first)


async def test_what_is_kept_of_results_is_forgotten_after_the_last_of_the_old_worker(house):
    source = (
        program("old")
        + """
    import provider.dispatch
    @provider.dispatch.health
    def well():
        return True
    """
    )
    await house.start(source, fleet=FRESH)
    await house.fleet.ask_health()  # something was heard while nothing ran
    running = await house.at_the_gate("a")
    renewed = []
    house.fleet.on_renewed = lambda: renewed.append(bool(running.answers))
    assert await house.call("reload") is True
    assert renewed == [False]
    house.open_gate()
    await running
    assert await house.call("name") == "old"
    assert renewed == [False, True]


async def test_what_the_old_worker_said_of_its_health_was_of_itself(house):
    source = """
        import os
        from provider.dispatch import health
        HERE = os.path.dirname(os.path.abspath(__file__))
        ILL = os.path.exists(os.path.join(HERE, "ill"))
        @health
        def well():
            return not ILL
        def handle(command, arg): return ILL
        """
    house.save("", "ill")
    await house.start(source, fleet=FRESH)
    await house.fleet.ask_health()
    assert not house.fleet.healthy
    (house.folder / "ill").unlink()
    assert await house.call("reload") is True
    assert house.fleet.healthy


async def test_calls_the_old_worker_never_began_go_to_the_new_one_when_it_dies(house):
    await house.start(program("old"), fleet=FRESH)
    running = await house.at_the_gate("a")
    behind = [house.submit("name") for _ in range(5)]
    await house.turn()
    old = house.worker
    house.save(program("new"))
    await house.call("reload")
    os.kill(old, 9)
    with pytest.raises(WorkerLost):
        await running
    assert await asyncio.gather(*behind) == ["new"] * 5
    assert house.fleet.deaths.restarts == {"reload": 1}


async def test_code_that_does_not_load_leaves_the_old_one_and_is_told(house):
    await house.start(program("old"), fleet=FRESH)
    old = await house.call("who")
    house.save("1 / 0")
    with pytest.raises(HandlerError, match=r"the old code serves on: .*ZeroDivisionError"):
        await house.call("reload")
    assert "ZeroDivisionError" in house.fleet.reload_error
    assert await house.call("who") == old
    house.save("import os; os._exit(3)")
    with pytest.raises(HandlerError, match="exit code 3"):
        await house.call("reload")
    assert await house.call("who") == old
    house.save(program("new"))
    assert await house.call("reload") is True
    assert house.fleet.reload_error is None
    assert await house.call("name") == "new"


async def test_a_save_without_a_change_starts_nothing(house):
    await house.start(program("old"), fleet=FRESH)
    old = await house.call("who")
    os.utime(house.file)
    house.save(program("old"))
    for _ in range(5):
        await house.call("who")
    assert not house.fleet.outdated
    assert await house.call("who") == old
    assert house.fleet.reloads == 0


async def test_a_save_is_loaded_by_itself(house):
    await house.start(program("old"), fleet=FRESH, watch=True)
    house.save(program("new"))
    await house.events.until("reloaded")
    assert await house.call("name") == "new"


async def test_a_save_while_another_loads_is_loaded_too(house):
    await house.start(program("old"), fleet=FRESH)
    house.save(program("between", "time.sleep(0.3)"))
    first = house.submit("reload")
    while not house.slot.coming:
        await asyncio.sleep(0.001)
    house.save(program("new"))
    await first
    async with asyncio.timeout(30):
        while await house.call("name") != "new":
            pass


async def test_several_workers_are_replaced_one_after_the_other(house):
    await house.start(program("old"), fleet=FleetOptions(workers=2, fresh=True))
    house.save(program("new"))
    assert await house.call("reload") is True
    assert set(await asyncio.gather(*(house.submit("name") for _ in range(20)))) == {"new"}
    assert house.fleet.deaths.restarts == {"reload": 2}
    assert house.fleet.reloads == 1


async def test_after_so_many_calls_another_worker_takes_over_and_no_call_is_lost(house):
    options = FleetOptions(recycle=RecycleOptions(calls=100))
    await house.start(program("it"), fleet=options)
    async with asyncio.timeout(PATIENCE):
        while len(house.events.of("worker_recycled")) < 2:
            await asyncio.gather(*(house.submit("name") for _ in range(50)))
    told = await house.events.until("worker_recycled")
    assert told["calls"] >= 90
    pids = [event["worker"] for event in house.events.of("worker_recycled")]
    assert len(pids) == len(set(pids))
    await house.events.until("worker_ready", 2)
    assert house.fleet.deaths.restarts["recycled"] >= 1
    assert not house.events.of("worker_lost")


async def test_with_so_much_memory_another_worker_takes_over(house, monkeypatch):
    monkeypatch.setattr(renewal, "LOOK", 0.05)
    hoard = "hoard = []"
    source = program("it", hoard).replace(
        'if command == "exit":',
        'if command == "fill": hoard.append(b"x" * arg)\n        if command == "exit":',
    )
    options = FleetOptions(recycle=RecycleOptions(memory=150_000_000))
    await house.start(source, fleet=options)
    old = await house.call("who")
    await house.call("fill", 200_000_000)
    told = await house.events.until("worker_recycled")
    assert told["memory_bytes"] > 150_000_000
    await house.events.until("worker_ready", 2)
    assert await house.call("who") != old
    assert house.fleet.deaths.restarts == {"recycled": 1}


async def test_one_that_cannot_be_recycled_serves_on_and_is_told_once(house):
    options = FleetOptions(recycle=RecycleOptions(calls=10))
    await house.start(program("it"), fleet=options, watching=False)
    house.save("1 / 0")
    for _ in range(30):
        assert await house.call("name") == "it"
    told = await house.events.until("recycling_failed")
    assert "ZeroDivisionError" in told["error"]
    for _ in range(30):
        assert await house.call("name") == "it"
    assert len(house.events.of("recycling_failed")) == 1


async def test_workers_are_recycled_a_little_apart():
    marks = {renewal._sooner(1000) for _ in range(100)}
    assert min(marks) >= 900
    assert max(marks) <= 1000
    assert len(marks) > 20
    assert renewal._sooner(1) == 1


async def test_one_that_claims_nonsense_does_not_take_over(house, fake_python):
    await house.start(program("old"), fleet=FRESH)
    kept = house.slot.setup
    says = (
        "frame(FrameType.HELLO, 0, {'version': VERSION}); frame(FrameType.READY, 0, {'files': 5})"
    )
    house.slot.setup = dataclasses.replace(kept, python=fake_python(f"{says}; time.sleep(3600)"))
    with pytest.raises(HandlerError, match="did not say what it has loaded: TypeError"):
        await house.call("reload")
    assert [link.state for link in house.fleet.links] == [State.READY]
    house.slot.setup = kept
    assert await house.call("name") == "old"
    assert await house.call("reload") is True


async def test_stopping_while_another_worker_waits_to_take_over_leaves_none(house, processes):
    options = FleetOptions(recycle=RecycleOptions(calls=1))
    tells = "print('loaded', os.getpid())"
    await house.start(program("it", tells), fleet=options)
    running = await house.at_the_gate("a")
    house.save(program("new", tells))
    waiting = house.submit("name")  # behind a reload, which waits for the call at the gate
    await house.turn()
    while not (told := [e for e in house.events.of("printed") if "loaded" in e["text"]])[1:]:
        house.events._news.clear()
        await asyncio.wait_for(house.events._news.wait(), 30)
    await asyncio.sleep(0.1)
    assert house.slot.coming == 1
    house.path.abandon("the provider is stopping")
    await house.fleet.stop(0.0)
    for call in (running, waiting):
        with pytest.raises(Unavailable):
            await call
    for event in told:
        assert processes.until_gone(int(event["text"].split()[1]))


async def test_one_that_stands_still_before_it_has_left_is_ended(house):
    await house.start(program("old"), fleet=FRESH)
    assert await house.call("name") == "old"
    house.kill_worker(signal.SIGSTOP)
    stuck = house.submit("name", timeout=3)
    await house.turn()
    assert await house.call("reload") is True
    after = house.submit("name")
    with pytest.raises(CallTimeout, match="still waiting"):
        await stuck
    assert await after == "old"


async def test_one_that_dies_before_the_old_one_has_left_is_replaced_once(house, processes):
    slow = "if os.path.exists(os.path.join(HERE, 'slow')): print('has read'), time.sleep(1)"
    await house.start(program("old", slow), fleet=FRESH)
    old = house.worker
    running = await house.at_the_gate("a")
    assert await house.call("reload") is True
    house.save("", "slow")
    house.kill_worker()
    await house.events.until("printed", text="has read")
    house.open_gate()
    assert await running == "old"
    assert await asyncio.to_thread(processes.until_gone, old)
    await house.events.until("worker_ready", 3)
    while len(house.fleet.links) > 1:
        await asyncio.sleep(0.01)
    assert await house.call("name") == "old"
    assert house.slot.coming == 0
    assert house.fleet.deaths.restarts == {"reload": 1, "signal": 1}


TELLS = "print('loaded', os.getpid())"


async def waiting_for_a_reload(house, source):
    """A worker that has loaded, and may take over when the old one has done a reload.

    Returns its process id, a call that runs in the old one, and one behind the reload.
    """
    await house.start(source, fleet=FleetOptions(recycle=RecycleOptions(calls=1)))
    running = await house.at_the_gate("a")
    house.file.write_text(house.file.read_text() + "\n# newer\n")
    behind = house.submit("name")
    await house.turn()
    told = await house.events.until("printed", count=3)  # one of the gate
    await asyncio.sleep(0.2)  # it says so a moment later
    return int(told["text"].split()[1]), running, behind


async def test_one_that_dies_while_it_waits_for_its_turn_does_not_get_it(house, processes):
    pid, running, behind = await waiting_for_a_reload(house, program("it", TELLS))
    os.kill(pid, signal.SIGKILL)
    assert await asyncio.to_thread(processes.until_gone, pid)
    await asyncio.sleep(0.3)  # or it takes over, dies, and is replaced
    house.open_gate()
    assert await running == await behind == "it"
    assert await house.call("name") == "it"


async def test_what_is_saved_while_one_waits_for_its_turn_is_loaded_by_it(house):
    helped = program("it", TELLS, "import helper").replace('else "it"', "else helper.NAME")
    house.save("NAME = 'old'", "helper.py")
    _, running, behind = await waiting_for_a_reload(house, helped)
    house.save("NAME = 'newer'", "helper.py")
    house.fleet.files_changed()
    await house.turn()
    house.open_gate()
    await asyncio.gather(running, behind)
    await house.events.until("worker_ready", 2)
    for _ in range(3):
        assert await house.call("name") == "newer"


async def test_what_goes_wrong_with_a_fresh_worker_is_told_whatever_it_is(house):
    await house.start(program("old"), fleet=FRESH)
    kept = house.slot.setup
    house.slot.setup = dataclasses.replace(kept, title="x", path=("\udcff",))
    with pytest.raises(HandlerError, match="the old code serves on"):
        await house.call("reload")
    assert [link.state for link in house.fleet.links] == [State.READY]
    house.slot.setup = kept
    assert await house.call("reload") is True


async def test_once_that_is_stopped_nobody_is_recycled(house):
    await house.start(program("it"), fleet=FleetOptions(recycle=RecycleOptions(calls=1)))
    await house.fleet._renewals.stop()
    first = await house.call("who")
    for _ in range(5):
        assert await house.call("who") == first
    assert house.slot.coming == 0
