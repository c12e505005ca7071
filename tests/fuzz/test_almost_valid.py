"""What is right but for one thing: a member of another type, missing, twice, or where it is not."""

from __future__ import annotations

import json
import struct
import sys

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.wire.frames import FrameType
from tests.fuzz import target
from tests.fuzz.quiet import quiet

ODD = [
    *(None, True, 0, -1, 2**31, 2**63, 2**64 - 1, 1.5, -0.0, 1e300, "", "x" * 300, "é\n\0", "\x7f"),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": []}}, "NaN", "*", ">", "../..", "1e9", "-"),
]
"""What may stand in the place of anything."""
ROUTE = {
    "method": "GET",
    "path": "/a/{x}",
    "status": 200,
    "raw": False,
    "whole": True,
    "parameters": {"x": {"types": ["integer"]}},
}
OPERATION = {
    "name": "a.b",
    "free": False,
    "signature": "(x: int)",
    "doc": "",
    "batch": 2,
    "cache": 1.5,
    "streams": False,
    "http": [ROUTE],
}
LOADED = {
    "files": [["/dispatch.py", 1, 2, 3]],
    "programs": ["/dispatch.py"],
    "operations": [OPERATION],
    "modules": ["dispatch"],
    "health": True,
    "context": True,
}
ERROR = {
    "kind": "handler_error",
    "code": 422,
    "message": "no",
    "type": "E",
    "traceback": "t",
    "retry_after_ms": 5,
    "details": {"a": [1]},
}
ENTITY = {"public_key": "M", "link_name": "default", "contract_id": "c"}
LINK = {"actor_id": "M", "provider_id": "V", "link_name": "d", "contract_id": "c", "values": {}}
CLAIMS = {
    "jti": "a",
    "iat": 1_699_999_999,
    "iss": "I",
    "sub": "1",
    "exp": 1_800_000_000,
    "nbf": 1,
    "wascap": {"target_url": "t", "origin_url": "o", "hash": "h"},
}
HOST = {
    "host_id": "N",
    "link_name": "default",
    "lattice_rpc_url": "nats://127.0.0.1:4222",
    "lattice_rpc_user_jwt": "",
    "lattice_rpc_user_seed": "",
    "provider_key": "V",
    "invocation_seed": "",
    "env_values": {"A": "b"},
    "link_definitions": [LINK],
    "cluster_issuers": ["C"],
    "config_json": '{"python_dispatch": "/d.py"}',
    "default_rpc_timeout_ms": 5,
    "structured_logging": True,
    "log_level": "debug",
}
INFER = {
    "id": "7",
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [1.5, 2]},
        {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]},
    ],
    "outputs": [{"name": "x", "parameters": {"binary_data": True}}],
    "parameters": {"binary_data_output": False, "a": 1},
}
GRAPH = {
    "outputs": [{"name": "z", "datatype": "FP32", "shape": [1], "data": struct.pack("<f", 1)}],
    "parameters": {"OVMS_MP_TIMESTAMP": 5},
}
SCHEMA = {
    "type": "object",
    "properties": {"x": {"type": "array", "items": {"$ref": "#/$defs/a"}}},
    "$defs": {"a": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
    "required": ["x"],
    "additionalProperties": False,
}
STATUS = {
    "id": "1",
    "version": "1",
    "metadata": {"lattice": "default"},
    "endpoints": [{"data": {"ready": True}}],
    "operations": [OPERATION],
    "schemas": {"a": SCHEMA},
}


def as_json(value):
    return json.dumps(value, default=bytes.hex).encode()


def in_frame(kind):
    """As the body of a frame about the first stream, or the first call."""

    def written(value):
        from tests.fuzz.targets.worker import _ORDER

        number = 3 if kind is FrameType.PROGRESS else 1
        body = cbor2.dumps(value)
        return bytes([_ORDER.index(kind) + number * len(_ORDER), min(len(body), 255)]) + body

    return written


REQUEST = {
    "operation": "echo",
    "id": "1",
    "timeout_ms": 50,
    "stream": True,
    "flow": False,
    "progress": True,
    "other": [1],
    "payload": {"a": [1, 2.5, b"x", None]},
}
INVOCATION = {
    "origin": ENTITY,
    "target": ENTITY,
    "operation": "py.echo",
    "msg": b"\x7f\x01",
    "id": "1",
    "encoded_claims": "a.b.c",
    "host_id": "N",
    "content_length": 2,
    "traceContext": {"traceparent": "x"},
}
MAPS = {
    "wire.envelope": [(REQUEST, cbor2.dumps)],
    "doors.nats": [(REQUEST, lambda value: b"x\0\0" + cbor2.dumps(value))],
    "wire.answer": [
        ({"id": "1", "error": ERROR}, cbor2.dumps),
        ({"chunk": 1, "seq": 0}, cbor2.dumps),
    ],
    "wire.json": [({"a": [1, {"b": "c"}], "d": None}, as_json)],
    "worker.told_by_link": [
        (LOADED, in_frame(FrameType.RELOADED)),
        (LOADED, in_frame(FrameType.FILES)),
        (LOADED, in_frame(FrameType.READY)),
        (ERROR, in_frame(FrameType.ERROR)),
        ({"error": ERROR}, in_frame(FrameType.RELOADED)),
        ({"schemas": {"a.b": {"argument": SCHEMA}}}, in_frame(FrameType.SCHEMAS)),
        ({"done": 1, "total": 2.5, "note": "n"}, in_frame(FrameType.PROGRESS)),
        ({"version": 1, "pid": 5}, in_frame(FrameType.HELLO)),
    ],
    "worker.progress": [({"done": 1, "total": 2.5, "note": "n"}, cbor2.dumps)],
    "lattice.invocation": [(INVOCATION, msgspec.msgpack.encode)],
    "lattice.response": [
        (
            {"msg": b"1", "invocation_id": "1", "error": "e", "content_length": 1},
            msgspec.msgpack.encode,
        )
    ],
    "lattice.links": [(LINK, msgspec.msgpack.encode), (LINK, as_json)],
    "lattice.host_data": [(HOST, as_json)],
    "lattice.config_json": [({"python_main": "m", "sys_path": ["a"], "PROVIDER_X": 1}, as_json)],
    "lattice.claims": [(CLAIMS, as_json)],
    "stored.chunks": [
        (
            {"nuid": "a", "size": 2, "digest": "SHA-256=DIGEST", "deleted": False},
            lambda value: as_json(value) + b"\nab",
        )
    ],
    "stored.archives": [
        (CLAIMS | {"wascap": {"vendor": "v", "target_hashes": {"t": "h"}}}, as_json)
    ],
    "kserve.rest_request": [(INFER, as_json)],
    "kserve.result": [(GRAPH, cbor2.dumps)],
    "kserve.signatures": [(SCHEMA, lambda value: b"(x: list[int])\n" + cbor2.dumps(value))],
    "grpc.result": [
        (
            {"long": 5, "map": {"1": {"long": 2}}, "flags": {"true": "a"}, "struct": {"a": [1]}},
            cbor2.dumps,
        ),
        (
            {"span": 1.5, "color": "BLUE", "named": {"a": b"b"}, "any": [1], "several": [{}]},
            cbor2.dumps,
        ),
    ],
    "settings.context": [({"url": "nats://127.0.0.1:4222", "user": "a", "creds": "~/x"}, as_json)],
    "files.config_json": [
        (
            {
                "model_config_list": [{"config": {"name": "b", "base_path": "a"}}],
                "mediapipe_config_list": [{"name": "a", "graph_path": "graph.pbtxt"}],
            },
            as_json,
        )
    ],
    "doors.answers": [(STATUS, as_json)],
}
"""For each target what it takes, and how that is written."""
REFUSED = {
    "wire.envelope": 2,  # cut short by the target itself
    "wire.answer": 3,  # an error is one, to both who read it; and a chunk is no answer
    "worker.told_by_link": 1,  # an error
    "worker.progress": 1,  # told as one by the target itself
    "lattice.invocation": 1,  # what it carries is no token
    "lattice.links": 2,  # either form read as the other
    "lattice.claims": 3,  # not a token, not signed, not of this call
    "stored.chunks": 1,  # a size it has not
    "kserve.rest_request": 3,  # models that take other tensors
}
"""How many errors come out of what is right, target by target; of all others none."""
HEAD = [
    *(b"POST /items/a?count=2 HTTP/1.1", b"Host: h", b"Content-Type: application/json"),
    *(
        b"Accept: */*",
        b"Content-Length: 2",
        b"Connection: keep-alive",
        b"X-Request-Id: 1",
        b"",
        b"{}",
    ),
]
PART = b'Content-Disposition: form-data; name="a"'
FORM = [
    *(b"multipart/form-data; boundary=b", b"", b"--b", PART, b"", b"1", b"--b"),
    *(PART + b'; filename="f"', b"Content-Type: application/json", b"", b"[1]", b"--b--", b""),
]
CREDS = [
    *(b"-----BEGIN NATS USER JWT-----", b"a.b.c", b"------END NATS USER JWT------", b""),
    *(b"-----BEGIN USER NKEY SEED-----", b"SUA", b"------END USER NKEY SEED------", b""),
]
NODE = """
input_stream: "OVMS_PY_TENSOR:in"
output_stream: "OVMS_PY_TENSOR:out"
node {
name: "n"
calculator: "PythonExecutorCalculator"
input_stream: "I:in"
input_stream: "LOOPBACK:loopback"
input_stream_info: { tag_index: 'LOOPBACK:0', back_edge: true }
output_stream: "O:out"
output_stream: "LOOPBACK:loopback"
node_options: { [type.googleapis.com/mediapipe.PythonExecutorCalculatorOptions]: {
handler_path: "m.py"
} }
}
"""
LINES = {
    "http.connection": (HEAD, lambda lines: b"\xff" + b"\r\n".join(lines)),
    "http.body": (FORM, lambda lines: lines[0] + b"\n\n" + b"\r\n".join(lines[1:])),
    "settings.creds": (CREDS, b"\n".join),
    "settings.env_file": (
        [b"PROVIDER_NAME=a", b"# c", b"export NATS_USER='b'", b'NATS_PASSWORD="c"', b""],
        b"\n".join,
    ),
    "settings.environment": (
        [b"PROVIDER_NAME=a", b"PROVIDER_CALL_TIMEOUT=5s", b"PROVIDER_HTTP=8000", b"NATS_URL=a:1"],
        b"\n".join,
    ),
    "files.pbtxt": (NODE.encode().split(b"\n"), b"\n".join),
    "stored.chunks": (
        [b'{"nuid":"a","size":4,"digest":"SHA-256=DIGEST"}', b"ab", b"cd", b""],
        b"\n".join,
    ),
}
"""For each target its lines, and how they are joined."""


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    with quiet():
        yield


def spoiled(draw, value):
    """The value with one thing wrong, at any depth."""
    members = value.items() if isinstance(value, dict) else enumerate(value)
    inside = [step for step, member in members if isinstance(member, (dict, list)) and member]
    if inside and draw(st.booleans()):
        step = draw(st.sampled_from(inside))
        made = value.copy()
        made[step] = spoiled(draw, value[step])
        return made
    if isinstance(value, list):
        place = draw(st.integers(0, len(value)))
        return [
            *value[:place],
            draw(st.sampled_from(ODD)),
            *value[place + draw(st.integers(0, 1)) :],
        ]
    name = draw(st.sampled_from(list(value)))
    kind = draw(st.sampled_from(("another", "missing", "renamed", "more")))
    if kind == "another":
        return {**value, name: draw(st.sampled_from(ODD))}
    if kind == "more":
        return {**value, draw(st.text(max_size=5)): value[name]}
    kept = {each: member for each, member in value.items() if each != name}
    return kept if kind == "missing" else {**kept, name + "x": value[name]}


@st.composite
def spoiled_map(draw, name):
    value, write = draw(st.sampled_from(MAPS[name]))
    return write(spoiled(draw, value))


@st.composite
def spoiled_lines(draw, name):
    lines, join = LINES[name]
    place = draw(st.integers(0, len(lines) - 1))
    kind = draw(st.sampled_from(("missing", "twice", "swapped", "changed", "cut", "longer")))
    line = lines[place]
    cut = draw(st.integers(0, len(line)))
    made = {
        "missing": [],
        "twice": [line, line],
        "swapped": [*lines[place + 1 : place + 2], line],
        "changed": [line[:cut] + draw(st.binary(max_size=3)) + line[cut + 1 :]],
        "cut": [line[:cut]],
        "longer": [line[:cut] + line[cut : cut + 1] * 200 + line[cut:]],
    }[kind]
    return join([*lines[:place], *made, *lines[place + 1 + (kind == "swapped") :]])


@pytest.mark.parametrize("name", MAPS)
@given(data=st.data())
def test_a_map_with_one_thing_wrong(name, data):
    target.bounded(target.named(name), data.draw(spoiled_map(name)))


@pytest.mark.parametrize("name", LINES)
@given(data=st.data())
def test_lines_with_one_thing_wrong(name, data):
    target.bounded(target.named(name), data.draw(spoiled_lines(name)))


@pytest.mark.parametrize("name", MAPS)
def test_what_is_not_spoiled_is_right(name, monkeypatch):
    each, refusals = target.named(name), []
    for module in (target, sys.modules[each.run.__module__]):
        monkeypatch.setattr(module, "told", refusals.append, raising=False)
    for value, write in MAPS[name]:
        target.bounded(each, write(value))
    assert len(refusals) == REFUSED.get(name, 0), refusals
