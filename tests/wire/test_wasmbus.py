"""The structs of wasmbus, byte for byte, and what strangers may send in their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.errors import BadRequest
from provider.wire import wasmbus
from provider.wire.values import Limits, Values
from provider.wire.wasmbus import (
    HealthCheckResponse,
    Invocation,
    InvocationResponse,
    LinkDefinition,
    WasmCloudEntity,
    decode_health,
    decode_invocation,
    decode_link,
    decode_response,
    decode_shutdown,
    encode_health,
    encode_invocation,
    encode_link,
    encode_response,
    encode_shutdown,
)

VECTORS = json.loads(
    (Path(__file__).parents[1] / "lattice" / "wasmbus_vectors.json").read_text("utf-8")
)
VALUES = Values(Limits())
SMALL = Values(Limits(depth=3, items=4, string=8))
pack = msgspec.msgpack.encode

ORIGIN = WasmCloudEntity(public_key="MACTOR", contract_id="")
TARGET = WasmCloudEntity(
    public_key="VPROV", link_name="default", contract_id="wasmcloud:example:python"
)
ORIGIN_MAP = {"public_key": "MACTOR", "link_name": "", "contract_id": ""}
TARGET_MAP = {
    "public_key": "VPROV",
    "link_name": "default",
    "contract_id": "wasmcloud:example:python",
}
CALL = Invocation(
    origin=ORIGIN,
    target=TARGET,
    operation="py.factorial",
    msg=b"\x7f\x0a",
    id="id1",
    encoded_claims="a.b.c",
    host_id="NHOST",
    content_length=2,
)
CALL_MAP: dict[str, Any] = {
    "origin": ORIGIN_MAP,
    "target": TARGET_MAP,
    "operation": "py.factorial",
    "msg": b"\x7f\x0a",
    "id": "id1",
    "encoded_claims": "a.b.c",
    "host_id": "NHOST",
    "content_length": 2,
}

EXAMPLE_CALL = """
88 a66f726967696e 83 aa7075626c69635f6b6579 a64d4143544f52 a96c696e6b5f6e616d65 a0
   ab636f6e74726163745f6964 a0
   a6746172676574 83 aa7075626c69635f6b6579 a55650524f56 a96c696e6b5f6e616d65 a764656661756c74
   ab636f6e74726163745f6964 b87761736d636c6f75643a6578616d706c653a707974686f6e
   a96f7065726174696f6e ac70792e666163746f7269616c  a36d7367 c4027f0a  a26964 a3696431
   ae656e636f6465645f636c61696d73 a5612e622e63  a7686f73745f6964 a54e484f5354
   ae636f6e74656e745f6c656e677468 02
"""
EXAMPLE_OK = """
83 a36d7367 c405 1a00375f00 ad696e766f636174696f6e5f6964 a3696431
   ae636f6e74656e745f6c656e677468 05
"""
EXAMPLE_ERROR = """
84 a36d7367 c400 ad696e766f636174696f6e5f6964 a3696431 a56572726f72 a4626f6f6d
   ae636f6e74656e745f6c656e677468 00
"""
EXAMPLE_LINK = """
85 a86163746f725f6964 a14d ab70726f76696465725f6964 a156 a96c696e6b5f6e616d65 a764656661756c74
   ab636f6e74726163745f6964 a3633a64 a676616c756573 81 a16b a176
