"""Services of the user's own: methods as operations."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest
from google.protobuf import message_factory

from provider.doors.grpc.protos import compiled
from provider.doors.grpc.services import OwnServices
from provider.errors import HandlerError, UnknownOperation
from provider.wire.frames import Encoding
from provider.wire.values import Limits, Values
from tests.conftest import PATIENCE
from tests.doors.grpc.conftest import fails

PROTO = """
    syntax = "proto3";
    package p;
    message In { string name = 1; repeated int32 many = 2; In inner = 3; }
    message Nothing {}
    service Own {
        rpc Do(In) returns (In);
        rpc Ask(Nothing) returns (In);
        rpc Tell(In) returns (Nothing);
        rpc List(In) returns (stream In);
        rpc Endless(In) returns (stream In);
        rpc Wait(In) returns (In);
        rpc Collect(stream In) returns (In);
        rpc Talk(stream In) returns (stream In);
    }
"""
VALUES = Values(Limits())
IN = {"name": "", "many": []}


@pytest.fixture(scope="module")
def protos(tmp_path_factory):
    path = tmp_path_factory.mktemp("protos") / "own.proto"
    path.write_text(PROTO)
    return compiled([path])


@pytest.fixture
def message(protos):
    cls = message_factory.GetMessageClass(protos.pool.FindMessageTypeByName("p.In"))

    def made(**fields) -> bytes:
        return cls(**fields).SerializeToString()

    made.read = cls.FromString
    return made


@pytest.fixture
async def door(open_door, protos):
    from tests.doors.grpc.conftest import Backend

    backend = Backend()
    opened = await open_door(OwnServices(protos, backend, Limits(depth=8)))
    opened.backend = backend
    return opened


def method(name: str) -> str:
    return f"/p.Own/{name}"


async def test_a_message_is_a_map_and_so_is_the_result(door, message):
    door.backend.answers["p.Own.Do"] = VALUES.encode({"name": "back", "many": [1, 2]})
    answer = message.read(await door.unary(method("Do"))(message(name="there", many=[3])))
    assert (answer.name, list(answer.many)) == ("back", [1, 2])
    (call,) = door.backend.calls
    assert call.operation == "p.Own.Do"
    assert call.encoding == Encoding.CBOR
    assert VALUES.decode(call.payload) == {"name": "there", "many": [3]}


async def test_a_message_that_says_nothing_is_no_argument(door):
    door.backend.answers["p.Own.Ask"] = VALUES.encode({})
    assert await door.unary(method("Ask"))(b"") == b""
    (call,) = door.backend.calls
    assert (call.payload, call.encoding) == (b"", Encoding.ABSENT)


async def test_no_result_is_a_message_that_says_nothing(door, message):
    for nothing in (VALUES.encode(None), VALUES.encode({}), b""):
        door.backend.answers["p.Own.Tell"] = nothing
        assert await door.unary(method("Tell"))(message()) == b""


@pytest.mark.parametrize(
    ("declared", "called"),
    [
        ((), "p.Own.Do"),
        (("p.Own.Do", "Do"), "p.Own.Do"),
        (("Do",), "Do"),
        (("Other",), "p.Own.Do"),
    ],
)
async def test_which_operation_is_called(door, message, declared, called):
    door.backend.operations = [{"name": name} for name in declared]
    door.backend.generation = 7
    await door.unary(method("Do"))(message())
    assert door.backend.calls[0].operation == called


async def test_what_is_declared_is_followed(door, message):
    await door.unary(method("Do"))(message())
    door.backend.operations, door.backend.generation = [{"name": "Do"}], 1
    await door.unary(method("Do"))(message())
    assert [call.operation for call in door.backend.calls] == ["p.Own.Do", "Do"]


async def test_what_is_known_to_be_old_is_asked_for_again(door, message):
    async def refresh():
        door.backend.operations, door.backend.generation = [{"name": "Do"}], 1

    door.backend.outdated, door.backend.refresh = True, refresh
    await door.unary(method("Do"))(message())
    assert door.backend.calls[0].operation == "Do"


async def test_a_stream_comes_message_by_message(door, message):
    items = [{"name": "a"}, {"name": "b"}]
    door.backend.answers["p.Own.List"] = [VALUES.encode(item) for item in items]
    call = door.channel.unary_stream(method("List"))(message())
    async with asyncio.timeout(PATIENCE):
        assert [message.read(each).name async for each in call] == ["a", "b"]


async def test_a_stream_that_fails_ends_with_its_status(door, message):
    error = HandlerError("half way", code=409)
    door.backend.answers["p.Own.List"] = [VALUES.encode({"name": "a"}), error]
    call = door.channel.unary_stream(method("List"))(message())
    async with asyncio.timeout(PATIENCE):
        assert message.read(await call.read()).name == "a"
    async with fails("ABORTED"):
        await call.read()


async def test_who_leaves_a_stream_stops_the_function(door, message):
    call = door.channel.unary_stream(method("Endless"))(message(name="x"))
    async with asyncio.timeout(PATIENCE):
        await call.read()
        call.cancel()
        await door.backend.left.wait()


async def test_who_cancels_cancels_the_call(door, message):
    call = door.unary(method("Wait"))(message())
    async with asyncio.timeout(PATIENCE):
        await door.backend.begun.wait()
        call.cancel()
        await door.backend.left.wait()


@pytest.mark.parametrize("name", ["Collect", "Talk"])
async def test_methods_that_take_streams_are_refused_in_words(door, message, name):
    call = door.channel.stream_stream(method(name))()
    async with fails("UNIMPLEMENTED") as caught:
        await call.write(message())
        await call.read()
    assert f"p.Own.{name} takes a stream of messages" in caught[0].details()


async def test_bytes_that_are_no_message(door):
    async with fails("INVALID_ARGUMENT") as caught:
        await door.unary(method("Do"))(b"\xff\xff")
    assert caught[0].details() == "the message is no p.In"
    async with fails("INVALID_ARGUMENT") as caught:
        await door.unary(method("Do"))(b"\xf8\x07\x01")
    assert "no field of number 127" in caught[0].details()
    assert door.backend.calls == []


async def test_a_message_over_a_limit_of_values(door, message, protos):
    data = message(name="x")
    for _ in range(9):
        data = b"\x1a" + bytes([len(data)]) + data
    async with fails("INVALID_ARGUMENT") as caught:
        await door.unary(method("Do"))(data)
    assert caught[0].details().startswith("the message cannot travel: ")
    assert door.backend.calls == []


async def test_a_result_that_does_not_fit_is_told_to_caller_and_author(door, message, events):
    door.backend.answers["p.Own.Do"] = VALUES.encode({"nam": 1})
    async with fails("INTERNAL") as caught:
        await door.unary(method("Do"))(message())
    assert caught[0].details() == "the result is no p.In: p.In has no field 'nam', at value['nam']"
    assert "has no field 'nam'" in events.of("result_unfit")[0]["reason"]


async def test_a_result_that_is_none_is_not_the_fault_of_who_called(door, message, events):
    door.backend.answers["p.Own.Do"] = b"\xa1\x61"
    async with fails("INTERNAL") as caught:
        await door.unary(method("Do"))(message())
    assert caught[0].details().startswith("the result cannot be read: ")
    assert events.of("result_unfit")


async def test_an_operation_that_is_not_there(door, message):
    door.backend.answers["p.Own.Do"] = UnknownOperation("no such operation; there is 'do'")
    async with fails("UNIMPLEMENTED") as caught:
        await door.unary(method("Do"))(message())
    assert dict(caught[0].trailing_metadata())["provider-error-kind"] == "unknown_operation"


async def test_stubs_of_blocking_clients_work(door, message):
    door.backend.answers["p.Own.Do"] = VALUES.encode({"name": "back"})

    def call():
        with grpc.insecure_channel(door.server.address) as channel:
            stub = channel.unary_unary(method("Do"), None, message.read)
            return stub(message(name="x"), timeout=PATIENCE).name

    assert await asyncio.to_thread(call) == "back"
