"""Requests of KServe's protocol over REST and gRPC, and the results of models.

The rule of this file: a request is asked of every model, whatever model it names.
"""

from __future__ import annotations

import contextlib
import struct
from typing import Any

from provider.errors import BadRequest, CallError
from provider.kserve import cbor, kinds, messages, rest
from provider.kserve.graph import Graph
from provider.kserve.operation import Operation
from provider.kserve.tensors import InferRequest, InferResponse, Tensor, split
from provider.wire.values import Limits, Values
from tests.fuzz.target import target, told

VALUES = Values(Limits())
_INTEGERS = {"type": "array", "items": {"type": "integer"}}
_SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {
            "x": {"type": "array", "items": _INTEGERS},
            "text": {"type": "string"},
            "data": {"type": "string", "contentEncoding": "base64"},
            "number": {"type": "number"},
            "flag": {"type": "boolean"},
            "other": {"type": "object"},
        },
        "required": ["x"],
    },
    {"type": "integer"},
    {"type": "array", "items": {"type": "string"}},
    {},
    {"type": "null"},
]


def _told(name: str, doc: str, signature: str) -> dict[str, Any]:
    return {"name": name, "streams": False, "doc": doc, "signature": signature}


_MODELS: list[Any] = [
    Operation(_told("f", "", "(x: numpy.ndarray[float32])"), {"argument": each, "result": each})
    for each in _SCHEMAS
]
_GRAPH = Graph(
    _told(
        "g",
        "Servable: inputs x, y; outputs z",
        "(inputs: list, parameters: dict | None = None, stream: bool = False)",
    )
)


@target(
    b'{"inputs":[{"name":"x","datatype":"INT64","shape":[1],"data":[1]}]}',
    b'"parameters":{"binary_data_size":',
    b'"binary_data_output":true',
    b'"outputs":[{"name":"output0"}]',
    b"BYTES",
    b"FP16",
    b"BOOL",
    b"UINT64",
    b'"shape":[2,',
    b'"NaN"',
)
def rest_request(data: bytes) -> None:
    """A body, and the bytes of raw tensors after it, where the first byte says so."""
    split_at = data.find(b"\0")
    size = None if split_at < 0 else b"%d" % split_at
    content = data if split_at < 0 else data[:split_at] + data[split_at + 1 :]
    try:
        body = rest.read("f", content, size, VALUES)
    except CallError as error:
        told(error)
        return
    _ask(body.request)
    answer = InferResponse("f", body.request.id, body.request.inputs, body.request.parameters)
    try:
        written, json_size = rest.write(body, answer)
    except CallError as error:
        told(error)
    else:
        assert json_size is None or json_size <= len(written)


@target(
    b"\x0a\x01f",
    b"\x2a",
    b"\x3a\x08",
    b"INT64",
    b"BYTES",
    b"FP32",
    b"\x1a\x01\x01",
    b"\x12\x05INT64",
)
def grpc_request(data: bytes) -> None:
    """A ModelInferRequest: looked through or read whole, it says the same."""
    request = _read(data)
    whole, messages.LARGE = messages.LARGE, 0
    try:
        again = messages.read_infer(data)
    except CallError as error:
        # Groups, which protobuf leaves out, are in no message of this protocol.
        assert request is None or "wire type 3" in error.message  # noqa: PT017  both may be
    else:
        assert again == request
    finally:
        messages.LARGE = whole
    if request is None:
        return
    _ask(request)
    answer = InferResponse(request.model, request.id, request.inputs)
    joined = b"".join(messages.write_infer(answer))
    read = messages.read("ModelInferResponse", joined)
    assert [bytes(each.data) for each in request.inputs] == list(read.raw_output_contents)
    messages.read("ModelStreamInferResponse", messages.write_streamed(answer))


def _read(data: bytes) -> InferRequest | None:
    try:
        return messages.read_infer(data)
    except CallError as error:
        told(error)
        return None


def _ask(request: InferRequest) -> None:
    """Make every model's argument of it: each is a value the worker can read."""
    for model in _MODELS:
        try:
            argument = model.argument(request, VALUES)
        except CallError as error:
            told(error)
            continue
        if argument:
            _same(argument)
    try:
        argument = _GRAPH.argument(request, VALUES, stream=False)
    except CallError as error:
        told(error)
    else:
        _same(argument)


def _same(argument: bytes) -> None:
    _alike(cbor.read(argument, VALUES), VALUES.decode(argument))


@target(
    b"\xa1\x67outputs\x81",
    b"\xaaparameters",
    b"\x64name",
    b"\x68datatype",
    b"\x65shape",
    b"\x64data",
    b"\xd8\x28\x82\x82",
    b"\xd8\x4f\x48",
    b"\xd8\x40",
    b"\xf4\xf5",
)
def result(data: bytes) -> None:
    """The result of a model: read here, it says what it says read with everything else."""
    try:
        value = cbor.read(data, VALUES)
    except CallError as error:
        told(error)
        value = None
    else:
        with contextlib.suppress(BadRequest):
            _alike(value, VALUES.decode(data))
    request = InferRequest("f", inputs=[Tensor("x", "INT8", (1,), b"\5")])
    for model in (*_MODELS, _GRAPH):
        try:
            response = model.response(request, value)
        except CallError as error:
            told(error)
            continue
        b"".join(messages.write_infer(response))
        body = rest.Body(request, binary=False)
        try:
            rest.write(body, response)
        except CallError as error:
            told(error)


def _alike(here: Any, whole: Any) -> None:
    """See that a value read here is the one that `Values` reads."""
    if isinstance(here, cbor.Typed):
        assert here.shape == whole.shape
        assert bytes(here.data) == whole.astype(whole.dtype.newbyteorder("<")).tobytes()
    elif isinstance(here, list):
        assert len(here) == len(whole)
        for members in zip(here, whole, strict=True):
            _alike(*members)
    elif isinstance(here, dict):
        assert here.keys() == whole.keys()
        for name, member in here.items():
            _alike(member, whole[name])
    elif isinstance(here, memoryview):
        assert here == whole
    else:
        assert VALUES.encode(here) == VALUES.encode(whole)


@target(b"\x01\x00\x00\x00", b"\xff\xff\xff\xff")
def texts(data: bytes) -> None:
    """Items of a tensor of BYTES."""
    try:
        items = split(data, 100)
    except ValueError:
        return
    assert b"".join(struct.pack("<I", len(item)) + item for item in items) == data


@target(b"(x: ", b" -> ", b"numpy.ndarray", b"float32", b"list[", b"| None", b", ")
def signatures(data: bytes) -> None:
    """What a hostile worker says of its operations, schema and signature, a line each."""
    text, _, schema = data.partition(b"\n")
    signature = text.decode("utf-8", "replace")
    try:
        read = VALUES.decode(schema)
    except BadRequest:
        read = {"type": "array"}
    if isinstance(read, dict):
        kinds.inputs(read, signature)
        kinds.outputs(read, signature)
    told_of: Any = read
    for schemas in ({"argument": read, "result": read}, told_of):
        for streams in (False, True):
            Operation({**_told("f", "", signature), "streams": streams}, schemas).metadata()
