"""What the host knows of the program's operations."""

from __future__ import annotations

import asyncio
import os
import signal

import cbor2
import pytest

from provider.errors import CallTimeout, InvalidArgument, Unavailable, UnknownOperation
from provider.host.catalogue import (
    LONGEST_NAME,
    MOST_COUNTED,
    MOST_OPERATIONS,
    REMEMBERED,
    Catalogue,
)
from provider.host.fleet import FleetOptions
from tests.conftest import PATIENCE

PROGRAM = """
    import os
    from provider.dispatch import operation

    @operation
    def add(a: int, b: int = 2) -> int:
        "Add."
        return a + b

    @operation
    def gate(name: str) -> str:
        print("at the gate", name)
        with open(os.path.join(os.path.dirname(__file__), "gate"), "rb", buffering=0) as file:
            file.read(1)
        return name
"""
ADD = {
    "name": "add",
    "free": True,
    "signature": "(a: int)",
    "doc": "",
    "batch": 0,
    "cache": 0.0,
    "streams": False,
    "http": [],
}


def catalogue(*entries):
    made = Catalogue()
    made.take({"operations": list(entries)})
    return made


def test_it_finds_as_the_worker_does():
    made = catalogue(ADD, {**ADD, "name": "py.near", "free": False})
    assert made.find("add").name == made.find("x.y.add").name == "add"
    assert made.find("py.near").name == "py.near"
    assert made.find("near") is made.find("x.py.near") is made.find("") is None


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"operations": None},
        {"operations": 5},
        {"operations": [5, None, {}, {"name": "x"}, {**ADD, "cache": "soon"}]},
    ],
)
def test_what_a_strange_worker_says_is_left_out(told):
    made = Catalogue()
    made.take(told)
    assert made.all == []
    assert made.cached is False


def test_whether_results_are_kept_is_told_of_operations_that_give_them_whole():
    assert not catalogue(ADD).cached
    assert catalogue(ADD, {**ADD, "name": "b", "cache": 5.0}).cached
    assert not catalogue({**ADD, "cache": 5.0, "streams": True}).cached


def test_numbers_outlive_a_load():
    made = catalogue(ADD)
    made.find("add").numbers.requests = 5
    made.take({"operations": []})
    assert made.find("add") is None
    made.take({"operations": [ADD]})
    assert made.find("add").numbers.requests == 5


def test_callers_who_make_names_up_fill_no_memory():
    made = catalogue(ADD)
    for number in range(REMEMBERED + 10):
        assert made.find(f"x{number}.add") is not None
    assert len(made._remembered) <= REMEMBERED


async def test_calls_are_counted_by_operation(house):
    await house.start(PROGRAM)
    assert await house.call("add", {"a": 1}) == 3
    assert await house.call("py.add", {"a": 1}) == 3
    with pytest.raises(InvalidArgument):
        await house.call("add", {"a": "1"})
    with pytest.raises(UnknownOperation):
        await house.call("other")
    numbers = house.fleet.catalogue.find("add").numbers
    assert (numbers.requests, numbers.errors) == (3, 1)
    assert numbers.last_error == "422:invalid_argument: a: Input should be a valid integer"
    assert numbers.seconds > 0


async def test_schemas_are_made_once_for_each_load(house):
    await house.start(PROGRAM)
    fleet = house.fleet
    first, again = await asyncio.gather(fleet.schemas(PATIENCE), fleet.schemas(PATIENCE))
    assert first is again
    assert first["add"]["result"] == {"type": "integer"}
    assert await fleet.schemas(PATIENCE) is first
    house.save(PROGRAM.replace("-> int", "-> float"))
    assert await house.call("add", {"a": 1}) == 3
    assert (await fleet.schemas(PATIENCE))["add"]["result"] == {"type": "number"}
    house.kill_worker()
    await house.events.until("worker_ready", 2)
    assert await fleet.schemas(PATIENCE) is not first


async def test_a_busy_worker_is_waited_for_and_not_for_ever(house):
    await house.start(PROGRAM)
    running = await house.at_the_gate("a")
    with pytest.raises(CallTimeout, match=r"did not say within 0\.01 s"):
        await house.fleet.schemas(0.01)
    waiting = asyncio.ensure_future(house.fleet.schemas(PATIENCE))
    await house.turn()
    house.open_gate()
    assert "gate" in await waiting
    assert await running == "a"


