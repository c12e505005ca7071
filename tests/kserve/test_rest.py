"""Bodies of REST: JSON and what follows it, both ways."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from provider.errors import CallError
from provider.kserve import rest
from provider.kserve.faults import ROWS, row_of
from provider.kserve.tensors import (
    InferResponse,
    ModelMetadata,
    Tensor,
    TensorMetadata,
    prefixed,
    split,
)
from provider.wire.values import Limits, Values

VALUES = Values()


def read(told, tail=None, values=VALUES):
    head = told if isinstance(told, bytes) else json.dumps(told).encode()
    if tail is None:
        return rest.read("m", head, None, values)
    return rest.read("m", head + tail, b"%d" % len(head), values)


def one(shape=(2,), datatype="FP32", tail=None, **more):
    body = read({"inputs": [{"name": "x", "shape": shape, "datatype": datatype, **more}]}, tail)
    [tensor] = body.request.inputs
    return tensor


@pytest.mark.parametrize(
    ("datatype", "items"),
    [
        ("BOOL", [True, False]),
        ("INT8", [-128, 127]),
        ("INT64", [-(2**63), 2**63 - 1]),
        ("UINT64", [0, 2**64 - 1]),
        ("FP32", [0.5, 2]),
        ("FP64", [0.1, 1e300]),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_numbers_are_read_flat_and_nested(datatype, items, nested):
    data = [[item] for item in items] if nested else items
    tensor = one([2, 1], datatype, data=data)
    assert np.frombuffer(tensor.data, triton_to_np_dtype(datatype)).tolist() == items
    assert tensor.shape == (2, 1)


def test_what_is_not_finite_has_its_name():
    tensor = one([3], data=["NaN", "Infinity", "-Infinity"])
    assert np.array_equal(
        np.frombuffer(tensor.data, "f4"), [math.nan, math.inf, -math.inf], equal_nan=True
    )


def test_texts_get_their_lengths():
    tensor = one([1, 2], "BYTES", data=[["é", ""]])
    assert split(tensor.data) == ["é".encode(), b""]


def test_a_scalar_may_stand_by_itself():
    assert one([], "INT8", data=7).data == b"\7" == one([], "INT8", data=[7]).data


def test_raw_tensors_follow_the_json_in_their_order():
    told = {
        "id": "7",
        "parameters": {"a": "b", "binary_data_output": True},
        "inputs": [
            {"name": "a", "shape": [2], "datatype": "UINT8", "parameters": {"binary_data_size": 2}},
            {"name": "b", "shape": [1], "datatype": "INT8", "data": [-1]},
            {"name": "c", "shape": [1], "datatype": "mine", "parameters": {"binary_data_size": 3}},
        ],
        "outputs": [{"name": "y", "parameters": {"binary_data": False}}, {"name": "z"}],
    }
    body = read(told, b"\1\2xyz")
    request = body.request
    assert [bytes(each.data) for each in request.inputs] == [b"\1\2", b"\xff", b"xyz"]
    assert (request.id, request.parameters, body.binary) == ("7", {"a": "b"}, True)
    assert [(each.name, each.binary) for each in request.outputs] == [("y", False), ("z", None)]


def test_a_size_that_is_not_told_follows_from_the_shape():
    assert bytes(one([2], "INT16", tail=b"abcd").data) == b"abcd"
    assert bytes(one([1], "BYTES", tail=b"anything").data) == b"anything"


TWO = [{"name": name, "shape": [1], "datatype": "BYTES"} for name in "ab"]


@pytest.mark.parametrize(
    ("told", "tail", "status"),
    [
        (b"", None, "JSON_INVALID"),
        (b"{", None, "JSON_INVALID"),
        (b"\xff", None, "JSON_INVALID"),
        (b'{"a": 1, "a": 2}', None, "JSON_INVALID"),
        (b"NaN", None, "JSON_INVALID"),
        (b"[" * 200 + b"]" * 200, None, "REST_COULD_NOT_PARSE"),
        ([], None, "REST_NO_INPUTS"),
        ({}, None, "REST_NO_INPUTS"),
        ({"inputs": []}, None, "REST_NO_INPUTS"),
        ({"inputs": {"name": "x"}}, None, "REST_NO_INPUTS"),
        ({"inputs": [1]}, None, "REST_COULD_NOT_PARSE"),
        ({"inputs": [{}]}, None, "REST_COULD_NOT_PARSE"),
        ({"inputs": [{"name": "x", "datatype": "FP32"}]}, None, "REST_COULD_NOT_PARSE"),
        ({"id": 7, "inputs": [1]}, None, "REST_COULD_NOT_PARSE"),
        ({"parameters": [], "inputs": [1]}, None, "REST_COULD_NOT_PARSE"),
        ({"parameters": {"a": [1]}, "inputs": [1]}, None, "REST_COULD_NOT_PARSE"),
        ({"parameters": {"binary_data_output": 1}, "inputs": [1]}, None, "REST_COULD_NOT_PARSE"),
        ({"inputs": TWO}, b"x", "REST_COULD_NOT_PARSE"),
    ],
)
def test_what_is_no_request_is_refused(told, tail, status):
    with pytest.raises(CallError) as caught:
        read(told, tail)
    assert row_of(caught.value) is ROWS[status], caught.value.message


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, "REST_COULD_NOT_PARSE"),
        ({"shape": [-1], "data": []}, "REST_COULD_NOT_PARSE"),
        ({"shape": [1.0], "data": [1]}, "REST_COULD_NOT_PARSE"),
        ({"shape": [True], "data": [1]}, "REST_COULD_NOT_PARSE"),
        ({"shape": "2", "data": [1, 2]}, "REST_COULD_NOT_PARSE"),
        ({"shape": [2**62, 2**62], "data": []}, "INVALID_SHAPE"),
        ({"data": [1]}, "INVALID_VALUE_COUNT"),
        ({"data": [1, 2, 3]}, "INVALID_VALUE_COUNT"),
        ({"data": [[1], [2]]}, "INVALID_SHAPE"),
        ({"data": [1, [2]]}, "INVALID_SHAPE"),
        ({"shape": [2, 2], "data": [[1, 2], [3]]}, "INVALID_SHAPE"),
        ({"data": ["1", "2"]}, "REST_COULD_NOT_PARSE"),
        ({"data": [True, 1]}, "REST_COULD_NOT_PARSE"),
        ({"data": [None, 1]}, "REST_COULD_NOT_PARSE"),
        ({"data": {"a": 1}}, "INVALID_VALUE_COUNT"),
        ({"datatype": "INT8", "data": [1, 128]}, "REST_COULD_NOT_PARSE"),
        ({"datatype": "INT8", "data": [1, 0.5]}, "REST_COULD_NOT_PARSE"),
        ({"datatype": "INT64", "data": [1, 2**63]}, "REST_COULD_NOT_PARSE"),
        ({"datatype": "FP64", "data": [1, 10**400]}, "REST_COULD_NOT_PARSE"),
        ({"datatype": "BOOL", "data": [1, 0]}, "REST_COULD_NOT_PARSE"),
        ({"datatype": "BYTES", "data": ["a", 1]}, "REST_COULD_NOT_PARSE"),
        ({"datatype": "FP16", "data": [1, 2]}, "INVALID_PRECISION"),
        ({"datatype": "mine", "data": [1, 2]}, "INVALID_PRECISION"),
        ({"tail": b"1234567"}, "INVALID_CONTENT_SIZE"),
        ({"tail": b"123456789"}, "REST_COULD_NOT_PARSE"),
        ({"tail": b"12345678", "parameters": {"binary_data_size": 9}}, "INVALID_CONTENT_SIZE"),
        ({"tail": b"12345678", "parameters": {"binary_data_size": -1}}, "INVALID_CONTENT_SIZE"),
        ({"tail": b"12345678", "parameters": {"binary_data_size": "8"}}, "INVALID_CONTENT_SIZE"),
        ({"tail": b"12345678", "parameters": {"binary_data_size": 4}}, "INVALID_CONTENT_SIZE"),
        ({"tail": b"", "data": [1, 2], "parameters": {"binary_data_size": 0}}, None),
        ({"tail": b"12345678", "data": [1, 2]}, "REST_COULD_NOT_PARSE"),
    ],
)
def test_an_input_that_is_not_what_it_claims_is_refused(more, status):
    with pytest.raises(CallError) as caught:
        one(**{"shape": [2], **more})
    assert row_of(caught.value) is ROWS[status or "REST_COULD_NOT_PARSE"], caught.value.message


@pytest.mark.parametrize("length", [b"-1", b"x", b"", b"3", b"9" * 30, "²".encode()])
def test_a_length_of_the_json_that_cannot_be_is_refused(length):
    with pytest.raises(CallError) as caught:
        rest.read("m", b"{}", length, VALUES)
    assert row_of(caught.value) is ROWS["REST_COULD_NOT_PARSE"]


def test_there_are_only_so_many_inputs():
    with pytest.raises(CallError, match="4097 inputs"):
        read({"inputs": [{"name": "x"}] * 4097})


def test_limits_of_values_hold():
    with pytest.raises(CallError):
        read({"inputs": [{"name": "x"}] * 11}, values=Values(Limits(items=10)))


SHAPES = arrays.array_shapes(min_dims=0, min_side=0, max_side=3)
ARRAYS = st.one_of(
    *(
        arrays.arrays(dtype, SHAPES)
        for dtype in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8", "?")
    )
)


@given(ARRAYS, st.booleans(), st.booleans())
def test_what_a_client_sends_comes_back_to_it(array, binary, back):
    sent = triton.InferInput("x", array.shape, np_to_triton_dtype(array.dtype))
    if not binary and array.dtype.kind == "f":
        array = np.array(np.nan_to_num(array))  # the client writes what JSON does not have
    sent.set_data_from_numpy(array, binary_data=binary)
    wanted = triton.InferRequestedOutput("x", binary_data=back)
    body, size = triton.InferenceServerClient.generate_request_body([sent], outputs=[wanted])
    read_body = rest.read("m", body, b"%d" % size if size else None, VALUES)
    [tensor] = read_body.request.inputs
    assert tensor.data == array.tobytes()
    answer, length = rest.write(read_body, InferResponse("m", "7", [tensor]))
    result = triton.InferenceServerClient.parse_response_body(answer, header_length=length)
    assert result.get_response()["id"] == "7"
    np.testing.assert_array_equal(result.as_numpy("x"), array)


@given(st.binary(max_size=60), st.none() | st.integers(0, 60))
def test_no_bytes_do_anything_but_come_out_or_be_refused(data, size):
    told = b'{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["' + data
    length = None if size is None else b"%d" % size
    for body in (data, told + b'"]}]}'):
        try:
            rest.read("m", body, length, VALUES)
        except CallError as error:
            assert row_of(error) is not None  # noqa: PT017


def written(*outputs, parameters=None, **told):
    body = read({"inputs": [{"name": "x", "shape": [0], "datatype": "INT8", "data": []}], **told})
    return rest.write(body, InferResponse("m", told.get("id", ""), list(outputs), parameters or {}))


def test_an_answer_has_only_what_it_has():
    answer, size = written(Tensor("y", "UINT8", (2,), b"\1\2"))
    assert size is None
    assert json.loads(answer) == {
        "model_name": "m",
        "model_version": "1",
        "outputs": [{"name": "y", "shape": [2], "datatype": "UINT8", "data": [1, 2]}],
    }
    answer, _ = written(parameters={"t": 5}, id="i")
    assert json.loads(answer) == {
        "model_name": "m",
        "model_version": "1",
        "id": "i",
        "parameters": {"t": 5},
        "outputs": [],
    }


def test_outputs_are_raw_for_who_asks():
    outputs = [Tensor(name, "UINT8", (2,), name.encode() * 2) for name in "abc"]
    asked = [
        {"name": "a", "parameters": {"binary_data": False}},
        {"name": "b", "parameters": {"binary_data": True}},
    ]
    answer, size = written(*outputs, outputs=asked)
    told = json.loads(answer[:size])["outputs"]
    assert [each.get("data") for each in told] == [[97, 97], None, [99, 99]]
    assert told[1]["parameters"] == {"binary_data_size": 2}
    assert answer[size:] == b"bb"
    body = read(
        {
            "parameters": {"binary_data_output": True},
            "inputs": [{"name": "x", "shape": [0], "datatype": "INT8", "data": []}],
            "outputs": asked[:1],
        }
    )
    answer, size = rest.write(body, InferResponse("m", "", outputs))
    assert answer[size:] == b"bbcc"


def test_what_json_lacks_has_a_name():
    data = np.array([math.nan, math.inf, -math.inf, 0.5]).tobytes()
    answer, _ = written(Tensor("y", "FP64", (4,), data))
    assert json.loads(answer)["outputs"][0]["data"] == ["NaN", "Infinity", "-Infinity", 0.5]


def test_texts_are_texts():
    answer, _ = written(Tensor("y", "BYTES", (2,), prefixed(["é".encode(), b""])))
    assert json.loads(answer)["outputs"][0]["data"] == ["é", ""]


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("y", "BYTES", (1,), b"no lengths"),
        Tensor("y", "BYTES", (1,), prefixed([b"\xff"])),
        Tensor("y", "mine", (1,), b"x"),
        Tensor("y", "FP32", (1,), b"abc"),
    ],
)
def test_what_has_no_form_in_json_is_an_error_that_says_how_to_get_it(tensor):
    with pytest.raises(CallError, match="ask for it with binary_data") as caught:
        written(tensor)
    assert caught.value.code == 500


def test_metadata_is_told():
    told = ModelMetadata(
        "m", "python", (TensorMetadata("x"),), (TensorMetadata("y", "FP32", (-1,)),)
    )
    assert json.loads(rest.metadata(told)) == {
        "name": "m",
        "versions": ["1"],
        "platform": "python",
        "inputs": [{"name": "x", "datatype": "INVALID", "shape": []}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
    }
