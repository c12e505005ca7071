"""The gateway's end of NATS: what is asked of whom, and what is made of it."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from provider.client import connected
from provider.doors.backend import HttpCall
from provider.doors.over_nats import OverNats
from provider.errors import BadResult, CallTimeout, TooLarge, Unavailable
from provider.wire.address import Address
from provider.wire.frames import Encoding
from provider.wire.values import Limits

JSON = {"encoding": Encoding.JSON}


@pytest.fixture
async def nats(shared_nats):
    async with connected(shared_nats.url) as client:
        yield client


@pytest.fixture
def backend(nats, request):
    name = f"fake{abs(hash(request.node.name))}"
    return OverNats(nats, Address(name, name, "default", name), 5.0, Limits())


def subject(backend, operation: str) -> str:
    return backend._address.operation(operation)


async def answering(nats, backend, operation: str, data: bytes, headers=None) -> list:
    """Have somebody answer by subject; what he was asked."""
    asked = []

    async def answer(message):
        asked.append(message)
        await nats.publish(message.reply, data, headers=headers)

    await nats.subscribe(subject(backend, operation), cb=answer)
    await nats.flush()
    return asked


async def test_json_travels_by_subject_as_it_came(nats, backend):
    asked = await answering(nats, backend, "echo", b" 2")
    ours = {"provider-stream": "true", "provider-request-id": "x", "nats-rollup": "all"}
    headers = {"x-mine": "yes", "x-none": " ", "content-type": "text/plain", **ours}
    call = HttpCall("echo", b" 1", Encoding.JSON, 1.5, "an-id", headers)
    assert await backend.call(call) == b" 2"
    (message,) = asked
    assert message.data == b" 1"
    assert message.headers == {
        "x-mine": "yes",
        "Content-Type": "application/json",
        "Provider-Request-Id": "an-id",
        "Provider-Timeout-Ms": "1500",
    }


async def test_an_error_that_is_none_is_told_so(nats, backend):
    headers = {"Nats-Service-Error-Code": "500", "Nats-Service-Error": "something odd"}
    await answering(nats, backend, "odd", b"no json", headers)
    with pytest.raises(BadResult, match="something odd"):
        await backend.call(HttpCall("odd", b"1", **JSON))


async def test_nobody_there_is_told_at_once_and_to_come_back(backend):
    for call in (HttpCall("x", b"1", **JSON), HttpCall("a b", b"1", **JSON)):
        with pytest.raises(Unavailable, match="no provider listens on") as raised:
            await backend.call(call)
        assert raised.value.retry_after_ms == 1000
    with pytest.raises(Unavailable, match="no provider listens on"):
        await anext(backend.stream(HttpCall("x", b"1", **JSON)))
    assert not (await backend.health()).ready


async def test_who_does_not_answer_is_not_waited_for_longer_than_was_said(nats, backend):
    await nats.subscribe(subject(backend, "deaf"))
    await nats.flush()
    with pytest.raises(CallTimeout):
        await backend.call(HttpCall("deaf", b"1", Encoding.JSON, 0.05))


async def test_without_nats_calls_are_refused_at_once(nats, backend):
    await nats.close()
    with pytest.raises(Unavailable, match="NATS is not connected"):
        await backend.call(HttpCall("x", b"1", **JSON))
    with pytest.raises(Unavailable, match="NATS is not connected"):
        await anext(backend.stream(HttpCall("x", b"1", **JSON)))
    await backend.refresh()
    assert (await backend.health()).reasons == ("NATS is not connected",)


async def test_what_nats_does_not_carry_is_too_large(backend):
    call = HttpCall("x", b'"' + b"x" * 2_000_000 + b'"', **JSON)
    with pytest.raises(TooLarge, match="max_payload"):
        await backend.call(call)


async def test_those_who_ask_at_once_ask_once(nats, backend):
    told = {"operations": [{"name": "a", "signature": "()", "doc": ""}]}
    asked = []

    async def answer(message):
        asked.append(message)
        await asyncio.sleep(0.05)
        await message.respond(json.dumps(told).encode())

    await nats.subscribe(backend._address.describe("operations"), cb=answer)
    await nats.flush()
    heard = await asyncio.gather(*(backend.refresh() for _ in range(20)))
    assert [len(each.operations) for each in heard] == [1] * 20
    # One for who came first, and one for all who came while that was under way.
    assert len(asked) == 2
    generation = backend.described().generation
    await backend.refresh()
    assert backend.described().generation == generation
    backend.open()
    with contextlib.suppress(asyncio.CancelledError):
        await backend.close()
