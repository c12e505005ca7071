"""Whatever answers or does not, each call ends once, and what is wrong with the answers is told."""

from __future__ import annotations

import asyncio
import contextlib

import nats
import pytest

from provider import connection
from provider.bench.load import Load
from provider.bench.plan import Plan
from provider.bench.report import doubts, lines
from provider.errors import CallTimeout
from provider.wire.envelope import result_answer, write_request

ANSWER = result_answer(b"\x01")
REQUEST = write_request("echo", b"\x01")
SHORT = {"seconds": 0.3, "warm_up": 0.1, "timeout": 0.05}


@pytest.fixture
async def answering(shared_nats):
    """Has calls of a subject answered by a function, which is given the message and its number."""
    client = await nats.connect(shared_nats.url)
    subjects = []

    async def start(answer):
        subjects.append(client.new_inbox())
        numbers = iter(range(1 << 60))

        async def take(message):
            await answer(message, next(numbers))

        await client.subscribe(subjects[-1], cb=take)
        await client.flush()
        return subjects[-1]

    yield start
    await client.close()


@contextlib.asynccontextmanager
async def loading(url, subject, *requests, **fields):
    load = Load(Plan(**{**SHORT, **fields}), subject, requests or [REQUEST])
    async with contextlib.AsyncExitStack() as stack:
        options = connection.NatsOptions(servers=(url,))
        for line in load.lines:
            client = await connection.connect(options, name="test", wait=False, client=line.client)
            stack.push_async_callback(client.close)
        await load.listen()
        yield load


def adds_up(outcome):
    """Whether each call that was sent is in one place, and none of those that count is open."""
    tallies = (outcome.before, outcome.counted)
    return outcome.counted.open == 0 and all(
        tally.sent == tally.results + sum(tally.errors.values()) + tally.open for tally in tallies
    )


async def right(message, _number):
    await message.respond(ANSWER)


async def test_requests_are_sent_in_turn(answering, shared_nats):
    seen = []

    async def note(message, number):
        seen.append(message.data)
        await right(message, number)

    subject = await answering(note)
    sent = [write_request(name) for name in ("a", "b", "c")]
    async with loading(shared_nats.url, subject, *sent, in_flight=1) as load:
        assert adds_up(await load.run())
    assert len(seen) > 3
    assert seen == [sent[number % 3] for number in range(len(seen))]


@pytest.mark.parametrize("warm_up", [0.0, 0.2])
async def test_results_in_a_second_are_those_that_came_in_it(answering, shared_nats, warm_up):
    subject = await answering(right)
    async with loading(shared_nats.url, subject, in_flight=5, warm_up=warm_up) as load:
        outcome = await load.run()
    # All that were sent in time, but for those that were under way at the beginning and the end.
    assert outcome.arrived > 10
    assert -5 <= outcome.counted.results - outcome.arrived <= 5
    assert outcome.counted.sent == outcome.counted.results
    assert bool(outcome.before.results) == bool(warm_up)
    assert outcome.busy > 0


async def test_as_many_are_under_way_as_were_asked_for_however_many_lines_there_are(
    answering, shared_nats
):
    held, found, tasks = [], [], []

    async def answer_all():
        await asyncio.sleep(0.1)  # in which one too many would come
        found.append(len(held))
        for message in held:
            await message.respond(ANSWER)

    async def hold_the_first(message, number):
        if number < 10:
            held.append(message)
            if number == 9:
                tasks.append(asyncio.create_task(answer_all()))
        elif found:
            await right(message, number)
        else:
            held.append(message)

    subject = await answering(hold_the_first)
    async with loading(shared_nats.url, subject, in_flight=10, connections=3, timeout=5.0) as load:
        assert adds_up(await load.run())
    assert found == [10]


async def test_an_answer_too_many_is_told(answering, shared_nats):
    async def twice(message, number):
        await right(message, number)
        if number % 10 == 0:
            await right(message, number)

    subject = await answering(twice)
    async with loading(shared_nats.url, subject, in_flight=4) as load:
        outcome = await load.run()
        assert adds_up(outcome)
    assert outcome.stray > 0
    assert any("one call has one answer" in doubt for doubt in doubts(load.plan, outcome))


