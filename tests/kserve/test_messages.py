"""Messages of gRPC: what comes in, what goes out, and what is refused."""

from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tritonclient.grpc import service_pb2
from tritonclient.utils import np_to_triton_dtype

from provider.errors import CallError
from provider.kserve import messages
from provider.kserve.faults import ROWS, row_of
from provider.kserve.tensors import (
    InferResponse,
    ModelMetadata,
    Tensor,
    TensorMetadata,
    prefixed,
    split,
)

QUICKSTART = bytes.fromhex(
    "0a0c707974686f6e5f6d6f64656c2a100a0474657874120542595445531a01193a19"
    "4d616b6520746869732074657874207570706572636173652e"
)
CONTENTS = {
    "BOOL": ("bool_contents", [True, False]),
    "INT8": ("int_contents", [-128, 127]),
    "INT16": ("int_contents", [-32768, 32767]),
    "INT32": ("int_contents", [-(2**31), 2**31 - 1]),
    "INT64": ("int64_contents", [-(2**63), 2**63 - 1]),
    "UINT8": ("uint_contents", [0, 255]),
    "UINT16": ("uint_contents", [0, 65535]),
    "UINT32": ("uint_contents", [0, 2**32 - 1]),
    "UINT64": ("uint64_contents", [0, 2**64 - 1]),
    "FP32": ("fp32_contents", [0.5, -1.5]),
    "FP64": ("fp64_contents", [0.1, -1e300]),
}
NUMPY = {
    "BOOL": "?",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}


def request(*inputs, raw=(), **fields):
    made = service_pb2.ModelInferRequest(
        model_name="m", raw_input_contents=raw, inputs=inputs, **fields
    )
    return made.SerializeToString()


def an_input(name="x", datatype="FP32", shape=(2,), **contents):
    made = service_pb2.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    if contents:
        made.contents.CopyFrom(service_pb2.InferTensorContents(**contents))
    return made


def refused(data, name):
    with pytest.raises(CallError) as caught:
        messages.read_infer(data)
    assert row_of(caught.value) is ROWS[name], caught.value.message
    assert row_of(caught.value).grpc == "INVALID_ARGUMENT"
    assert caught.value.message.startswith(ROWS[name].text)
    return caught.value.message


def test_the_message_of_the_quickstart_is_read_as_it_is():
    read = messages.read_infer(QUICKSTART)
    assert (read.model, read.id, read.parameters, read.outputs) == ("python_model", "", {}, [])
    [tensor] = read.inputs
    assert (tensor.name, tensor.datatype, tensor.shape) == ("text", "BYTES", (25,))
    assert bytes(tensor.data) == b"Make this text uppercase."


@pytest.mark.parametrize("datatype", CONTENTS)
def test_typed_contents_become_raw_bytes(datatype):
    member, items = CONTENTS[datatype]
    [tensor] = messages.read_infer(request(an_input(datatype=datatype, **{member: items}))).inputs
    assert np.frombuffer(tensor.data, NUMPY[datatype]).tolist() == items
    assert tensor.shape == (2,)


def test_texts_get_their_lengths_and_are_not_counted():
    [tensor] = messages.read_infer(
        request(an_input(datatype="BYTES", shape=[25], bytes_contents=[b"ab", b""]))
    ).inputs
    assert tensor.data == b"\x02\0\0\0ab\0\0\0\0"
    assert tensor.shape == (25,)


def test_an_input_without_contents_is_empty():
    [text] = messages.read_infer(request(an_input(datatype="BYTES", shape=[25]))).inputs
    assert text.data == b""
    [numbers] = messages.read_infer(request(an_input(shape=[2, 0]))).inputs
    assert (numbers.data, numbers.shape) == (b"", (2, 0))


def test_a_scalar_has_no_extents():
    [tensor] = messages.read_infer(request(an_input(shape=[]), raw=[b"\0\0\0\0"])).inputs
    assert tensor.shape == ()