"""


def without(name: str, of: dict[str, Any] = CALL_MAP) -> dict[str, Any]:
    return {key: value for key, value in of.items() if key != name}


def refusal(read: Any, *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(BadRequest) as caught:
        read(*arguments, **keywords)
    return str(caught.value)


# --- Byte for byte -------------------------------------------------------------------------------


def test_the_invocation_of_the_specification() -> None:
    data = bytes.fromhex(EXAMPLE_CALL)
    assert encode_invocation(CALL) == data
    assert decode_invocation(data) == CALL


@pytest.mark.parametrize(
    ("example", "response"),
    [
        (
            EXAMPLE_OK,
            InvocationResponse(
                msg=bytes.fromhex("1a00375f00"), invocation_id="id1", content_length=5
            ),
        ),
        (
            EXAMPLE_ERROR,
            InvocationResponse(invocation_id="id1", error="boom", content_length=0),
        ),
    ],
)
def test_the_responses_of_the_specification(example: str, response: InvocationResponse) -> None:
    data = bytes.fromhex(example)
    assert encode_response(response) == data
    assert decode_response(data) == response


def test_the_link_of_the_specification() -> None:
    link = LinkDefinition(
        actor_id="M", provider_id="V", link_name="default", contract_id="c:d", values={"k": "v"}
    )
    assert encode_link(link) == bytes.fromhex(EXAMPLE_LINK)
    assert decode_link(bytes.fromhex(EXAMPLE_LINK)) == link


@pytest.mark.parametrize(
    ("data", "json_", "response"),
    [
        ("81a76865616c746879c3", b'{"healthy":true}', HealthCheckResponse(healthy=True)),
        (
            "82a76865616c746879c2a76d657373616765a178",
            b'{"healthy":false,"message":"x"}',
            HealthCheckResponse(message="x"),
        ),
    ],
)
def test_the_health_of_the_specification(
    data: str, json_: bytes, response: HealthCheckResponse
) -> None:
    assert encode_health(response) == bytes.fromhex(data)
    assert decode_health(bytes.fromhex(data)) == response
    assert encode_health(response, json=True) == json_
    assert decode_health(json_, json=True) == response


@pytest.mark.parametrize(
    ("name", "decode", "encode"),
    [
        ("invocation_msgpack_hex", decode_invocation, encode_invocation),
        ("response_ok_hex", decode_response, encode_response),
        ("response_err_hex", decode_response, encode_response),
        ("health_ok_hex", decode_health, encode_health),
        ("linkdef_hex", decode_link, encode_link),
    ],
)
def test_the_vectors_come_back_as_they_were(name: str, decode: Any, encode: Any) -> None:
    data = bytes.fromhex(VECTORS[name])
    assert encode(decode(data)) == data


def test_the_vector_is_understood() -> None:
    call = decode_invocation(bytes.fromhex(VECTORS["invocation_msgpack_hex"]))
    assert call.origin.public_key == VECTORS["keys"]["actor"]["public"]
    assert call.target.public_key == VECTORS["keys"]["provider"]["public"]
    assert call.host_id == VECTORS["keys"]["host"]["public"]
    assert call.encoded_claims == VECTORS["jwt"]["token"]
    assert call.msg.hex() == VECTORS["cbor"]["arg_10"]
    assert call.operation == VECTORS["hash"]["op"]


def test_content_length_is_written_where_nobody_set_it() -> None:
    call = Invocation(origin=ORIGIN, target=TARGET, msg=b"abc")
    assert msgspec.msgpack.decode(encode_invocation(call))["content_length"] == 3
    answer = msgspec.msgpack.decode(encode_response(InvocationResponse(msg=b"abcd")))
    assert answer == {"msg": b"abcd", "invocation_id": "", "content_length": 4}


def test_content_length_of_what_is_chunked_is_the_real_one() -> None:
    answer = InvocationResponse(msg=b"", invocation_id="i", content_length=921_601)
    assert msgspec.msgpack.decode(encode_response(answer))["content_length"] == 921_601
    assert answer.is_chunked
    assert not InvocationResponse(msg=b"ab", content_length=2).is_chunked
    assert not InvocationResponse(error="x", content_length=2).is_chunked
    assert not InvocationResponse(msg=b"ab").is_chunked
    assert Invocation(origin=ORIGIN, target=TARGET, content_length=1).is_chunked
    assert not CALL.is_chunked
    assert wasmbus.CHUNK_ABOVE == 921_600


@pytest.mark.parametrize(
    ("size", "head"),
    [(0, "c400"), (255, "c4ff"), (256, "c50100"), (65_535, "c5ffff"), (65_536, "c600010000")],
)
def test_msg_is_binary_of_the_shortest_head(size: int, head: str) -> None:
    msg = b"\x00" * size
    data = encode_response(InvocationResponse(msg=msg))
    assert b"\xa3msg" + bytes.fromhex(head) in data
    assert decode_response(data).msg == msg


def test_trace_context_is_the_one_key_in_camel_case() -> None:
    trace = {"traceparent": "00-1-2-01"}
    call = msgspec.structs.replace(CALL, trace_context=trace)
    data = encode_invocation(call)
    assert data.endswith(pack({"traceContext": trace})[1:])
    assert decode_invocation(data) == call
    answer = InvocationResponse(msg=b"x", content_length=1, trace_context=trace)
    assert decode_response(encode_response(answer)) == answer
    assert b"trace" not in encode_invocation(CALL)
    assert b"trace" not in encode_response(InvocationResponse())


def test_an_error_text_always_travels() -> None:
    read = decode_response(encode_response(InvocationResponse(error="lone \ud800 " + "x" * 70_000)))
    assert read.error is not None
    assert read.error.startswith("lone ? ")
    assert read.error.endswith("more characters)")
    health = decode_health(encode_health(HealthCheckResponse(message="\udfff")))
    assert health.message == "?"


# --- Read tolerantly -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(pack(dict(reversed(CALL_MAP.items()))), id="any order of keys"),
        pytest.param(
            pack({"new": [1, {"x": None}], **CALL_MAP, "instance_id": "i"}), id="keys nobody knows"
        ),
        pytest.param(pack({**CALL_MAP, "msg": [0x7F, 0x0A]}), id="msg as integers"),
        pytest.param(pack({**CALL_MAP, "msg": "\x7f\n"}), id="msg as text"),
        pytest.param(pack({**CALL_MAP, "traceContext": None}), id="trace context nil"),
        pytest.param(pack({**CALL_MAP, "traceContext": {}}), id="trace context empty"),
        pytest.param(pack(list(CALL_MAP.values())), id="positions"),
        pytest.param(
            pack(
                [list(ORIGIN_MAP.values()), list(TARGET_MAP.values()), *list(CALL_MAP.values())[2:]]
            ),
            id="positions throughout",
        ),
        pytest.param(
            pack({**CALL_MAP, "origin": list(ORIGIN_MAP.values())}), id="positions of an entity"
        ),
        pytest.param(
            pack({**CALL_MAP, "origin": {"x": 1, "contract_id": "", "public_key": "MACTOR"}}),
            id="an entity with keys left out and added",
        ),
        pytest.param(pack([*CALL_MAP.values(), None]), id="positions with a trace of nil"),
        pytest.param(
            b"\xdc\x00\x08" + pack(list(CALL_MAP.values()))[1:], id="a long head of a list"
        ),
        pytest.param(b"\xde\x00\x08" + pack(CALL_MAP)[1:], id="a long head of a map"),
    ],
)
def test_readers_are_tolerant(data: bytes) -> None:
    assert decode_invocation(data) == CALL


@pytest.mark.parametrize("data", [without("content_length"), {**CALL_MAP, "content_length": None}])
def test_content_length_may_be_absent_or_nil(data: dict[str, Any]) -> None:
    assert decode_invocation(pack(data)) == msgspec.structs.replace(CALL, content_length=None)


def test_what_has_a_default_may_be_absent() -> None:
    assert decode_invocation(pack({"origin": ORIGIN_MAP, "target": TARGET_MAP})) == Invocation(
        origin=ORIGIN, target=TARGET
    )
    assert decode_invocation(pack([ORIGIN_MAP, TARGET_MAP])).msg == b""
    assert decode_response(pack({})) == InvocationResponse()
    assert decode_response(pack([b"m"])) == InvocationResponse(msg=b"m")
    assert decode_link(pack({"values": {}})) == LinkDefinition(values={})
    assert decode_health(pack({})) == decode_health(pack([])) == HealthCheckResponse()


@pytest.mark.parametrize("size", [0, 15, 31, 32, 300, 70_000])
def test_msg_as_text_or_integers_of_any_length(size: int) -> None:
    for form in ("x" * size, [0x78] * size):
        assert decode_invocation(pack({**CALL_MAP, "msg": form})).msg == b"x" * size


def test_an_error_of_nil_is_none() -> None:
    answer = decode_response(pack({"msg": b"", "error": None, "content_length": 0}))
    assert answer.error is None


def test_the_largest_content_length_is_read() -> None:
    call = decode_invocation(pack({**CALL_MAP, "content_length": 2**64 - 1}))
    assert call.content_length == 2**64 - 1


def test_a_link_may_come_in_three_forms() -> None:
    fields = {
        "actor_id": "M",
        "provider_id": "V",
        "link_name": "l",
        "contract_id": "c",
        "values": {"k": "v"},
    }
    link = LinkDefinition(**fields)
    assert decode_link(pack({"id": "from Elixir", **fields})) == link
    assert decode_link(pack(list(fields.values()))) == link
    assert type(decode_link(pack(list(fields.values())))) is LinkDefinition
    assert decode_link(b' {"id":"x",' + msgspec.json.encode(fields)[1:], json=True) == link
    assert json.loads(encode_link(link, json=True)) == fields
    assert list(json.loads(encode_link(link, json=True))) == list(fields)


def test_the_settings_of_a_link_are_not_printed() -> None:
    link = LinkDefinition(actor_id="M", values={"password": "s3cret", "a": "s3cret"})
    assert repr(link) == (
        "LinkDefinition(actor_id='M', provider_id='', link_name='', contract_id='', "
        "values=['a', 'password'])"
    )
    assert "s3cret" not in repr(link.__rich_repr__())


# --- Refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "Input data was truncated"),
        (b"\xc1", "MessagePack data is malformed: invalid opcode '\\xc1' (byte 0)"),
        (pack(CALL_MAP)[:-1], "Input data was truncated"),
        (pack(CALL_MAP) + b"\x00", "MessagePack data is malformed: trailing characters (byte 220)"),
        (pack("text"), "Expected `object`, got `str`"),
        (pack(without("origin")), "missing field `origin`"),
        (pack(without("target")), "missing field `target`"),
        (pack({**CALL_MAP, "target": {}}), "target: missing field `contract_id`"),
        (pack({**CALL_MAP, "origin": None}), "origin: Expected `object`, got `None`"),
        (
            pack({**CALL_MAP, "origin": ["M", ""]}),
            "origin: Expected `array` of at least length 3, got 2",
        ),
        (pack({**CALL_MAP, "operation": 5}), "Expected `str`, got `int` - at `$.operation`"),
        (pack({**CALL_MAP, "operation": b"x"}), "Expected `str`, got `bytes` - at `$.operation`"),
        (pack({**CALL_MAP, 7: 1}), "Expected `str`, got `int` - at `key` in `$`"),
        (
            pack({**CALL_MAP, "msg": None}),
            "msg: expected binary, text or a list of integers from 0 to 255",
        ),
        (
            pack({**CALL_MAP, "msg": [1, 256]}),
            "msg: expected binary, text or a list of integers from 0 to 255",
        ),
        (
            pack({**CALL_MAP, "msg": [[]]}),
            "msg: expected binary, text or a list of integers from 0 to 255",
        ),
        (
            pack({**CALL_MAP, "content_length": -1}),
            "Expected `int` >= 0 - at `$.content_length`",
        ),
        (
            pack({**CALL_MAP, "content_length": 2.0}),
            "Expected `int | null`, got `float` - at `$.content_length`",
        ),
        (
            pack({**CALL_MAP, "traceContext": {"traceparent": 1}}),
            "Expected `str`, got `int` - at `$.traceContext[...]`",
        ),
        (pack(CALL_MAP).replace(b"py.fact", b"py.fac\xff"), "text that is not UTF-8"),
        (b"\x81\xa6origin" + b"\x91" * 200_000, "nested too deeply"),
    ],
)
def test_an_undecodable_invocation_is_one_error(data: bytes, detail: str) -> None:
    assert refusal(decode_invocation, data) == f"deser error: deserialization: {detail}"


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (pack({"actor_id": "M"}), "missing field `values`"),
        (
            pack({"values": {"port": 80}}),
            "Expected `str`, got `int` - at `$.values[...]`",
        ),
        (pack({"values": None}), "Expected `object`, got `null` - at `$.values`"),
    ],
)
def test_a_link_that_is_none_is_refused_in_both_forms(data: bytes, detail: str) -> None:
    prefix = "deser error: deserialization: "
    in_json = msgspec.json.encode(msgspec.msgpack.decode(data))
    assert refusal(decode_link, in_json, json=True) == prefix + detail
    assert refusal(decode_link, data).replace("`None`", "`null`") == prefix + detail


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "Input data was truncated"),
        (pack({"content_length": "5"}), "Expected `int | null`, got `str` - at `$.content_length`"),
        (pack({"error": 5}), "Expected `str | null`, got `int` - at `$.error`"),
        (pack({"msg": 5}), "msg: expected binary, text or a list of integers from 0 to 255"),
    ],
)
def test_an_undecodable_response_is_one_error(data: bytes, detail: str) -> None:
    assert refusal(decode_response, data) == f"deser error: deserialization: {detail}"


def test_undecodable_health_is_one_error() -> None:
    assert refusal(decode_health, pack({"healthy": 1})) == (
        "deser error: deserialization: Expected `bool`, got `int` - at `$.healthy`"
    )


def test_messages_are_values() -> None:
    for message, name in (
        (ORIGIN, "public_key"),
        (CALL, "msg"),
        (InvocationResponse(), "error"),
        (LinkDefinition(values={}), "values"),
        (HealthCheckResponse(), "healthy"),
    ):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(message, name, None)


def test_test_mode_reads_no_msgpack_and_the_other_way_round() -> None:
    link = LinkDefinition(values={})
    assert refusal(decode_link, encode_link(link), json=True).startswith("deser error: ")
    assert refusal(decode_link, encode_link(link, json=True)).startswith("deser error: ")
    health = HealthCheckResponse(healthy=True)
    assert refusal(decode_health, encode_health(health), json=True).startswith("deser error: ")
    assert refusal(decode_health, encode_health(health, json=True)).startswith("deser error: ")


@pytest.mark.parametrize(
    ("data", "host_id"),
    [
        (b'{"host_id":"NHOST"}', "NHOST"),
        (b'{"other":1}', ""),
        (b'{"host_id":5}', ""),
        (b"", ""),
        (b"garbage", ""),
        (b"\xff\xfe", ""),
        (b"[" * 200_000, ""),
    ],
)
def test_a_shutdown_that_cannot_be_read_names_no_host(data: bytes, host_id: str) -> None:
    assert decode_shutdown(data) == host_id


def test_a_shutdown_is_read_back() -> None:
    assert encode_shutdown("NHOST") == b'{"host_id":"NHOST"}'
    assert decode_shutdown(encode_shutdown("NHOST")) == "NHOST"


# --- Whatever comes ------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=20)
entities = st.builds(WasmCloudEntity, public_key=texts, link_name=texts, contract_id=texts)
traces = st.dictionaries(texts, texts, max_size=2)
lengths = st.integers(0, 2**64 - 1)
invocations = st.builds(
    Invocation,
    origin=entities,
    target=entities,
    operation=texts,
    msg=st.binary(max_size=300),
    id=texts,
    encoded_claims=texts,
    host_id=texts,
    content_length=lengths,
    trace_context=traces,
)
responses = st.builds(
    InvocationResponse,
    msg=st.binary(max_size=300),
    invocation_id=texts,
    error=st.none() | texts,
    content_length=lengths,
    trace_context=traces,
)
links = st.builds(
    LinkDefinition,
    actor_id=texts,
    provider_id=texts,
    link_name=texts,
    contract_id=texts,
    values=traces,
)
healths = st.builds(HealthCheckResponse, healthy=st.booleans(), message=st.none() | texts)


@given(invocations)
def test_invocations_come_back(call: Invocation) -> None:
    assert decode_invocation(encode_invocation(call)) == call


@given(responses)
def test_responses_come_back(answer: InvocationResponse) -> None:
    assert decode_response(encode_response(answer)) == answer


@given(links, healths, st.booleans())
def test_links_and_health_come_back(
    link: LinkDefinition, health: HealthCheckResponse, json_: bool
) -> None:
    assert decode_link(encode_link(link, json=json_), json=json_) == link
    assert decode_health(encode_health(health, json=json_), json=json_) == health


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary()
    | texts,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [*CALL_MAP, "values", "error", "healthy", "public_key", "traceContext"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(
    st.binary(max_size=60)
    | anything.map(pack)
    | invocations.map(encode_invocation).map(lambda b: b[:-1])
)
def test_garbage_is_a_bad_request_and_nothing_else(data: bytes) -> None:
    for read in (decode_invocation, decode_response, decode_link, decode_health):
        assert outcome(read, data).startswith(("deser error: deserialization: ", "read"))
    for read in (decode_link, decode_health):
        assert outcome(read, data, json=True).startswith(("deser error: deserialization: ", "read"))
    assert isinstance(decode_shutdown(data), str)


def outcome(read: Any, *arguments: Any, **keywords: Any) -> str:
    try:
        read(*arguments, **keywords)
    except BadRequest as error:
        return str(error)
    return "read"