async def test_lost_calls_count_with_the_time_they_were_waited_for(answering, shared_nats):
    async def hardly(message, number):
        if number != 50:
            await right(message, number)

    subject = await answering(hardly)
    async with loading(shared_nats.url, subject, rate=500.0, seconds=0.5) as load:
        outcome = await load.run()
        assert adds_up(outcome)
    assert outcome.ended == "duration"
    assert outcome.counted.errors == {"no_answer": 1}
    assert outcome.counted.latencies.count == outcome.counted.sent == 250
    assert outcome.counted.latencies.largest >= 1_050_000_000
    assert any("without an answer" in doubt for doubt in doubts(load.plan, outcome))


async def test_an_answer_after_all_is_late_and_not_counted_again(answering, shared_nats):
    tasks = []

    async def answer_later(message, number):
        await asyncio.sleep(1.2)  # longer than anybody waits for it
        await right(message, number)

    async def hold(message, number):
        if number == 5:
            tasks.append(asyncio.create_task(answer_later(message, number)))
        else:
            await right(message, number)

    subject = await answering(hold)
    async with loading(shared_nats.url, subject, rate=200.0, seconds=1.5, warm_up=0.0) as load:
        outcome = await load.run()
    assert adds_up(outcome)
    assert (outcome.late, outcome.stray) == (1, 0)
    assert outcome.counted.errors == {"no_answer": 1}


async def test_silence_ends_it(answering, shared_nats):
    async def soon_silent(message, number):
        if number < 50:
            await right(message, number)

    subject = await answering(soon_silent)
    for fields in ({"in_flight": 3}, {"rate": 300.0}):
        async with loading(shared_nats.url, subject, seconds=600.0, **fields) as load:
            outcome = await load.run()
        assert outcome.ended == "no_answer"
        assert outcome.seconds < 300


async def test_silence_from_the_beginning(answering, shared_nats):
    async def silent(_message, _number):
        pass

    async with loading(shared_nats.url, await answering(silent), in_flight=3) as load:
        with pytest.raises(CallTimeout, match="--timeout"):
            await load.first()


async def test_what_is_no_answer_is_an_error_of_its_own(answering, shared_nats):
    async def garbage(message, _number):
        await message.respond(b"\xff\xff")

    async with loading(shared_nats.url, await answering(garbage), in_flight=3) as load:
        outcome = await load.run()
    assert adds_up(outcome)
    assert outcome.counted.errors.keys() == {"bad_result"}


async def test_a_result_with_more_around_it_is_a_result(answering, shared_nats):
    async def with_id(message, _number):
        await message.respond(result_answer(b"\x01", request_id=b"\x61a"))

    async with loading(shared_nats.url, await answering(with_id), in_flight=3) as load:
        outcome = await load.run()
    assert outcome.counted.results == outcome.counted.sent > 0


async def test_calls_that_find_nobody_are_not_repeated_at_once(shared_nats):
    async with loading(shared_nats.url, "nobody.here", in_flight=2) as load:
        assert await load.first() is None
        assert load.nobody_there
        outcome = await load.run()
    assert adds_up(outcome)
    # Each of the two every ten milliseconds.
    assert 0 < outcome.before.sent + outcome.counted.sent < 200


async def test_no_more_calls_are_open_than_fit(answering, shared_nats, monkeypatch):
    monkeypatch.setattr("provider.bench.load.MOST_IN_FLIGHT", 3)  # or thousands were needed

    async def slowly(message, number):
        await asyncio.sleep(0.02)  # what a call takes
        await right(message, number)

    subject = await answering(slowly)
    async with loading(shared_nats.url, subject, rate=1000.0, warm_up=0.0) as load:
        outcome = await load.run()
    assert adds_up(outcome)
    assert outcome.not_sent > 0
    assert outcome.counted.sent + outcome.not_sent == 300
    # They were late already when they left.
    assert outcome.counted.lags.largest > 20_000_000
    # And the time they take began when they were due.
    assert outcome.counted.latencies.largest > outcome.counted.lags.largest
    assert any("the rate was not kept" in doubt for doubt in doubts(load.plan, outcome))
    assert any(line.startswith("  due, not sent") for line in lines(load.plan, outcome))