def test_a_datatype_of_the_authors_travels_raw_and_unmeasured():
    [tensor] = messages.read_infer(
        request(an_input(datatype="my_own", shape=[7]), raw=[b"abc"])
    ).inputs
    assert (tensor.datatype, bytes(tensor.data), tensor.shape) == ("my_own", b"abc", (7,))


def test_parameters_have_the_types_they_were_sent_with():
    given_parameters = {
        "a": service_pb2.InferParameter(bool_param=False),
        "b": service_pb2.InferParameter(int64_param=-1),
        "c": service_pb2.InferParameter(string_param="s"),
        "d": service_pb2.InferParameter(double_param=0.5),
        "e": service_pb2.InferParameter(uint64_param=2**64 - 1),
        "f": service_pb2.InferParameter(),
    }
    read = messages.read_infer(request(parameters=given_parameters, id="7"))
    assert read.parameters == {"a": False, "b": -1, "c": "s", "d": 0.5, "e": 2**64 - 1, "f": None}
    assert read.id == "7"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\xff\xff", "INVALID_MESSAGE_STRUCTURE"),
        (request(an_input(), an_input("y"), raw=[b"\0" * 8]), "INVALID_MESSAGE_STRUCTURE"),
        (request(raw=[b"\0" * 8]), "INVALID_MESSAGE_STRUCTURE"),
        (request(an_input(fp32_contents=[1, 2]), raw=[b"\0" * 8]), "INVALID_MESSAGE_STRUCTURE"),
        (request(an_input(fp64_contents=[1, 2])), "INVALID_MESSAGE_STRUCTURE"),
        (
            request(an_input(fp32_contents=[1, 2], int_contents=[1])),
            "INVALID_MESSAGE_STRUCTURE",
        ),
        (request(an_input(), raw=[b"\0" * 7]), "INVALID_CONTENT_SIZE"),
        (request(an_input(), raw=[b"\0" * 9]), "INVALID_CONTENT_SIZE"),
        (request(an_input(shape=[]), raw=[b""]), "INVALID_CONTENT_SIZE"),
        (request(an_input(shape=[2**62 // 4, 4]), raw=[b"\0" * 8]), "INVALID_CONTENT_SIZE"),
        (request(an_input(shape=[-1]), raw=[b""]), "INVALID_SHAPE"),
        (request(an_input(shape=[-1, 0]), raw=[b""]), "INVALID_SHAPE"),
        (request(an_input(shape=[-2], fp32_contents=[1.0])), "INVALID_SHAPE"),
        (request(an_input(shape=[2**62, 2**62]), raw=[b""]), "INVALID_SHAPE"),
        (request(an_input(shape=[2**63 - 1] * 60), raw=[b""]), "INVALID_SHAPE"),
        (request(an_input(datatype="BYTES", shape=[1] * 65), raw=[b""]), "INVALID_SHAPE"),
        (request(an_input(datatype=""), raw=[b""]), "INVALID_PRECISION"),
        (request(an_input(datatype="my_own")), "INVALID_PRECISION"),
        (request(an_input(datatype="FP16", fp32_contents=[1, 2])), "INVALID_PRECISION"),
        (request(an_input(datatype="INT8", int_contents=[1, 128])), "INVALID_PRECISION"),
        (request(an_input(datatype="UINT8", uint_contents=[1, 256])), "INVALID_PRECISION"),
        (request(an_input(fp32_contents=[1, 2, 3])), "INVALID_VALUE_COUNT"),
        (request(an_input(fp32_contents=[1])), "INVALID_VALUE_COUNT"),
        (request(an_input()), "INVALID_VALUE_COUNT"),
        (request(model_version="latest"), "MODEL_VERSION_INVALID_FORMAT"),
        (request(model_version="-1"), "MODEL_VERSION_INVALID_FORMAT"),
        (request(model_version="\u0661"), "MODEL_VERSION_INVALID_FORMAT"),
    ],
)
def test_what_does_not_fit_its_claims_is_refused(data, status):
    refused(data, status)


def test_a_version_is_digits_and_nothing_more_is_asked_of_it():
    assert messages.read_infer(request(model_version="17")).model == "m"


def test_a_shape_of_a_thousand_extents_is_answered_with_few_words():
    message = refused(request(an_input(shape=[2**63 - 1] * 1000), raw=[b""]), "INVALID_SHAPE")
    assert len(message) < 200


# --- large messages are looked through by hand ---------------------------------------------------


def big(*inputs, raw):
    data = request(*inputs, raw=raw, id="i", model_version="3")
    assert len(data) >= messages.LARGE
    return data


def test_large_contents_are_slices_of_the_message():
    contents = bytes(range(256)) * 1024
    data = big(an_input(datatype="UINT8", shape=[len(contents)]), raw=[contents])
    read = messages.read_infer(data)
    [tensor] = read.inputs
    assert tensor.data.obj is data
    assert tensor.data == contents
    assert (read.model, read.id) == ("m", "i")


def test_fields_around_large_contents_are_read_wherever_they_stand():
    contents = b"\1" * messages.LARGE
    raw = service_pb2.ModelInferRequest(raw_input_contents=[contents]).SerializeToString()
    rest = service_pb2.ModelInferRequest(
        model_name="later", inputs=[an_input(datatype="UINT8", shape=[len(contents)])]
    ).SerializeToString()
    unknown = (
        b"\x38\x05" + b"\x3dabcd" + b"\xf8\x01\x05" + b"\xf5\x01abcd" + b"\xf1\x01abcdefgh"
    )  # 7 and 31
    for data in (raw + rest, rest + raw, unknown + raw + unknown + rest):
        assert messages.read_infer(data).model == "later"


@pytest.mark.parametrize("at", ["contents", "length", "key"])
def test_a_large_message_that_is_cut_off_is_refused(at):
    data = big(an_input(datatype="UINT8", shape=[20_000]), raw=[b"\0" * 20_000])
    cut = {"contents": data[:-1], "length": data + b"\x3a\xff", "key": data + b"\xff"}[at]
    refused(cut, "INVALID_MESSAGE_STRUCTURE")


@pytest.mark.parametrize("more", [b"\x3b", b"\x3c", b"\x3f", b"\xff" * 11])
def test_what_is_no_field_is_refused(more):
    refused(big(an_input(), raw=[b"\0" * 20_000]) + more, "INVALID_MESSAGE_STRUCTURE")


@given(
    st.lists(st.binary(max_size=40), max_size=4),
    st.binary(max_size=30),
    st.integers(0, 60),
)
def test_both_ways_of_reading_see_the_same_message(raw, noise, place):
    data = request(an_input("x", "BYTES"), raw=raw, id="abc")
    data = data[:place] + noise + data[place:]
    try:
        expected = service_pb2.ModelInferRequest.FromString(data)
    except Exception:
        expected = None
    try:
        head, found = messages.apart(data)
        assert found is not None
        read = service_pb2.ModelInferRequest.FromString(head)
    except Exception:
        read = None
    if expected is None or read is None:
        # Only groups, which no one sends, are read by one and not by the other.
        assert read is None
        return
    assert list(map(bytes, found)) == list(expected.raw_input_contents)
    expected.ClearField("raw_input_contents")
    assert read == expected


@pytest.mark.parametrize("field", [b"\x3a\0", b"\x2a\0", b"\x32\0", b"\x22\0"])
def test_a_message_of_millions_of_fields_is_refused_at_little_cost(field):
    # Looked through one by one in Python, it would take seconds in which nobody else is answered.
    data = request() + field * 2_000_000
    assert messages.apart(data) == (data, None)
    if field != b"\x22\0":  # parameters of one name are one
        refused(data, "INVALID_MESSAGE_STRUCTURE")


def test_there_are_only_so_many_parameters_and_texts():
    many = {str(n): service_pb2.InferParameter(bool_param=True) for n in range(4097)}
    refused(request(parameters=many), "INVALID_MESSAGE_STRUCTURE")
    texts = an_input(datatype="BYTES", bytes_contents=[b""] * 1_000_001)
    refused(request(texts), "INVALID_VALUE_COUNT")


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_come_out_or_be_refused(data):
    for each in (data, request(an_input(), raw=[b"\0" * 20_000]) + data):
        with contextlib.suppress(CallError):
            messages.read_infer(each)


@given(
    st.one_of(
        *(
            arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0, max_side=4))
            for dtype in NUMPY.values()
        )
    )
)
def test_arrays_come_in_and_go_out_as_they_are(array):
    datatype = np_to_triton_dtype(array.dtype)
    [tensor] = messages.read_infer(
        request(an_input(datatype=datatype, shape=array.shape), raw=[array.tobytes()])
    ).inputs
    written = b"".join(messages.write_infer(InferResponse("m", outputs=[tensor])))
    read = service_pb2.ModelInferResponse.FromString(written)
    assert (list(read.outputs[0].shape), read.outputs[0].datatype) == (list(array.shape), datatype)
    assert read.raw_output_contents == [array.tobytes()]


