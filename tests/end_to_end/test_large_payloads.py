"""Large payloads among small ones: each arrives whole, in whatever form and by whichever way."""

from __future__ import annotations

import asyncio
import json
import os

import cbor2
import pytest

from tests.end_to_end.conftest import asked

ECHO = """
    from provider.dispatch import operation

    @operation(cache=60)
    def kept(value: bytes) -> bytes:
        return value[::-1]

    @operation(batch=4)
    def together(values):
        return values

    @operation
    def same(value):
        return value
"""
MEGABYTE = os.urandom(900_000)


@pytest.mark.parametrize("concurrency", ["1", "4"])
async def test_large_and_small_calls_at_once_are_each_answered_with_their_own(
    start_provider, wire, concurrency
):
    provider = start_provider(ECHO, PROVIDER_CONCURRENCY=concurrency)
    values = [
        MEGABYTE,
        "é" * 300_000,
        7,
        [MEGABYTE[:70_000], "x" * 70_000],
        b"small",
        {"deep": [MEGABYTE[:500_000]]},
        None,
    ]
    async with wire(provider) as spoken:

        async def call(operation, value, **fields):
            answer = cbor2.loads(await spoken.ask(asked(operation, value, **fields)))
            assert answer == {"result": value, **({"id": "a"} if "id" in fields else {})}

        for operation in ("same", "together"):
            async with asyncio.TaskGroup() as calls:
                for value in values * 4:
                    calls.create_task(call(operation, value))
                    calls.create_task(call(operation, value, id="a", timeout_ms=60_000))

        async with asyncio.TaskGroup() as calls:
            for value in values * 2:
                calls.create_task(by_subject(spoken, value))


async def by_subject(spoken, value):
    name = f"{spoken.operations}.same"
    answer = await spoken.connection.request(name, cbor2.dumps(value), timeout=60)
    assert cbor2.loads(answer.data) == value
    if isinstance(value, str | int):
        headers = {"Content-Type": "application/json"}
        body = json.dumps(value, ensure_ascii=False).encode()
        answer = await spoken.connection.request(name, body, timeout=60, headers=headers)
        assert json.loads(answer.data) == value


async def test_a_large_result_that_is_kept_answers_many(start_provider, wire):
    provider = start_provider(ECHO, PROVIDER_CACHE_BYTES="10MB")
    async with wire(provider) as spoken:
        request = asked("kept", MEGABYTE)
        answers = [await spoken.ask(request)]
        answers += await asyncio.gather(*(spoken.ask(request) for _ in range(8)))
        assert {cbor2.loads(answer)["result"] for answer in answers} == {MEGABYTE[::-1]}
