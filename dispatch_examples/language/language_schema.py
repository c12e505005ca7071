"""The messages of language.proto, as a module made by protoc would have them.

They are made here without protoc, so that any protobuf library from 4 on can be in the environment.
A module that protoc made goes wherever this one goes.

The rule of this file: it says what language.proto says; a test compares them.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "app"
MESSAGES = {
    "Request": {"id": "string", "title": "string", "body": "string", "enrichments": "Enrichments"},
    "Enrichments": {"extracted": "Enrichment"},
    "Enrichment": {"value": "Value"},
    "Value": {"body": "string"},
    "Response": {
        "version": "string",
        "language": "string",
        "confidence": "float",
        "error": "optional string",
    },
}
"""By name of the message the types of its fields, which are numbered from 1."""


def _file():
    file = descriptor_pb2.FileDescriptorProto(
        name="language.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, written) in enumerate(fields.items(), 1):
            kind = written.removeprefix("optional ")
            made = message.field.add(name=field, number=number)
            made.label = made.LABEL_OPTIONAL
            if kind in MESSAGES:
                made.type, made.type_name = made.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
            else:
                made.type = getattr(made, f"TYPE_{kind.upper()}")
            if written != kind:
                # As protoc writes down that nothing is something else than empty.
                made.proto3_optional, made.oneof_index = True, len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field}")
    return file


# A pool of its own: the file may be loaded again, and say something else then.
_pool = descriptor_pool.DescriptorPool()
_pool.Add(_file())
_classes = {
    name: message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
    for name in MESSAGES
}
Request, Response = _classes["Request"], _classes["Response"]