def test_an_answer_has_its_outputs_in_order_and_nothing_but_raw_contents():
    response = InferResponse(
        "m",
        "7",
        [
            Tensor("a", "UINT8", (300,), memoryview(b"\1" * 300)),
            Tensor("end", "UINT8", (0,), b""),
            Tensor("c", "mine", (1, 2), b"xyz"),
        ],
        {"flag": True, "time": -5, "large": 2**63, "text": "s", "half": 0.5},
    )
    read = service_pb2.ModelInferResponse.FromString(b"".join(messages.write_infer(response)))
    assert (read.model_name, read.model_version, read.id) == ("m", "1", "7")
    assert [(each.name, each.datatype, list(each.shape)) for each in read.outputs] == [
        ("a", "UINT8", [300]),
        ("end", "UINT8", [0]),
        ("c", "mine", [1, 2]),
    ]
    assert read.raw_output_contents == [b"\1" * 300, b"", b"xyz"]
    assert not any(each.HasField("contents") for each in read.outputs)
    told = {name: value.WhichOneof("parameter_choice") for name, value in read.parameters.items()}
    assert told == {
        "flag": "bool_param",
        "time": "int64_param",
        "large": "uint64_param",
        "text": "string_param",
        "half": "double_param",
    }
    streamed = service_pb2.ModelStreamInferResponse.FromString(messages.write_streamed(response))
    assert streamed.infer_response == read
    assert streamed.error_message == ""


