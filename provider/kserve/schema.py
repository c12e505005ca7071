"""The messages and methods of `inference.GRPCInferenceService`, as descriptors.

The rule of this file: they are made from the table below, at run time and in a pool of their own,
so that a program that has another copy of them is not in the way. Names and numbers are those of
the public protocol (https://github.com/kserve/open-inference-protocol), with the two parameters
that Triton's clients add.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
FILE = "provider/inference.proto"

_MESSAGES = """
ServerLiveRequest:
ServerLiveResponse: live bool 1
ServerReadyRequest:
ServerReadyResponse: ready bool 1
ModelReadyRequest: name string 1, version string 2
ModelReadyResponse: ready bool 1
ServerMetadataRequest:
ServerMetadataResponse: name string 1, version string 2, extensions *string 3
ModelMetadataRequest: name string 1, version string 2
ModelMetadataResponse: name string 1, versions *string 2, platform string 3,
    inputs *ModelMetadataResponse.TensorMetadata 4, outputs *ModelMetadataResponse.TensorMetadata 5
ModelMetadataResponse.TensorMetadata: name string 1, datatype string 2, shape *int64 3
InferParameter: bool_param |bool 1, int64_param |int64 2, string_param |string 3,
    double_param |double 4, uint64_param |uint64 5
InferTensorContents: bool_contents *bool 1, int_contents *int32 2, int64_contents *int64 3,
    uint_contents *uint32 4, uint64_contents *uint64 5, fp32_contents *float 6,
    fp64_contents *double 7, bytes_contents *bytes 8
ModelInferRequest: model_name string 1, model_version string 2, id string 3,
    parameters {InferParameter 4, inputs *ModelInferRequest.InferInputTensor 5,
    outputs *ModelInferRequest.InferRequestedOutputTensor 6, raw_input_contents *bytes 7
ModelInferRequest.InferInputTensor: name string 1, datatype string 2, shape *int64 3,
    parameters {InferParameter 4, contents InferTensorContents 5
ModelInferRequest.InferRequestedOutputTensor: name string 1, parameters {InferParameter 2
ModelInferResponse: model_name string 1, model_version string 2, id string 3,
    parameters {InferParameter 4, outputs *ModelInferResponse.InferOutputTensor 5,
    raw_output_contents *bytes 6
ModelInferResponse.InferOutputTensor: name string 1, datatype string 2, shape *int64 3,
    parameters {InferParameter 4, contents InferTensorContents 5
ModelStreamInferResponse: error_message string 1, infer_response ModelInferResponse 2
"""
"""A message, and its fields: name, type, number. Before the type `*` says repeated, `{` a map from
text, and `|` that it is one choice of several."""


class Method(NamedTuple):
    """One method of the service."""

    name: str
    request: str
    response: str
    streams: bool = False


METHODS = (
    Method("ServerLive", "ServerLiveRequest", "ServerLiveResponse"),
    Method("ServerReady", "ServerReadyRequest", "ServerReadyResponse"),
    Method("ModelReady", "ModelReadyRequest", "ModelReadyResponse"),
    Method("ServerMetadata", "ServerMetadataRequest", "ServerMetadataResponse"),
    Method("ModelMetadata", "ModelMetadataRequest", "ModelMetadataResponse"),
    Method("ModelInfer", "ModelInferRequest", "ModelInferResponse"),
    Method("ModelStreamInfer", "ModelInferRequest", "ModelStreamInferResponse", streams=True),
)

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    name: _Field.Type.Value(f"TYPE_{name.upper()}")
    for name in ("bool", "string", "bytes", "int32", "int64", "uint32", "uint64", "float", "double")
}


@functools.cache
def pool() -> Any:
    """The descriptors of these messages and the service, and nothing else."""
    made = descriptor_pool.DescriptorPool()
    made.Add(file())
    return made


@functools.cache
def message_class(name: str) -> Any:
    """The class of the messages of this name."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


def file() -> Any:
    """The file as a descriptor, which is what reflection tells of it."""
    made = descriptor_pb2.FileDescriptorProto(name=FILE, package=PACKAGE, syntax="proto3")
    messages: dict[str, Any] = {}
    for line in _MESSAGES.replace("\n    ", " ").strip().splitlines():
        name, _, fields = line.partition(":")
        outer, _, inner = name.partition(".")
        message = (
            messages[outer].nested_type.add(name=inner)
            if inner
            else made.message_type.add(name=name)
        )
        messages[name] = message
        for field in fields.split(",") if fields.strip() else ():
            _add(message, f".{PACKAGE}.{name}", *field.split())
    service = made.service.add(name=SERVICE.rpartition(".")[2])
    for method in METHODS:
        service.method.add(
            name=method.name,
            input_type=f".{PACKAGE}.{method.request}",
            output_type=f".{PACKAGE}.{method.response}",
            client_streaming=method.streams,
            server_streaming=method.streams,
        )
    return made


def _add(message: Any, full_name: str, name: str, kind: str, number: str) -> None:
    mark, kind = (kind[0], kind[1:]) if kind[0] in "*{|" else ("", kind)
    field = message.field.add(name=name, number=int(number))
    field.label = _Field.LABEL_REPEATED if mark in ("*", "{") else _Field.LABEL_OPTIONAL
    if mark == "|":
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if mark == "{":
        entry = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        inner = message.nested_type.add(name=entry)
        inner.options.map_entry = True
        _add(inner, f"{full_name}.{entry}", "key", "string", "1")
        _add(inner, f"{full_name}.{entry}", "value", kind, "2")
        field.type, field.type_name = _Field.TYPE_MESSAGE, f"{full_name}.{entry}"
    elif kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
