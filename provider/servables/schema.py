"""The messages a `graph.pbtxt` consists of, as far as graphs of Python nodes need them.

The rule of this file: the descriptors are made here, at run time, from the table below; no file of
another project is compiled. What is not in the table is refused by the parser, by its name.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "mediapipe"
OPTIONS = "PythonExecutorCalculatorOptions"
"""The message in the options of a Python node."""


class _Field(NamedTuple):
    number: int
    kind: str
    many: bool = False


_STRING, _INT, _BOOL = "string", "int32", "bool"

_MESSAGES: dict[str, dict[str, _Field]] = {
    "CalculatorGraphConfig": {
        "node": _Field(1, "GraphNode", many=True),
        "num_threads": _Field(8, _INT),
        "input_stream": _Field(10, _STRING, many=True),
        "max_queue_size": _Field(11, _INT),
        "input_stream_handler": _Field(12, "InputStreamHandlerConfig"),
        "output_stream": _Field(15, _STRING, many=True),
        "input_side_packet": _Field(16, _STRING, many=True),
        "output_side_packet": _Field(17, _STRING, many=True),
        "package": _Field(19, _STRING),
        "type": _Field(20, _STRING),
        "report_deadlock": _Field(21, _BOOL),
    },
    "GraphNode": {
        "name": _Field(1, _STRING),
        "calculator": _Field(2, _STRING),
        "input_stream": _Field(3, _STRING, many=True),
        "output_stream": _Field(4, _STRING, many=True),
        "input_side_packet": _Field(5, _STRING, many=True),
        "output_side_packet": _Field(6, _STRING, many=True),
        "options": _Field(7, "CalculatorOptions"),
        "node_options": _Field(8, "google.protobuf.Any", many=True),
        "source_layer": _Field(9, _INT),
        "buffer_size_hint": _Field(10, _INT),
        "input_stream_handler": _Field(11, "InputStreamHandlerConfig"),
        "input_stream_info": _Field(13, "InputStreamInfo", many=True),
        "executor": _Field(14, _STRING),
        "max_in_flight": _Field(16, _INT),
    },
    "InputStreamInfo": {"tag_index": _Field(1, _STRING), "back_edge": _Field(2, _BOOL)},
    "InputStreamHandlerConfig": {
        "input_stream_handler": _Field(1, _STRING),
        "options": _Field(3, "MediaPipeOptions"),
    },
    "SyncSet": {"tag_index": _Field(1, _STRING, many=True)},
    "SyncSetInputStreamHandlerOptions": {"sync_set": _Field(1, "SyncSet", many=True)},
    OPTIONS: {"handler_path": _Field(1, _STRING)},
    "CalculatorOptions": {},
    "MediaPipeOptions": {},
}
_EXTENSIONS = {
    "SyncSetInputStreamHandlerOptions": ("MediaPipeOptions", 20_001),
    OPTIONS: ("CalculatorOptions", 20_002),
}
"""What is written `[mediapipe.NAME.ext] { }`: in which message, and under which number of ours."""
_TYPES = {
    _STRING: descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    _INT: descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    _BOOL: descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
}


@functools.cache
def pool() -> Any:
    """The descriptors of these messages and nothing else."""
    file = descriptor_pb2.FileDescriptorProto(
        name="provider/graph.proto",
        package=PACKAGE,
        syntax="proto2",
        dependency=["google/protobuf/any.proto"],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, about in fields.items():
            _describe(message.field.add(name=field), about)
        if name in {target for target, _ in _EXTENSIONS.values()}:
            message.extension_range.add(start=20_000, end=1 << 29)
        if name in _EXTENSIONS:
            target, number = _EXTENSIONS[name]
            extension = message.extension.add(name="ext", extendee=f".{PACKAGE}.{target}")
            _describe(extension, _Field(number, name))
    made = descriptor_pool.DescriptorPool()
    made.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    made.Add(file)
    return made


def graph_class() -> Any:
    """The class of whole graphs."""
    return message_class("CalculatorGraphConfig")


def message_class(name: str) -> Any:
    """The class of the messages of this name."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


def sync_sets(handler: Any) -> list[str]:
    """The `tag_index` of all sync sets of an InputStreamHandlerConfig."""
    extension = pool().FindExtensionByName(f"{PACKAGE}.SyncSetInputStreamHandlerOptions.ext")
    options = handler.options.Extensions[extension]
    return [tag for sync_set in options.sync_set for tag in sync_set.tag_index]


def _describe(field: Any, about: _Field) -> None:
    kind = descriptor_pb2.FieldDescriptorProto
    field.number = about.number
    field.label = kind.LABEL_REPEATED if about.many else kind.LABEL_OPTIONAL
    if about.kind in _TYPES:
        field.type = _TYPES[about.kind]
    else:
        field.type = kind.TYPE_MESSAGE
        field.type_name = f".{about.kind}" if "." in about.kind else f".{PACKAGE}.{about.kind}"
