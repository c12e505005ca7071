"""Workers as they come and go, and what becomes of the calls meanwhile."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import time

import pytest

from provider.errors import HandlerError, Unavailable, WorkerLost
from provider.host.burst import Burst
from provider.host.fleet import FleetOptions
from provider.host.slot import AHEAD_BYTES, AHEAD_CALLS, FIRST_PAUSE, LONGEST_PAUSE, Slot
from tests.conftest import PATIENCE

OLD = "def handle(command, arg): return 'old'"
NEW = "def handle(command, arg): return 'new'"


def versioned(name):
    """A program that answers `gate` when let through, and everything else with its name."""
    return f"""
        import os
        HERE = os.path.dirname(os.path.abspath(__file__))
        with open(os.path.join(HERE, "loaded"), "a") as file:
            file.write("{name}\\n")
        def handle(command, arg):
            if command == "gate":
                print("at the gate", arg)
                with open(os.path.join(HERE, "gate"), "rb", buffering=0) as gate:
                    gate.read(1)
            if command == "exit":
                os._exit(arg)
            return "{name}"
    """


def loaded(house):
    return (house.folder / "loaded").read_text().split()


async def settle(house):
    """Until every reload that was asked for has ended."""
    await house.call("settle")
    await house.call("settle")


# --- order and death -----------------------------------------------------------------------------


async def test_calls_run_once_each_in_the_order_they_came(house):
    await house.start()
    asked = [house.submit("echo", number) for number in range(1000)]
    assert await asyncio.gather(*asked) == list(range(1000))
    assert house.ran == [f"echo {number}" for number in range(1000)]
    assert house.fleet.link.calls == {}
    assert house.fleet.link.bytes == 0


async def test_no_more_than_enough_is_handed_over(house):
    await house.start()
    running = await house.at_the_gate("a")
    small = [house.submit("echo", number) for number in range(AHEAD_CALLS + 10)]
    await house.turn()
    assert len(house.fleet.link.calls) == AHEAD_CALLS
    house.open_gate()
    await asyncio.gather(running, *small)
    running = await house.at_the_gate("b")
    large = [house.submit("echo", "x" * (AHEAD_BYTES // 2 - 100)) for _ in range(3)]
    await house.turn()
    assert len(house.fleet.link.calls) == 3
    assert house.fleet.link.bytes <= AHEAD_BYTES
    house.open_gate()
    await asyncio.gather(running, *large)
    # One that is larger than all of it goes alone.
    assert len(await house.call("echo", "x" * (AHEAD_BYTES + 1))) == AHEAD_BYTES + 1


@pytest.mark.parametrize("workers", [1, 2])
async def test_while_it_is_held_nothing_is_handed_over(house, workers):
    await house.start(fleet=FleetOptions(workers=workers))
    house.fleet.hold(True)
    asked = [house.submit("echo", number) for number in range(20)]
    await house.turn()
    assert all(not link.calls for link in house.fleet.links)
    house.fleet.hold(False)
    assert await asyncio.gather(*asked) == list(range(20))


async def test_calls_a_dead_worker_never_began_run_once_on_the_next_before_newer_ones(house):
    await house.start()
    first = await house.at_the_gate("a")
    waiting = [house.submit("echo", number) for number in range(AHEAD_CALLS + 20)]
    await house.turn()
    house.kill_worker()
    with pytest.raises(WorkerLost):
        await first
    newer = [house.submit("echo", f"newer {number}") for number in range(5)]
    await asyncio.gather(*waiting, *newer)
    assert house.ran == [
        "gate a",
        *(f"echo {number}" for number in range(AHEAD_CALLS + 20)),
        *(f"echo newer {number}" for number in range(5)),
    ]
    assert house.fleet.restarts == 1


async def test_a_call_is_never_begun_twice_however_often_workers_die(house):
    await house.start()
    asked = [
        house.submit("exit", number) if number % 7 == 3 else house.submit("echo", number)
        for number in range(40)
    ]
    results = await asyncio.gather(*asked, return_exceptions=True)
    for number, result in enumerate(results):
        if number % 7 == 3:
            assert isinstance(result, WorkerLost)
            assert f"exit code {number}" in result.message
        else:
            assert result == number
    assert house.ran == [
        f"{'exit' if number % 7 == 3 else 'echo'} {number}" for number in range(40)
    ]


async def test_an_idle_worker_that_dies_is_replaced(house):
    await house.start()
    assert await house.call("echo", 1) == 1
    assert await house.call("echo", 2) == 2
    house.kill_worker()
    told = await house.events.until("worker_lost")
    assert told["operation"] is None
    await house.events.until("worker_ready", 2)
    assert await house.call("echo", 3) == 3


async def test_calls_that_overlap_are_all_answered_when_their_worker_dies(house):
    await house.start(concurrency=4)
    running = [await house.at_the_gate(name) for name in "abcd"]
    waiting = [house.submit("echo", number) for number in range(10)]
    await house.turn()
    house.kill_worker()
    for call in running:
        with pytest.raises(WorkerLost):
            await call
    assert await asyncio.gather(*waiting) == list(range(10))
    assert sorted(house.ran[4:]) == sorted(f"echo {number}" for number in range(10))


# --- reload --------------------------------------------------------------------------------------


async def test_a_call_after_a_save_runs_the_new_code_although_the_worker_is_busy(house):
    await house.start(versioned("old"))
    running = await house.at_the_gate("a")
    before = [house.submit("who") for _ in range(3)]
    await house.turn()
    house.save(versioned("new"))
    after = [house.submit("who") for _ in range(3)]
    await house.turn()
    house.open_gate()
    assert await running == "old"
    assert await asyncio.gather(*before) == ["old"] * 3
    assert await asyncio.gather(*after) == ["new"] * 3
    assert loaded(house) == ["old", "new"]
    assert house.fleet.reloads == 1


async def test_a_call_after_a_save_runs_the_new_code_although_the_queue_is_long(house):
    await house.start(versioned("old"))
    running = await house.at_the_gate("a")
    before = [house.submit("who") for _ in range(AHEAD_CALLS + 50)]
    await house.turn()
    house.save(versioned("new"))
    after = house.submit("who")
    await house.turn()
    house.open_gate()
    await asyncio.gather(running, *before)
    assert await after == "new"
    assert loaded(house) == ["old", "new"]


async def test_one_save_is_one_reload_with_the_watcher_looking_too(house):
    await house.start(versioned("old"), watch=True)
    assert await house.call("who") == "old"
    house.save(versioned("new"))
    assert await house.call("who") == "new"
    # The watcher's word on the same save comes after the quiet moment it waits for.
    await asyncio.sleep(0.2)
    await settle(house)
    assert loaded(house) == ["old", "new"]
    assert len(house.events.of("reloaded")) == house.fleet.reloads == 1


async def test_a_save_the_watcher_saw_first_is_not_asked_for_again_by_a_call(house):
    await house.start(versioned("old"), watch=True)
    running = await house.at_the_gate("a")
    house.save(versioned("new"))
    async with asyncio.timeout(PATIENCE):
        while not house.fleet._reloading.under_way:
            await asyncio.sleep(0.01)
    after = house.submit("who")
    await house.turn()
    assert len(house.fleet._reloading.under_way) == 1
    house.open_gate()
    await running
    assert await after == "new"


async def test_a_save_is_loaded_without_a_call(house):
    await house.start(versioned("old"), watch=True)
    house.save(versioned("new"))
    await house.events.until("reloaded")
    assert loaded(house) == ["old", "new"]


async def test_a_touched_file_is_not_loaded_again(house):
    await house.start(versioned("old"), watch=True)
    os.utime(house.file)
    assert await house.call("who") == "old"
    await asyncio.sleep(0.15)
    await settle(house)
    assert loaded(house) == ["old"]
    assert house.fleet.reloads == 0


async def test_nothing_is_loaded_again_where_that_is_switched_off(house):
    await house.start(versioned("old"), watching=False)
    house.save(versioned("new"))
    house.fleet.files_changed()
    assert await house.call("who") == "old"
    assert loaded(house) == ["old"]


async def test_a_changed_helper_is_seen_by_the_watcher(house):
    house.save("NAME = 'old helper'", "helper.py")
    await house.start("import helper\ndef handle(command, arg): return helper.NAME", watch=True)
    assert await house.call("who") == "old helper"
    house.save("NAME = 'new helper'", "helper.py")
    told = await house.events.until("reloaded")
    assert "helper" in told["modules"]
    assert await house.call("who") == "new helper"


async def test_a_helper_imported_by_a_call_is_watched_from_then_on(house):
    house.save("NAME = 'old helper'", "late/helper.py")
    await house.start(
        """
        import os, sys
        sys.path.append(os.path.join(os.path.dirname(__file__)))
        def handle(command, arg):
            import late.helper
            return late.helper.NAME
        """,
        watch=True,
    )
    assert await house.call("who") == "old helper"
    await settle(house)
    house.save("NAME = 'new helper'", "late/helper.py")
    await house.events.until("reloaded")
    assert await house.call("who") == "new helper"


async def test_a_broken_save_leaves_the_old_code_and_is_told_once(house):
    await house.start(versioned("old"), watch=True)
    house.save("def handle(command, arg:")
    assert await house.call("who") == "old"
    told = await house.events.until("reload_failed", level="error")
    assert "SyntaxError" in told["error"]
    assert "SyntaxError" in house.fleet.reload_error
    await asyncio.sleep(0.2)
    await settle(house)
    assert len(house.events.of("reload_failed", level="error")) == 1
    house.save(versioned("new"))
    assert await house.call("who") == "new"
    assert house.fleet.reload_error is None


async def test_a_broken_save_is_not_tried_again_for_every_file_a_call_imports(house):
    house.save("", "late_one.py")
    await house.start("def handle(command, arg):\n    import late_one\n    return 'old'")
    house.save("broken(")
    for _ in range(4):
        assert await house.call("who") == "old"
    assert len(house.events.of("reload_failed")) == 1


async def test_the_same_mistake_saved_again_is_told_again(house):
    await house.start(OLD)
    for count in (1, 2):
        house.save("1 / 0\n" + "#" * count)
        assert await house.call("who") == "old"
        await house.events.until("reload_failed", count, level="error")


async def test_a_save_taken_back_clears_the_error(house):
    await house.start(OLD)
    house.save("broken(")
    assert await house.call("who") == "old"
    await house.events.until("reload_failed")
    house.save(OLD)
    assert await house.call("who") == "old"
    await house.events.until("reload_not_needed")
    assert house.fleet.reload_error is None
    assert house.fleet.reloads == 0


async def test_a_deleted_file_leaves_the_old_code_until_it_is_back(house):
    await house.start(versioned("old"))
    house.file.unlink()
    assert await house.call("who") == "old"
    told = await house.events.until("reload_failed")
    assert "is gone" in told["error"]
    for _ in range(5):
        assert await house.call("who") == "old"
    assert len(house.events.of("reload_failed")) == 1
    house.save(versioned("new"))
    assert await house.call("who") == "new"
    assert house.fleet.reload_error is None


async def test_an_emptied_file_is_looked_at_once_and_again_when_it_is_filled(house):
    await house.start(versioned("old"))
    house.file.write_text("")
    for _ in range(5):
        assert await house.call("who") == "old"
    assert not house.events.of("reload_failed")
    house.save(versioned("new"))
    assert await house.call("who") == "new"


async def test_a_reload_that_hangs_is_ended_and_calls_go_on(house):
    await house.start(versioned("old"))
    house.slot.reloads._longest = 0.5
    house.save("import time\ntime.sleep(3600)")
    waiting = [house.submit("who") for _ in range(3)]
    await house.events.until("reload_hangs")
    house.save(versioned("new"))
    assert await asyncio.gather(*waiting) == ["new"] * 3
    told = await house.events.until("worker_lost")
    assert told["account"] == "the worker was stopped: reloading took longer than 0.5 s"
    assert told["given_back"] == 3


async def test_the_clock_of_a_reload_stands_still_for_the_calls_ahead_of_it(house):
    await house.start(versioned("old"))
    house.slot.reloads._longest = 1.0  # of which the reload itself needs a hundredth
    running = await house.at_the_gate("a")
    house.save(versioned("new"))
    after = house.submit("who")
    await asyncio.sleep(2.2)  # long enough for its clock to have run out twice
    house.open_gate()
    assert await running == "old"
    assert await after == "new"
    assert not house.events.of("reload_hangs")


async def test_a_reload_has_all_of_its_time_after_a_call_that_took_most_of_it(house):
    await house.start(versioned("old"))
    house.slot.reloads._longest = 2.0
    running = await house.at_the_gate("a")
    house.save(versioned("new") + "\n        import time\n        time.sleep(1)\n")
    after = house.submit("who")
    await asyncio.sleep(1.3)
    house.open_gate()
    assert await running == "old"
    assert await after == "new"
    assert not house.events.of("reload_hangs")


async def test_a_forced_reload_loads_again_and_is_answered(house):
    await house.start(versioned("old"))
    assert await house.call("reload") is True
    assert loaded(house) == ["old", "old"]
    assert house.fleet.reloads == 1


async def test_a_forced_reload_that_fails_says_why(house):
    await house.start(OLD)
    house.save("1 / 0")
    with pytest.raises(HandlerError, match=r"the old code serves on: .*ZeroDivisionError"):
        await house.call("reload")
    assert await house.call("who") == "old"


async def test_a_forced_reload_waits_its_turn_and_goes_to_the_next_worker_if_need_be(house):
    await house.start(versioned("old"))
    running = await house.at_the_gate("a")
    before, reload, after = house.submit("who"), house.submit("reload"), house.submit("who")
    await house.turn()
    house.kill_worker()
    with pytest.raises(WorkerLost):
        await running
    assert await before == "old"
    assert await reload is True
    assert await after == "old"
    assert loaded(house) == ["old", "old", "old"]
    assert not house.fleet.outdated


async def test_a_forced_reload_whose_worker_dies_of_it_is_answered(house):
    await house.start(OLD)
    house.save("import os\nos._exit(7)")
    with pytest.raises(WorkerLost, match="exit code 7"):
        await house.call("reload")


# --- nothing to serve with -----------------------------------------------------------------------


async def crash(house):
    with pytest.raises(WorkerLost):
        await house.call("exit", 1)


async def test_a_broken_replacement_is_told_at_once_and_a_good_save_ends_it(house):
    await house.start(versioned("old"), watch=True)
    running = await house.at_the_gate("a")
    waiting = [house.submit("who") for _ in range(3)]
    await house.turn()
    house.save("1 / 0")
    house.kill_worker()
    with pytest.raises(WorkerLost):
        await running
    for call in waiting:
        with pytest.raises(Unavailable, match=r"^nothing is loaded: .*ZeroDivisionError") as caught:
            await call
        assert caught.value.retry_after_ms
    with pytest.raises(Unavailable, match="ZeroDivisionError"):
        await house.call("who")
    assert not house.fleet.ready
    assert house.fleet.link is None
    assert len(house.events.of("nothing_loaded")) == 1
    house.slot._pause = 60.0  # only the save can wake it
    house.save(versioned("new"))
    await house.events.until("worker_ready", 2)
    assert house.fleet.broken is None
    assert await house.call("who") == "new"


async def test_a_broken_replacement_is_tried_again_by_itself(house):
    await house.start(versioned("old"))
    house.save("1 / 0")
    house.kill_worker()
    await house.events.until("nothing_loaded")
    house.save(versioned("new"))
    await house.events.until("worker_ready", 2)
    assert await house.call("who") == "new"


async def test_a_broken_replacement_is_tried_again_on_demand(house):
    await house.start(versioned("old"))
    house.slot._pause = 60.0
    house.slot._retry.set()
    house.save("1 / 0")
    house.slot._pause = FIRST_PAUSE
    house.kill_worker()
    await house.events.until("nothing_loaded")
    house.save("2 / 0 # still broken")
    with pytest.raises(Unavailable, match="ZeroDivisionError"):
        await house.call("reload")
    house.save(versioned("new"))
    assert await house.call("reload") is True
    assert await house.call("who") == "new"


async def test_a_new_reason_is_told_and_an_old_one_is_not(house):
    await house.start(OLD, watch=True)
    house.save("1 / 0")
    house.kill_worker()
    await house.events.until("nothing_loaded")
    house.fleet.try_again()
    house.save("undefined_name")
    told = await house.events.until("nothing_loaded", 2)
    assert "undefined_name" in told["reason"]
    assert "undefined_name" in house.fleet.broken
    assert len(house.events.of("nothing_loaded")) == 2


async def test_a_replacement_that_cannot_even_be_started_is_tried_again(house, tmp_path):
    await house.start(OLD)
    python = tmp_path / "python"
    house.slot.setup = dataclasses.replace(house.setup, python=str(python))
    house.kill_worker()
    told = await house.events.until("nothing_loaded")
    assert told["reason"].startswith(f"cannot start {python}: ")
    python.write_text(f'#!/bin/sh\nexec {house.setup.python} "$@"\n')
    python.chmod(0o755)
    house.fleet.try_again()
    await house.events.until("worker_ready", 2)
    assert house.fleet.ready


async def test_a_worker_that_claims_nonsense_when_ready_is_not_served_with(house, fake_python):
    await house.start(OLD)
    kept = house.slot.setup
    python = fake_python(
        """
        frame(FrameType.HELLO, 0, {'version': VERSION})
        frame(FrameType.READY, 0, {'files': 7})
        time.sleep(3600)
        """
    )
    house.slot.setup = dataclasses.replace(kept, python=python)
    house.kill_worker()
    told = await house.events.until("nothing_loaded")
    assert "TypeError" in told["reason"]
    assert house.fleet.restarts == 1
    house.slot.setup = kept
    house.fleet.try_again()
    await house.events.until("worker_ready", 2)
    assert await house.call("who") == "old"


async def test_workers_that_finish_nothing_are_replaced_with_growing_pauses(house):
    await house.start()
    times = [time.monotonic()]
    for count in range(2, 5):
        await crash(house)
        await house.events.until("worker_ready", count)
        times.append(time.monotonic())
    pauses = [after - before for before, after in itertools.pairwise(times)]
    for count, pause in enumerate(pauses):
        assert pause >= FIRST_PAUSE * 2**count
    assert house.slot._pause == FIRST_PAUSE * 2**3


async def test_a_worker_that_finished_a_call_is_replaced_at_once(house):
    await house.start()
    await crash(house)
    await house.events.until("worker_ready", 2)
    assert house.slot._pause > FIRST_PAUSE
    assert await house.call("echo", 1) == 1
    await crash(house)
    assert house.slot._pause == FIRST_PAUSE
    assert await house.call("echo", 2) == 2


def test_pauses_have_an_end():
    slot = Slot(None, 1.0, Burst(), None)
    pauses = [slot._longer_pause() for _ in range(20)]
    assert pauses[0] == FIRST_PAUSE
    assert all(b in (2 * a, LONGEST_PAUSE) for a, b in itertools.pairwise(pauses))
    assert pauses[-1] == LONGEST_PAUSE


async def test_stopping_ends_a_start_that_is_on_its_way(house, processes):
    await house.start("import os\nprint(os.getpid())\ndef handle(command, arg): os._exit(1)")
    house.save("import os, time\nprint('starting', os.getpid())\ntime.sleep(3600)")
    house.kill_worker()
    while not (starting := [e for e in house.events.of("printed") if "starting" in e["text"]]):
        house.events._news.clear()
        await asyncio.wait_for(house.events._news.wait(), PATIENCE)
    waiting = house.submit("who")
    await house.turn()
    house.path.abandon("the provider is stopping")
    await house.fleet.stop(PATIENCE)
    with pytest.raises(Unavailable):
        await waiting
    assert not processes.alive(int(starting[0]["text"].split()[1]))


async def test_a_file_hidden_by_a_library_is_told(house):
    house.save("", "json.py")
    await house.start(OLD)
    assert house.events.of("file_hidden_by_library", file=str(house.folder / "json.py"))