async def test_whoever_waits_is_told_when_the_worker_dies(house):
    await house.start(PROGRAM)
    running = await house.at_the_gate("a")
    waiting = asyncio.ensure_future(house.fleet.schemas(PATIENCE))
    await house.turn()
    house.kill_worker()
    with pytest.raises(Unavailable, match="the worker died meanwhile"):
        await waiting
    with pytest.raises(Exception, match="SIGKILL"):
        await running


HANGING = """
    import time
    from pydantic_core import core_schema
    from provider.dispatch import operation

    class Hanging:
        @classmethod
        def __get_pydantic_core_schema__(cls, source, handler):
            return core_schema.any_schema()

        @classmethod
        def __get_pydantic_json_schema__(cls, schema, handler):
            print("hangs", flush=True)
            time.sleep(3600)

    @operation
    def echo(a: Hanging):
        return a
"""


async def test_code_of_types_that_hangs_does_not_block_the_worker(house, events):
    await house.start(HANGING)
    house.fleet.catalogue.question.longest = 0.1
    waiting = asyncio.ensure_future(house.fleet.schemas(PATIENCE))
    await events.until("printed", text="hangs")
    asked = house.submit("echo", 5)
    with pytest.raises(Unavailable, match="the worker died meanwhile"):
        await waiting
    lost = await events.until("worker_lost")
    assert "the making of schemas took longer than 0.1 s" in lost["account"]
    assert await asked == 5  # it had not begun


async def test_the_clock_of_schemas_stands_while_a_call_runs(house, events):
    await house.start(PROGRAM)
    house.fleet.catalogue.question.longest = 0.01
    running = await house.at_the_gate("a")
    waiting = asyncio.ensure_future(house.fleet.schemas(PATIENCE))
    await asyncio.sleep(0.1)  # ten times as long as they may take
    house.fleet.catalogue.question.longest = PATIENCE
    house.open_gate()
    assert "gate" in await waiting
    assert await running == "a"
    assert house.fleet.restarts == 0


async def test_what_the_old_worker_says_late_is_not_of_the_new_one(house):
    await house.start(PROGRAM, fleet=FleetOptions(fresh=True))
    running = await house.at_the_gate("a")
    of_the_old = asyncio.ensure_future(house.fleet.schemas(PATIENCE))
    await house.turn()
    house.save(PROGRAM.replace("-> int", "-> float"))
    assert await house.call("reload") is True
    house.fleet.link.number()  # so that both questions have the same one
    assert (await house.fleet.schemas(PATIENCE))["add"]["result"] == {"type": "number"}
    house.open_gate()
    assert await running == "a"
    assert (await of_the_old)["add"]["result"] == {"type": "integer"}
    assert (await house.fleet.schemas(PATIENCE))["add"]["result"] == {"type": "number"}


async def test_the_death_of_another_worker_is_no_matter(house):
    await house.start(PROGRAM, fleet=FleetOptions(workers=2))
    running = [await house.at_the_gate("a"), await house.at_the_gate("b")]
    waiting = asyncio.ensure_future(house.fleet.schemas(PATIENCE))
    await house.turn()
    os.kill(house.fleet.slots[1].link.pid, signal.SIGKILL)
    await house.events.until("worker_lost")
    house.open_gate()
    assert "gate" in await waiting
    await asyncio.gather(*running, return_exceptions=True)


def test_long_names_are_found_and_not_remembered():
    made = catalogue(ADD)
    name = "x" * LONGEST_NAME + ".add"
    assert made.find(name).name == made.find("x.add").name == "add"
    assert list(made._remembered) == ["x.add"]


def test_names_of_many_loads_are_not_kept_for_ever():
    kept = Catalogue()
    for load in range(8):
        kept.take({"operations": [{**ADD, "name": f"{load}_{n}"} for n in range(MOST_OPERATIONS)]})
        assert len(list(kept.counted())) <= MOST_COUNTED
    assert kept.find(f"{load}_0") is not None


async def test_without_operations_or_a_worker_nothing_is_asked(house):
    await house.start()
    assert await house.fleet.schemas(PATIENCE) == {}
    with pytest.raises(Unavailable, match="no worker is ready"):
        await catalogue(ADD).schemas(None, PATIENCE)


def test_what_nobody_asked_for_is_not_taken():
    made = catalogue(ADD)
    made.told(None, 7, cbor2.loads(cbor2.dumps({"schemas": {"add": {}}})))
    made.told(None, 0, {"schemas": {"add": {}}})
    assert made._schemas is None
