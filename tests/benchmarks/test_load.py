"""The load generator believes no answer: a wrong, missing or extra one makes the run void."""

from __future__ import annotations

import asyncio
import contextlib
import os

import nats
import pytest

from benchmarks.measuring import load
from benchmarks.measuring.load import Cell, LoadGenerator, measure
from benchmarks.measuring.said import Failed
from benchmarks.measuring.work import some_bytes


@pytest.fixture
def short_warm_up(monkeypatch):
    monkeypatch.setattr(load, "WARM_UP", 0.05)


@contextlib.asynccontextmanager
async def answering(server, respond, subject="load.test"):
    """Something that answers on a subject, with each message given to `respond`."""
    client = await nats.connect(server.url)
    await client.subscribe(subject, cb=respond)
    await client.flush()
    yield
    await client.close()


def asked(server, request=b"question", answer=b"answer", **more):
    fields = {"in_flight": 4, "seconds": 0.1, "processes": {"me": os.getpid()}, **more}
    return Cell(server.port, "load.test", request.hex(), answer.hex(), **fields)


@pytest.mark.usefixtures("short_warm_up")
class TestLoad:
    async def test_right_answers_are_counted(self, shared_nats):
        async def respond(message):
            assert message.data == b"question"
            await message.respond(b"answer")

        async with answering(shared_nats, respond):
            found = await measure(asked(shared_nats, each=True))
        assert found["calls_per_second"] > 0
        assert 0 < found["p50_us"] <= found["p99_us"]
        assert found["cpu_us"]["me"] > 0
        assert all(latency > 0 for _, latency in found["each"])

    async def test_large_answers_come_in_pieces(self, shared_nats):
        data = some_bytes(700_000)

        async def respond(message):
            await message.respond(message.data)

        async with answering(shared_nats, respond):
            found = await measure(asked(shared_nats, data, data))
        assert found["calls_per_second"] > 0

    async def test_headers_of_an_answer_are_nobodys_business(self, shared_nats):
        async def respond(message):
            headers = {"Id": os.urandom(8).hex()}
            await nats_client[0].publish(message.reply, b"answer", headers=headers)

        nats_client = [await nats.connect(shared_nats.url)]
        async with answering(shared_nats, respond):
            found = await measure(asked(shared_nats))
        await nats_client[0].close()
        assert found["calls_per_second"] > 0

    async def test_a_wrong_answer(self, shared_nats):
        numbers = iter(range(1_000_000))

        async def respond(message):
            await message.respond(b"answer" if next(numbers) != 30 else b"answeR")

        async with answering(shared_nats, respond):
            with pytest.raises(Failed, match="not the right answer"):
                await measure(asked(shared_nats))

    async def test_an_answer_of_another_length(self, shared_nats):
        async def respond(message):
            await message.respond(b"answers")

        async with answering(shared_nats, respond):
            with pytest.raises(Failed, match="not the right answer"):
                await measure(asked(shared_nats))

    async def test_one_answer_too_many(self, shared_nats):
        numbers = iter(range(1_000_000))

        async def respond(message):
            await message.respond(b"answer")
            if next(numbers) == 30:
                await asyncio.sleep(0)
                for _ in range(8):
                    await message.respond(b"answer")

        async with answering(shared_nats, respond):
            with pytest.raises(Failed, match="an answer nobody waits for"):
                await measure(asked(shared_nats, in_flight=1))

    async def test_a_missing_answer(self, shared_nats, monkeypatch):
        monkeypatch.setattr(load, "PATIENCE", 0.2)
        numbers = iter(range(1_000_000))

        async def respond(message):
            if next(numbers) != 30:
                await message.respond(b"answer")

        async with answering(shared_nats, respond):
            with pytest.raises(Failed, match="1 answers did not come"):
                await measure(asked(shared_nats))

    async def test_nobody_answers_at_all(self, shared_nats):
        with pytest.raises(Failed, match="not the right answer"):
            await measure(asked(shared_nats))

    async def test_a_process_that_is_gone_costs_nothing_anybody_could_count(self, shared_nats):
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()

        async def respond(message):
            await message.respond(b"answer")

        async with answering(shared_nats, respond):
            with pytest.raises(Failed, match=f"the process {process.pid} died"):
                await measure(asked(shared_nats, processes={"gone": process.pid}))


# --- the process ----------------------------------------------------------------------------------


def test_a_void_cell_ends_no_generator_and_a_dead_one_is_told(shared_nats):
    with LoadGenerator() as generator:
        for _ in range(2):
            with pytest.raises(Failed, match="not the right answer"):
                generator.measure(asked(shared_nats))
        generator._process.kill()
        generator._process.wait()
        with pytest.raises(Failed, match="the load generator died"):
            generator.measure(asked(shared_nats))
