"""What the load counts, shown by somebody who answers wrong, late, twice or not at all."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import cbor2
import nats
import pytest

from provider.wire.address import RPC_QUEUE
from tests.conftest import PATIENCE, Provider
from tests.faults import load as load_module
from tests.faults.load import Load
from tests.faults.numbered import right
from tests.faults.outcome import run
from tests.faults.scenario import MARK, OTHERS, Scenario, misbehaving, undisturbed

EVERY = 10
"""One call in so many is treated as the test says."""


async def _served(nats_server, treat, *, calls=200, **options):
    """The load after so many calls, one in ten of them treated by this function."""
    client = await nats.connect(nats_server.url)
    strays = set()

    async def answer(message):
        number = cbor2.loads(message.data)["payload"]
        good = cbor2.dumps({"result": right(number)})
        if number % EVERY:
            await message.respond(good)
        else:
            stray = asyncio.create_task(treat(client, message, good))
            strays.add(stray)
            stray.add_done_callback(strays.discard)

    await client.subscribe("called", cb=answer)
    await client.flush()
    load = Load(nats_server.port, "called", in_flight=20, **options)
    await load.connect()
    load.begin()
    await load.more(calls)
    await load.end()
    await asyncio.gather(*strays)
    await client.flush()
    await load.close()
    await client.close()
    return load


async def test_right_answers_are_counted_once_each(nats_server):
    async def right_as_all(_client, message, good):
        await message.respond(good)

    load = await _served(nats_server, right_as_all)
    count = load.count
    assert count.results == count.sent == len(load.results) >= 200
    assert not (count.errors or count.wrong or count.twice or count.late or count.unanswered)
    assert load.open == 0


async def test_a_wrong_result_is_wrong(nats_server):
    async def wrong(_client, message, good):
        await message.respond(good[:-1] + bytes([good[-1] ^ 1]))

    count = (await _served(nats_server, wrong, calls=180)).count
    assert count.wrong == count.sent // EVERY
    assert count.results == count.sent - count.wrong


async def test_a_second_answer_is_noticed(nats_server):
    async def twice(_client, message, good):
        await message.respond(good)
        await message.respond(good)

    count = (await _served(nats_server, twice)).count
    assert count.twice == count.sent // EVERY
    assert count.results == count.sent


@pytest.mark.parametrize("first", [True, False], ids=["right first", "wrong first"])
async def test_a_second_answer_that_says_something_else_is_wrong(nats_server, first):
    async def another_way(_client, message, good):
        wrong = good[:-1] + bytes([good[-1] ^ 1])
        for each in (good, wrong) if first else (wrong, good):
            await message.respond(each)

    count = (await _served(nats_server, another_way, calls=180)).count
    assert count.twice == count.sent // EVERY
    assert count.wrong == count.twice * (1 if first else 2)


async def test_an_error_after_a_result_is_wrong(nats_server):
    async def result_and_error(client, message, good):
        await message.respond(good)
        body = cbor2.dumps({"error": {"kind": "worker_lost", "message": "killed"}})
        await client.publish(message.reply, body, headers={"Nats-Service-Error": "killed"})

    count = (await _served(nats_server, result_and_error)).count
    assert count.wrong == count.twice == count.sent // EVERY
    assert not count.errors


async def test_no_answer_and_a_late_one_are_noticed(nats_server, monkeypatch):
    monkeypatch.setattr(load_module, "GIVEN_UP", 1.5)

    async def never_or_late(_client, message, good):
        if cbor2.loads(message.data)["payload"] % (2 * EVERY):
            await asyncio.sleep(1.2)  # a second and a little beyond its deadline
            await message.respond(good)

    count = (await _served(nats_server, never_or_late, calls=15, timeout=0.1)).count
    assert count.unanswered == count.sent // (2 * EVERY)
    assert count.late == count.sent // EVERY - count.unanswered


async def test_errors_are_counted_by_kind_and_refusals_apart(nats_server):
    async def refuse(client, message, _good):
        body = cbor2.dumps({"error": {"kind": "overloaded", "message": "full"}})
        headers = {"Nats-Service-Error": "full"}
        await client.publish(message.reply, body, headers=headers)

    load = await _served(nats_server, refuse, pause=0.001)
    count = load.count
    assert count.errors["overloaded"] == count.refused == len(load.not_run) == count.sent // EVERY
    assert count.taken == count.results == count.sent - count.refused


async def test_nobody_there_is_a_refusal(nats_server):
    load = Load(nats_server.port, "nobody", in_flight=5, pause=0.001)
    await load.connect()
    load.begin()
    while load.count.refused < 20:
        await load.flush()
    await load.end()
    await load.close()
    assert load.count.errors.keys() == {"no_responders"}


async def test_calls_go_on_over_another_connection(nats_server):
    async def silent(_client, _message, _good):
        pass

    client = await nats.connect(nats_server.url)
    load = Load(nats_server.port, "called", in_flight=5)
    await client.subscribe("called")  # which takes calls and answers none
    await client.flush()
    await load.connect()
    load.begin()
    await load.flush()
    assert load.open == 5
    await asyncio.to_thread(nats_server.stop)
    await asyncio.to_thread(nats_server.start)
    await load.flush()
    assert (load.connections, load.count.cut, load.count.unanswered) == (2, 5, 0)
    load.stop()
    load.write_off()
    await load.close()
    await client.close()


# --- what a scenario finds ------------------------------------------------------------------------

LIES = {
    "run twice": (
        "def handle(command, number):\n    note(number), note(number)\n    return right(number)",
        "calls were run twice",
    ),
    "not run": (
        "def handle(command, number):\n    return right(number)",
        "calls were answered with a result and not run",
    ),
    "wrong": (
        "def handle(command, number):\n    note(number)\n    return 7",
        "calls were answered with something else",
    ),
    "raises": (
        "def handle(command, number):\n    note(number)\n    raise ValueError",
        "calls were answered with handler_error",
    ),
    "not run though it was": (
        "def handle(command, number):\n    note(number)\n    raise ValueError('it was not run')",
        "calls were run though their answer says that they were not",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("lie", LIES)
def test_a_scenario_finds_what_must_not_be(lie):
    program, problem = LIES[lie]
    outcome = run(Scenario(lie, program=program), seed=1, calls=50)
    assert any(problem in each for each in outcome.problems), outcome.problems


async def _own_call(field):
    """A call that the load knows nothing of, and that has none of the numbers kept for those."""
    client = await nats.connect(field.nats.url)
    body = cbor2.dumps({"operation": "work", "payload": OTHERS - 1})
    await client.request(field.subject, body, timeout=PATIENCE)
    await client.close()


async def _swallower(field):
    """Somebody else who takes calls as if it were a provider, and answers none."""
    client = await nats.connect(field.nats.url)
    field.beside = client, await client.subscribe(field.subject, queue=RPC_QUEUE)
    await client.flush()


async def _swallow(field):
    client, taken = field.beside
    try:
        await taken.next_msg(PATIENCE)
    finally:
        await client.close()


async def _kill_for_good(field):
    await field.go_on(20, 20)
    field.provider.signal(signal.SIGKILL)
    await asyncio.to_thread(field.provider.wait)
    await field.load.flush()
    field.load.write_off()


@pytest.mark.parametrize(
    ("before", "disturb", "cut", "problem"),
    [
        (undisturbed, _own_call, False, "calls were answered of"),
        (_swallower, _swallow, False, "calls were not answered"),
        (_swallower, _swallow, True, "calls were not answered"),
        pytest.param(
            *(undisturbed, _kill_for_good, True, "no host was left to ask"),
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_scenario_finds_what_the_numbers_hide(monkeypatch, before, disturb, cut, problem):
    monkeypatch.setattr(load_module, "GIVEN_UP", 0.5)
    errors = frozenset({"no_responders"})
    scenario = Scenario("hidden", disturb, before, cut=cut, timeout=2.0, errors=errors)
    outcome = run(scenario, seed=1, calls=50)
    assert any(problem in each for each in outcome.problems), outcome.problems


@pytest.mark.long
def test_a_scenario_finds_connections_that_broke():
    async def restart_server(field):
        await field.go_on(5, 5)
        await asyncio.to_thread(field.nats.stop)
        await asyncio.to_thread(field.nats.start)

    # So that some are under way whenever that is.
    program = misbehaving(1, "time.sleep(0.01)", before="import time")
    errors = frozenset({"no_responders"})
    outcome = run(Scenario("broke", restart_server, program=program, errors=errors), 1, calls=50)
    assert any("were open when the connection was lost" in each for each in outcome.problems)


@pytest.mark.long
def test_a_scenario_finds_hosts_that_leave_with_an_error():
    class Failing(Provider):
        def stop(self):
            super().stop()
            return 3

    def start(environment, folder):
        return Failing([sys.executable, "-m", "provider", "run"], environment, folder)

    outcome = run(Scenario("failing", launch=start), seed=1, calls=50)
    assert outcome.problems == ["a host that was told to stop left with 3"]


@pytest.mark.long
def test_requests_that_were_lost_on_their_way_are_cut_off_and_not_unanswered(monkeypatch):
    monkeypatch.setattr(load_module, "GIVEN_UP", 0.5)
    scenario = Scenario("lost", _swallow, _swallower, cut=True, again=True, timeout=2.0)
    outcome = run(scenario, seed=1, calls=50)
    assert outcome.count.cut > 0
    assert outcome.count.unanswered == 0
    assert outcome.problems == []


@pytest.mark.long
def test_a_scenario_finds_what_did_not_happen_and_what_was_left():
    left = []

    async def leave(field):
        environment = {**os.environ, MARK: field.lattice}
        left.append(subprocess.Popen(["sleep", "1000"], env=environment))

    scenario = Scenario("left", leave, at_least={"killed": 1})
    outcome = run(scenario, seed=1, calls=50)
    for process in left:
        process.kill()
        process.wait()
    assert outcome.problems == [
        f"processes were left running: {[left[0].pid]}",
        "killed only 0 times of 1",
    ]
