"""Calls nobody waits for any more: not run where nobody has begun them, and counted once."""

from __future__ import annotations

import asyncio

import pytest

from provider.doors.backend import HttpCall
from provider.doors.in_host import InHost
from provider.errors import Cancelled, WorkerLost
from provider.host.path import MOST_GIVEN_UP
from provider.wire.frames import Encoding


async def test_what_waits_in_the_host_is_not_run(house):
    await house.start()
    running = await house.at_the_gate("a")
    house.fleet.link.calls.update({-number: running.call for number in range(1, 300)})
    waiting = [house.submit("echo", number) for number in range(MOST_GIVEN_UP)]
    await house.turn()
    for asked in waiting:
        house.path.give_up(asked.call, Cancelled("the caller has gone; it was not run"))
        house.path.give_up(asked.call, Cancelled("a second time"))
    assert {asked.error.message for asked in waiting} == {"the caller has gone; it was not run"}
    assert not house.fleet._waiting
    assert (house.admission.open, house.admission.errors) == (1, {"cancelled": MOST_GIVEN_UP})
    for number in range(1, 300):
        del house.fleet.link.calls[-number]
    house.open_gate()
    assert await running == "a"
    assert await house.call("echo", "next") == "next"
    assert house.ran == ["gate a", "echo next"]
    assert house.admission.bytes == 0


async def test_what_a_worker_has_is_answered_by_it(house):
    await house.start()
    running = await house.at_the_gate("a")
    house.path.give_up(running.call, Cancelled("gone"))
    assert running.answers == []
    house.open_gate()
    assert await running == "a"
    house.path.give_up(running.call, Cancelled("gone"))
    assert house.admission.errors == {}


async def test_a_client_over_http_who_leaves_gives_up(house):
    await house.start()
    running = await house.at_the_gate("a")
    house.fleet.link.calls.update({-number: running.call for number in range(1, 300)})
    backend = InHost(house.path, house.fleet, dict)
    backend.started = True
    asked = asyncio.ensure_future(backend.call(HttpCall("echo", b"1", Encoding.JSON)))
    await house.turn()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert house.admission.errors == {"cancelled": 1}
    for number in range(1, 300):
        del house.fleet.link.calls[-number]
    house.open_gate()
    assert await running == "a"
    assert house.ran == ["gate a"]


async def test_what_was_given_up_in_the_hands_of_a_worker_that_dies_is_not_run(house):
    await house.start()
    running = await house.at_the_gate("a")
    behind = [house.submit("echo", number) for number in range(3)]
    await house.turn()
    house.path.give_up(behind[1].call, Cancelled("the caller has gone"))
    house.kill_worker()
    with pytest.raises(WorkerLost):
        await running
    assert await behind[0] == 0
    with pytest.raises(Cancelled, match="it was not run"):
        await behind[1]
    assert await behind[2] == 2
    assert house.ran == ["gate a", "echo 0", "echo 2"]