def test_an_error_of_a_stream_is_a_message():
    read = service_pb2.ModelStreamInferResponse.FromString(messages.write_stream_error("no"))
    assert read.error_message == "no"
    assert not read.HasField("infer_response")


def test_metadata_has_names_types_and_shapes():
    told = ModelMetadata(
        "m", "python", (TensorMetadata("x"),), (TensorMetadata("y", "FP32", (-1, 2)),)
    )
    read = service_pb2.ModelMetadataResponse.FromString(messages.write_metadata(told))
    assert (read.name, read.platform, read.versions) == ("m", "python", ["1"])
    assert [(x.name, x.datatype, list(x.shape)) for x in read.inputs] == [("x", "INVALID", [])]
    assert [(y.name, y.datatype, list(y.shape)) for y in read.outputs] == [("y", "FP32", [-1, 2])]


# --- texts ---------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_texts_are_split_where_they_were_joined(items):
    assert split(prefixed(items)) == items
    assert split(memoryview(prefixed(items)), len(items)) == items


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\1", "within a length"),
        (b"\1\0\0\0", "leads beyond"),
        (struct.pack("<I", 2**32 - 1) + b"x", "leads beyond"),
        (prefixed([b"a", b"b", b"c"]), "more than 2"),
    ],
)
def test_lengths_that_lie_are_refused(data, words):
    with pytest.raises(ValueError, match=words):
        split(data, 2)
