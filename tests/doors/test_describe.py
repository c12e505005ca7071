"""What can be called, asked for over NATS."""

from __future__ import annotations

import asyncio
import json
import os

import nats
import pytest

from provider.client import NoProvider
from provider.doors.describe import MOST_ASKING
from provider.errors import (
    BadRequest,
    BadResult,
    CallError,
    Overloaded,
    TooLarge,
    Unavailable,
    UnknownOperation,
)
from tests.conftest import PATIENCE, NatsServer, write

PROGRAM = """
    import dataclasses
    from provider.dispatch import operation

    @dataclasses.dataclass
    class Item:
        name: str
        price: float = 1.0

    @operation(cache=60)
    def add(a: int, b: int = 2) -> int:
        "Add two numbers."
        return a + b

    @operation(name="shop.total")
    def total(items: list[Item]) -> float:
        return sum(item.price for item in items)

    @operation
    def wait(path: str) -> None:
        open(path).read()
"""

OPERATIONS = ["add", "shop.total", "wait"]


@pytest.fixture(scope="module")
def house(start_module_provider):
    return start_module_provider(PROGRAM)


async def test_operations_are_told_in_the_order_of_their_declaration(house):
    async with house.connect() as python:
        told = await python.operations()
    assert [entry["name"] for entry in told] == OPERATIONS
    assert told[0] == {
        "name": "add",
        "free": True,
        "signature": "(a: int, b: int = 2) -> int",
        "doc": "Add two numbers.",
        "batch": 0,
        "cache": 60.0,
        "streams": False,
        "http": [],
    }


async def test_schemas_are_told_of_all_or_of_one(house):
    async with house.connect() as python:
        everything = await python.schema()
        assert set(everything) == {"add", "shop.total", "wait"}
        assert everything["add"]["argument"]["required"] == ["a"]
        one = await python.schema("py.add")
        assert one == {"add": everything["add"]}
        assert "Item" in everything["shop.total"]["argument"]["$defs"]
        with pytest.raises(UnknownOperation, match="no operation 'other' is declared"):
            await python.schema("other")
        # Names are remembered, so there is none that no call could have.
        with pytest.raises(BadRequest, match="longer than 256 bytes"):
            await python.schema("x" * 256 + ".add")


async def test_what_was_just_saved_is_told_before_anything_is_called(start_provider, tmp_path):
    file = tmp_path / "dispatch.py"
    provider = start_provider("def handle(command, arg): return arg")
    async with provider.connect() as python:
        assert await python.operations() == []
        await asyncio.to_thread(write, file, PROGRAM)
        assert [entry["name"] for entry in await python.operations()] == OPERATIONS
        await asyncio.to_thread(write, file, PROGRAM.replace("b: int = 2", "b: int"))
        assert (await python.schema("add"))["add"]["argument"]["required"] == ["a", "b"]
        await asyncio.to_thread(write, file, "not python at all")
        assert [entry["name"] for entry in await python.operations()] == OPERATIONS
        assert (await python.status())["reload_error"]


async def test_a_plain_handle_declares_nothing(start_provider):
    provider = start_provider("def handle(command, arg): return arg")
    async with provider.connect() as python:
        assert await python.operations() == []
        assert await python.schema() == {}


async def test_a_busy_worker_tells_what_it_has_told_before(house, tmp_path):
    import os

    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with house.connect() as python:
        before = await python.schema()
        running = asyncio.ensure_future(python.call("wait", str(gate)))
        while not (await python.status())["open"]:
            pass
        assert await python.schema() == before
        await asyncio.to_thread(gate.write_bytes, b"x")
        await running


async def test_more_than_may_wait_are_told_to_come_back(start_provider, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    house = start_provider(PROGRAM)
    async with house.connect() as python:
        running = asyncio.create_task(python.call("wait", str(gate)))
        while not (await python.status(timeout=PATIENCE))["open"]:
            await asyncio.sleep(0.02)
        asked = [asyncio.create_task(python.schema()) for _ in range(MOST_ASKING + 3)]
        told = []
        while len(told) < 3:
            told = [task.exception() for task in asked if task.done()]
            await asyncio.sleep(0.02)
        assert {type(error) for error in told} == {Overloaded}
        assert told[0].retry_after_ms == 1000
        await asyncio.to_thread(gate.write_text, "")
        await running
        await asyncio.wait(asked)
        assert [task.exception() for task in asked].count(None) == MOST_ASKING


async def test_one_instance_answers(start_provider, house):
    twin = start_provider(
        PROGRAM,
        PROVIDER_LATTICE=house.address["lattice"],
        PROVIDER_NAME=house.address["name"],
    )
    client = await nats.connect(house.url)
    try:
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox)
        lattice, name = house.address["lattice"], house.address["name"]
        await client.publish(f"provider.describe.{lattice}.{name}.operations", b"", reply=inbox)
        await subscription.next_msg(PATIENCE)
        with pytest.raises(nats.errors.TimeoutError):
            await subscription.next_msg(0.2)
    finally:
        await client.close()
    await asyncio.to_thread(twin.stop)


async def test_a_question_that_wants_no_answer_does_no_harm(house):
    client = await nats.connect(house.url)
    lattice, name = house.address["lattice"], house.address["name"]
    for what in ("operations", "schema"):
        await client.publish(f"provider.describe.{lattice}.{name}.{what}", b"\xff\x00")
    await client.flush()
    await client.close()
    async with house.connect() as python:
        assert await python.operations()
    assert not house.events("nats_error")


async def test_whoever_is_not_there_is_said_so(house):
    async with house.connect(name="nobody") as python:
        with pytest.raises(NoProvider):
            await python.operations()


async def test_an_answer_the_server_does_not_carry_is_an_error_that_says_so(tmp_path):
    config = tmp_path / "nats.conf"
    config.write_text("max_payload: 4096\n")
    server = NatsServer("-c", str(config))
    from tests.conftest import _starting

    start, started = _starting(tmp_path, server.url)
    try:
        provider = start(
            """
            from provider.dispatch import operation

            def make(n):
                @operation(name=f"op{n}")
                def made(a: int, b: str, c: float): "x" * 100
                return made

            for n in range(40):
                globals()[f"op{n}"] = make(n)
            """
        )
        async with provider.connect() as python:
            with pytest.raises(TooLarge, match="carries 4096"):
                await python.schema()
            assert set(await python.schema("op7")) == {"op7"}
            assert (await python.status())["ready"]
    finally:
        for provider in started:
            provider.close()
        server.stop()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"\xff", BadResult),
        (b"[]", BadResult),
        (b"{}", BadResult),
        (json.dumps({"error": {"kind": "unavailable"}}).encode(), Unavailable),
        (json.dumps({"error": 5}).encode(), CallError),
    ],
)
async def test_strange_answers_are_errors_to_the_client(shared_nats, answer, error):
    from provider.client import connect

    other = await nats.connect(shared_nats.url)

    async def reply(message):
        await message.respond(answer)

    await other.subscribe("provider.describe.strange.x.operations", cb=reply)
    await other.flush()
    try:
        async with connect(shared_nats.url, lattice="strange", name="x") as python:
            with pytest.raises(error):
                await python.operations()
    finally:
        await other.close()


def test_the_same_for_code_that_does_not_await(house):
    from provider.client import connect_sync

    with connect_sync(house.url, **house.address) as python:
        assert [entry["name"] for entry in python.operations()] == OPERATIONS
        assert set(python.schema("add")) == {"add"}
