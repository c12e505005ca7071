"""The messages are those clients have."""

from __future__ import annotations

import pytest
from tritonclient.grpc import service_pb2

from provider.kserve import schema

OURS = [
    message
    for message in schema.pool().FindFileByName(schema.FILE).message_types_by_name.values()
    if not message.GetOptions().map_entry
]


def fields(message):
    return {
        field.name: (
            field.number,
            field.type,
            field.is_repeated,
            field.containing_oneof.name if field.containing_oneof else "",
            field.message_type.full_name if field.message_type else "",
        )
        for field in message.fields
    }


def check(ours, theirs):
    assert fields(ours) == fields(theirs)
    assert set(ours.nested_types_by_name) == set(theirs.nested_types_by_name)
    for name, inner in ours.nested_types_by_name.items():
        assert (
            inner.GetOptions().map_entry == theirs.nested_types_by_name[name].GetOptions().map_entry
        )
        check(inner, theirs.nested_types_by_name[name])


@pytest.mark.parametrize("message", OURS, ids=lambda message: message.name)
def test_a_message_has_the_names_and_numbers_that_clients_know(message):
    check(message, service_pb2.DESCRIPTOR.message_types_by_name[message.name])


def test_the_service_has_its_methods_with_their_messages():
    service = schema.pool().FindServiceByName(schema.SERVICE)
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert service.full_name == theirs.full_name
    assert len(service.methods) == len(schema.METHODS) == 7
    for method in service.methods:
        other = theirs.methods_by_name[method.name]
        assert method.input_type.full_name == other.input_type.full_name
        assert method.output_type.full_name == other.output_type.full_name
        assert method.client_streaming == other.client_streaming
        assert method.server_streaming == other.server_streaming
