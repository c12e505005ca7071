"""Reflection, as its own client asks, in both versions."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from provider.doors.grpc.protos import compiled
from provider.doors.grpc.services import OwnServices
from provider.errors import StartError
from provider.wire.values import Limits
from tests.conftest import PATIENCE
from tests.doors.grpc.conftest import Backend, fails

PROTO = """
    syntax = "proto3";
    package r;
    import "google/protobuf/timestamp.proto";
    message In { google.protobuf.Timestamp when = 1; }
    service Own { rpc Do(In) returns (In); }
"""


@pytest.fixture(scope="module")
def protos(tmp_path_factory):
    path = tmp_path_factory.mktemp("protos") / "own.proto"
    path.write_text(PROTO)
    return compiled([path])


@pytest.fixture
async def door(open_door, protos):
    return await open_door(OwnServices(protos, Backend(), Limits()))


async def test_a_client_finds_a_method_and_its_messages(door):
    def found():
        with grpc.insecure_channel(door.server.address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            service = DescriptorPool(database).FindServiceByName("r.Own")
            field = service.methods_by_name["Do"].input_type.fields_by_name["when"]
            return list(database.get_services()), field.message_type.full_name

    services, type_of_field = await asyncio.to_thread(found)
    assert type_of_field == "google.protobuf.Timestamp"
    assert set(services) == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "r.Own",
        "t.Text",
    }


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_each_version_describes_itself(door, version):
    name = f"grpc.reflection.{version}.ServerReflection"
    call = door.channel.stream_stream(f"/{name}/ServerReflectionInfo")()
    question = reflection_pb2.ServerReflectionRequest(file_containing_symbol=name)
    async with asyncio.timeout(PATIENCE):
        await call.write(question.SerializeToString())
        answer = reflection_pb2.ServerReflectionResponse.FromString(await call.read())
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    (file,) = answer.file_descriptor_response.file_descriptor_proto
    assert f"grpc.reflection.{version}".encode() in file


async def test_who_goes_on_asking_does_not_keep_the_door_open(door):
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    call = door.channel.stream_stream(path)()
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    async with asyncio.timeout(PATIENCE):
        await call.write(question.SerializeToString())
        await call.read()
        door.server.stop_listening()
        async with fails("UNAVAILABLE"):
            await call.read()
        await door.server.settled()


async def test_bytes_that_are_no_question(door):
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    call = door.channel.stream_stream(path)()
    async with fails("INVALID_ARGUMENT"):
        await call.write(b"\xff\xff")
        await call.read()


async def test_it_can_be_switched_off(open_door):
    door = await open_door(reflection=False)
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    call = door.channel.stream_stream(path)()
    async with fails("UNIMPLEMENTED"):
        await call.read()


async def test_files_that_contradict_each_other(open_door, protos, tmp_path):
    other = tmp_path / "other.proto"
    other.write_text(PROTO.replace("when = 1", "then = 1"))
    services = [OwnServices(each, Backend(), Limits()) for each in (protos, compiled([other]))]
    services[1].methods = lambda answering: {}
    with pytest.raises(StartError, match="do not fit together"):
        await open_door(*services)
