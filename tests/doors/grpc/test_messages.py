"""Messages as values, and back."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from google.protobuf import message_factory
from hypothesis import given
from hypothesis import strategies as st

from provider.doors.grpc.messages import Messages
from provider.doors.grpc.protos import compiled
from provider.errors import BadRequest, BadResult

PROTO = """
    syntax = "proto3";
    package p;
    import "google/protobuf/duration.proto";
    import "google/protobuf/struct.proto";
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";
    enum Color { RED = 0; BLUE = 5; }
    message Nothing {}
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
        bool flag = 12;
        uint64 unsigned = 13;
        repeated In several = 14;
        map<string, bytes> named = 15;
        double real = 16;
        uint32 small = 17;
        sint32 signed = 18;
        fixed64 fixed = 19;
    }
    message Known {
        google.protobuf.Timestamp time = 1;
        google.protobuf.Duration span = 2;
        google.protobuf.Struct map = 3;
        google.protobuf.ListValue list = 4;
        google.protobuf.Value any = 5;
        google.protobuf.Int64Value long = 6;
        google.protobuf.BytesValue data = 7;
        google.protobuf.BoolValue flag = 8;
    }
    service S { rpc Do(In) returns (Known); }
"""
DEFAULTS = {
    "long": 0,
    "data": b"",
    "list": [],
    "map": {},
    "color": "RED",
    "colors": [],
    "flags": {},
    "single": 0.0,
    "flag": False,
    "unsigned": 0,
    "several": [],
    "named": {},
    "real": 0.0,
    "small": 0,
    "signed": 0,
    "fixed": 0,
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    path = tmp_path_factory.mktemp("protos") / "own.proto"
    path.write_text(PROTO)
    return compiled([path]).pool


@pytest.fixture(scope="module")
def of(pool):
    return lambda name: Messages(pool.FindMessageTypeByName(f"p.{name}"))


def back(messages, value):
    return messages.read(messages.write(value))


def test_what_is_always_there_and_what_is_not(of):
    assert of("In").read(b"") == DEFAULTS
    assert of("Known").read(b"") == {}
    assert back(of("In"), {"maybe": "", "text": ""}) == {**DEFAULTS, "maybe": "", "text": ""}
    assert back(of("In"), {"inner": {}})["inner"] == DEFAULTS
    assert back(of("In"), {"maybe": None, "long": None}) == DEFAULTS


@pytest.mark.parametrize(
    "members",
    [
        {"long": -(2**63), "unsigned": 2**64 - 1, "small": 2**32 - 1, "fixed": 2**63},
        {"signed": -(2**31), "list": [2**31 - 1, -1]},
        {"data": b"\0\xff" * 1000, "named": {"a": b"\1", "": b""}},
        {"color": "BLUE", "colors": ["RED", "BLUE", 7]},
        {"single": 1.5, "real": 1e300, "flag": True},
        {"flags": {"true": "t", "false": "f"}},
        {"text": "gr\u00fc\u00df\0"},
    ],
)
def test_scalars_lists_and_maps_come_back(of, members):
    assert back(of("In"), members) == {**DEFAULTS, **members}


def test_messages_in_messages_come_back(of):
    value = back(of("In"), {"several": [{"long": 1}, {}], "map": {"-3": {"inner": {"long": 2}}}})
    assert [each["long"] for each in value["several"]] == [1, 0]
    assert value["map"]["-3"]["inner"]["long"] == 2


def test_integers_and_arrays_are_taken_for_reals_and_lists(of):
    value = back(of("In"), {"real": 3, "list": np.array([1, 2], dtype="int16")})
    assert (value["real"], value["list"]) == (3.0, [1, 2])
    assert type(value["real"]) is float
    assert back(of("In"), {"list": (1, 2), "color": 5})["color"] == "BLUE"


@pytest.mark.parametrize(
    "members",
    [
        {"time": datetime(2020, 1, 2, 3, 4, 5, 678, tzinfo=UTC)},
        {"span": -1.5},
        {"span": 0.0},
        {"map": {"a": [1.0, None, True, "x", {"b": {}}, []]}},
        {"map": {}},
        {"list": ["a", None]},
        {"any": {"a": 1.0}},
        {"any": "text"},
        {"any": [False]},
        {"long": 0, "data": b"", "flag": False},
        {"long": -5, "data": b"\1", "flag": True},
    ],
)
def test_known_types_are_what_they_stand_for(of, members):
    assert back(of("Known"), members) == members


def test_a_span_is_rounded_and_never_a_whole_second_of_nanoseconds(of, pool):
    known = message_factory.GetMessageClass(pool.FindMessageTypeByName("p.Known"))
    for seconds in (0.9999999999, -0.9999999999):
        span = known.FromString(of("Known").write({"span": seconds})).span
        assert (span.seconds, span.nanos) == (round(seconds), 0)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"wrong": 1}, r"p\.In has no field 'wrong', at value\['wrong'\]"),
        ({5: 1}, "has no field 5"),
        ({"long": 2**63}, r"int64 is expected, not int 9223372036854775808, at value\['long'\]"),
        ({"long": True}, "int64 is expected, not bool"),
        ({"long": 1.0}, "int64 is expected, not float"),
        ({"unsigned": -1}, "uint64 is expected"),
        ({"small": 2**32}, "uint32 is expected"),
        ({"signed": 2**31}, "int32 is expected"),
        ({"flag": 1}, "bool is expected"),
        ({"real": "1"}, "double is expected"),
        ({"real": 10**400}, "double is expected"),
        ({"data": "text"}, "bytes is expected"),
        ({"maybe": b"data"}, "string is expected"),
        ({"color": "GREEN"}, r"'GREEN' is no p\.Color"),
        ({"color": 2**31}, r"is no p\.Color"),
        ({"color": None, "colors": [None]}, r"is no p\.Color, at value\['colors'\]\[0\]"),
        ({"text": "a", "inner": {}}, "text and inner exclude each other"),
        ({"list": {"a": 1}}, "a list is expected"),
        ({"list": "12"}, "a list is expected"),
        ({"map": [1]}, "a map is expected"),
        ({"map": {"a": {}}}, "the key 'a' is no int32"),
        ({"map": {"\u0663": {}}}, "is no int32"),
        ({"map": {"9" * 20: {}}}, "int32 is expected"),
        ({"map": {"-": {}}}, "is no int32"),
        ({"flags": {"True": ""}}, "neither true nor false"),
        ({"several": [{}, {"list": [1, "x"]}]}, r"at value\['several'\]\[1\]\['list'\]\[1\]"),
        ({"inner": [1]}, r"a map of p\.In is expected, not list"),
        ([1], r"a map of p\.In is expected"),
        (None, r"a map of p\.In is expected, not NoneType"),
    ],
)
def test_a_result_that_does_not_fit_is_told_with_its_place(of, value, says):
    with pytest.raises(BadResult, match=says) as raised:
        of("In").write(value)
    assert raised.value.message.startswith("the result is no p.In: ")


@pytest.mark.parametrize(
    "members",
    [
        {"time": "2020-01-02"},
        {"span": "1s"},
        {"span": float("nan")},
        {"span": 1e300},
        {"map": [1]},
        {"map": {"a": b"data"}},
        {"list": {"a": 1}},
        {"any": b"data"},
        {"any": 10**400},
        {"long": "5"},
    ],
)
def test_known_types_refuse_what_they_cannot_say(of, members):
    with pytest.raises(BadResult, match=r"is expected, .*at value"):
        of("Known").write(members)


def test_no_result_is_a_message_that_says_nothing(of):
    assert of("Nothing").empty
    assert of("Nothing").write(None) == b""
    assert of("Nothing").write({}) == b""
    assert not of("In").empty


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xff", r"the message is no p\.In$"),
        (b"\x0a", r"the message is no p\.In$"),
        (b"\x32\x01\xff", r"the message is no p\.In$"),  # no UTF-8
        (b"\xf8\x07\x01", r"p\.In has no field of number 127"),
        (b"\x3a\x03\xf8\x07\x01", r"number 127, at value\['inner'\]"),
        (b"\x72\x03\xf8\x07\x01", "number 127, at value"),
    ],
)
def test_bytes_that_are_no_message(of, data, says):
    with pytest.raises(BadRequest, match=says):
        of("In").read(data)


def test_a_time_that_nobody_can_say(of):
    with pytest.raises(BadRequest, match=r"no p\.Known that is read here"):
        of("Known").read(b"\x0a\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f")


def test_a_span_that_nobody_can_say(of):
    assert of("Known").read(b"\x12\x07\x08\x80\xbc\xae\xce\x97\x09")["span"] == 315_576_000_000
    for wrong in (b"\x81\xbc\xae\xce\x97\x09", b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"):
        data = b"\x08" + wrong
        data = b"\x12" + bytes([len(data)]) + data
        with pytest.raises(BadRequest, match="at most 315576000000 seconds, at value"):
            of("Known").read(data)


def test_messages_that_are_too_deep(of):
    def nested(levels):
        data = b""
        for _ in range(levels):
            size = len(data)
            head = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
            data = b"\x3a" + head + data
        return data

    assert of("In").read(nested(50))
    with pytest.raises(BadRequest):
        of("In").read(nested(150))


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(of, data):
    try:
        value = of("In").read(data)
    except BadRequest:
        return
    assert of("In").read(of("In").write(value)) == value or value != value  # NaN
