"""Messages of services that users bring.

The rule of this file: one message has a field of each kind, and what is known of each is tried both
ways.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cbor2

from provider.doors.grpc.messages import Messages
from provider.doors.grpc.protos import compiled
from provider.errors import BadRequest, BadResult
from provider.wire.values import Limits, Values
from tests.fuzz.target import refused, target, told

VALUES = Values(Limits())
PROTO = """
    syntax = "proto3";
    package p;
    import "google/protobuf/duration.proto";
    import "google/protobuf/struct.proto";
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";
    enum Color { RED = 0; BLUE = 5; }
    message In {
        int64 long = 1;
        bytes data = 2;
        optional string maybe = 3;
        repeated int32 list = 4;
        map<int32, In> map = 5;
        oneof either { string text = 6; In inner = 7; }
        Color color = 8;
        repeated Color colors = 9;
        map<bool, string> flags = 10;
        float single = 11;
        uint64 unsigned = 13;
        repeated In several = 14;
        map<string, bytes> named = 15;
        double real = 16;
        google.protobuf.Timestamp time = 20;
        google.protobuf.Duration span = 21;
        google.protobuf.Struct struct = 22;
        google.protobuf.ListValue items = 23;
        google.protobuf.Value any = 24;
        google.protobuf.Int64Value wrapped = 25;
        google.protobuf.BytesValue raw = 26;
    }
    service S { rpc Do(In) returns (In); }
"""


def _made() -> Messages:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fuzz.proto")
        path.write_text(PROTO)
        (service,) = compiled([path]).services
        return Messages(service.methods[0].input_type)


_messages = _made()


@target(
    b"\x2a\x04\x08\x01\x12\x00",
    b"\x3a\x02\x08\x01",
    b"\xa2\x01\x06\x08\x01\x10\x01",
    b"\xaa\x01\x02\x08\x01",
    b"\xb2\x01",
    b"\xc2\x01",
    b"\x7a\x04\x0a\x01a\x12",
    b"\x80\x01",
)
def message(data: bytes) -> None:
    """A message: what was read of it is written, and read again it is the same."""
    value = refused(_messages.read, data)
    if value is None:
        return
    try:
        payload = VALUES.encode(value)
    except BadResult as error:
        told(error)
        return
    again = _messages.read(_messages.write(VALUES.decode(payload)))
    # Once only: a moment has microseconds here, and a null is not written.
    more = _messages.read(_messages.write(again))
    assert cbor2.dumps(more, canonical=True) == cbor2.dumps(again, canonical=True)


@target(
    b"\x64long",
    b"\x64data",
    b"\x63map",
    b"\x65inner",
    b"\x65flags",
    b"\x64time",
    b"\x64span",
    b"\x66struct",
    b"\x63any",
    b"\xc0\x74",
    b"\x67wrapped",
    b"\x65color",
)
def result(data: bytes) -> None:
    """A result that is to be a message."""
    try:
        value = VALUES.decode_result(data)
        written = _messages.write(value)
    except BadResult as error:
        told(error)
        return
    try:
        _messages.read(written)
    except BadRequest as error:
        raise AssertionError("what is written cannot be read") from error
