"""Operations as models: what they take, what they give, and what does not fit."""

from __future__ import annotations

import typing
from dataclasses import dataclass

import cbor2
import numpy as np
import numpy.typing as npt
import pytest

from provider.dispatch import Context  # noqa: TC001  a hint that is looked at
from provider.errors import CallError, TooLarge
from provider.kserve import cbor
from provider.kserve.faults import ROWS, row_of
from provider.kserve.operation import Operation
from provider.kserve.tensors import InferRequest, Tensor, TensorMetadata, Wanted, prefixed, split
from provider.wire.values import Limits, Values
from provider.worker import operations
from provider.worker.schema import schemas

VALUES = Values()


@dataclass
class Point:
    x: int
    y: float = 0.0


def model(function):
    """The model of a function, from what the worker tells of it."""
    from provider.dispatch import operation

    marked = operation(name="f")(function)
    module = type("Module", (), {})()
    module.f = marked
    found = operations.collect(module)
    return Operation(found.all[0].described(), schemas(found)["f"])


def tensor(name, array):
    array = np.asarray(array)
    if array.dtype.kind in "OSU":
        data = prefixed(
            item if isinstance(item, bytes) else str(item).encode() for item in array.ravel()
        )
        return Tensor(name, "BYTES", array.shape, data)
    kind = {"i": "INT", "u": "UINT", "f": "FP", "b": "BOOL"}[array.dtype.kind]
    datatype = kind + ("" if kind == "BOOL" else str(8 * array.dtype.itemsize))
    return Tensor(name, datatype, array.shape, array.tobytes())


def given(function, *tensors, outputs=()):
    """The argument the function would get."""
    request = InferRequest("f", "", list(tensors), {}, [Wanted(name) for name in outputs])
    payload = model(function).argument(request, VALUES)
    return VALUES.decode(payload) if payload else ABSENT


ABSENT = object()


def refused(function, *tensors):
    with pytest.raises(CallError) as caught:
        given(function, *tensors)
    return next(name for name, row in ROWS.items() if row is row_of(caught.value))


def test_one_parameter_takes_the_value_whole():
    def f(x: np.ndarray): ...

    array = np.arange(6, dtype="f4").reshape(2, 3)
    got = given(f, tensor("x", array))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, array)


def test_several_are_spread_by_name():
    def f(a: np.ndarray, b: int, c: str = "c", *, context: Context): ...

    got = given(f, tensor("b", np.array([5])), tensor("a", np.array([1.0, 2.0])))
    assert got.keys() == {"a", "b"}
    assert (got["a"].tolist(), got["b"]) == ([1.0, 2.0], 5)
    assert type(got["b"]) is int


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (int, np.array([-3], "i2"), -3),
        (int, np.array(2**64 - 1, "u8"), 2**64 - 1),
        (float, np.array([0.5], "f4"), 0.5),
        (bool, np.array([True]), True),
        (str, np.array(["é"], object), "é"),
        (bytes, np.array([b"\xff"], object), b"\xff"),
        (typing.Optional[int], np.array([[7]]), 7),  # noqa: UP045
        (list[int], np.array([1, 2]), [1, 2]),
        (list[float], np.array(1.5), [1.5]),
        (list[list[int]], np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (list[list[int]], np.zeros((2, 0), "i8"), [[], []]),
        (list, np.zeros((0, 3), "i8"), []),
        (list[str], np.array(["a", "b"], object), ["a", "b"]),
        (list[bytes], np.array([b"\xfe", b""], object), [b"\xfe", b""]),
        (list[bool], np.array([True, False]), [True, False]),
        (dict, np.array([b'{"a": [1]}'], object), {"a": [1]}),
        (list[Point], np.array([b'[{"x": 1}]'], object), [{"x": 1}]),
        (typing.Any, np.array(["text"], object), "text"),
        (typing.Any, np.array([b"\xff"], object), b"\xff"),
        (typing.Any, np.array(["a", b"\xff"], object), ["a", b"\xff"]),
        (typing.Any, np.array([["a"], ["b"]], object), [["a"], ["b"]]),
    ],
)
def test_a_value_is_what_its_hint_asks_for(hint, value, expected):
    def f(x, y=None): ...

    f.__annotations__ = {"x": hint}
    got = given(f, tensor("x", value))["x"]
    assert got == expected
    assert type(got) is type(expected)


def test_without_a_hint_numbers_are_an_array():
    def f(x): ...

    got = given(f, tensor("x", np.array([5], "u1")))
    assert (got.dtype, got.tolist()) == (np.uint8, [5])
    got = given(f, tensor("x", np.array([[True], [False]])))
    assert (got.dtype, got.tolist()) == (np.bool_, [[True], [False]])


def test_a_map_takes_all_inputs_by_name():
    def f(values: dict): ...

    assert given(f, tensor("p", np.array(["x"], object))) == {"p": "x"}
    assert given(f) == {}


def test_a_parameter_without_a_hint_takes_several_inputs_as_a_map():
    def f(values): ...

    got = given(f, tensor("p", np.array(["x"], object)), tensor("q", np.array(["y"], object)))
    assert got == {"p": "x", "q": "y"}


def test_a_dataclass_takes_its_fields():
    def f(point: Point): ...

    assert given(f, tensor("x", np.array([1]))) == {"x": 1}
    assert refused(f, tensor("y", np.array([1.0]))) == "INVALID_NO_OF_INPUTS"
    assert refused(f, tensor("z", np.array([1.0]))) == "INVALID_UNEXPECTED_INPUT"


def test_what_takes_nothing_is_given_nothing():
    def f(): ...

    assert given(f) is ABSENT
    assert refused(f, tensor("x", np.array([1]))) == "INVALID_UNEXPECTED_INPUT"


def test_what_has_a_default_may_be_left_out():
    def one(x: int = 3): ...

    def two(x: int = 3, y: int = 4): ...

    assert given(one) is ABSENT
    assert given(two) == {}


def test_a_datatype_of_the_authors_is_its_bytes():
    def f(x: bytes): ...

    assert given(f, Tensor("x", "mine", (9,), b"abc")) == b"abc"


def test_more_than_is_named_may_come_where_it_is_taken():
    def f(x: int, **rest): ...

    assert given(f, tensor("x", np.array([1])), tensor("z", np.array(["t"], object))) == {
        "x": 1,
        "z": "t",
    }


TWICE = "MEDIAPIPE_GRAPH_ADD_PACKET_INPUT_STREAM_ERROR"
TEXTS = tensor("x", np.array(["a", "b"], object))


@pytest.mark.parametrize(
    ("hint", "tensors", "status"),
    [
        (int, [], "INVALID_NO_OF_INPUTS"),
        (int, [tensor("y", [1])], "INVALID_UNEXPECTED_INPUT"),
        (
            int,
            [tensor("x", [1]), tensor("x", [1])],
            "MEDIAPIPE_GRAPH_ADD_PACKET_INPUT_STREAM_ERROR",
        ),
        (int, [tensor("x", [1, 2])], "INVALID_SHAPE"),
        (int, [tensor("x", np.zeros(0))], "INVALID_SHAPE"),
        (str, [TEXTS], "INVALID_SHAPE"),
        (int, [tensor("x", np.array(["1"], object))], "INVALID_PRECISION"),
        (str, [tensor("x", [1])], "INVALID_PRECISION"),
        (bytes, [tensor("x", [1])], "INVALID_PRECISION"),
        (str, [tensor("x", np.array([b"\xff"], object))], "INVALID_PRECISION"),
        (list[str], [Tensor("x", "BYTES", (3,), TEXTS.data)], "INVALID_VALUE_COUNT"),
        (list[str], [Tensor("x", "BYTES", (1,), TEXTS.data)], "INVALID_CONTENT_SIZE"),
        (list[str], [Tensor("x", "BYTES", (1,), b"\xff\xff\xff\xffab")], "INVALID_CONTENT_SIZE"),
        (str, [Tensor("x", "BYTES", (25,), b"Make this text uppercase.")], "INVALID_CONTENT_SIZE"),
        (list, [Tensor("x", "FP32", (2**40, 0), b"")], "INVALID_SHAPE"),
        (list[Point], [tensor("x", np.array(["{"], object))], "INVALID_PRECISION"),
    ],
)
def test_what_does_not_fit_is_refused(hint, tensors, status):
    def f(x): ...

    f.__annotations__ = {"x": hint}
    assert refused(f, *tensors) == status


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (list, np.zeros(11)),
        (list[str], np.array([""] * 11, object)),
        (str, np.array(["x" * 101], object)),
    ],
)
def test_what_is_over_a_limit_is_too_large(hint, value):
    def f(x): ...

    f.__annotations__ = {"x": hint}
    request = InferRequest("f", inputs=[tensor("x", value)])
    with pytest.raises(TooLarge, match="over the limit of"):
        model(f).argument(request, Values(Limits(items=10, string=100)))


# --- results -------------------------------------------------------------------------------------


def answer(value, *, outputs=(), hint=typing.Any):
    def f(): ...

    f.__annotations__ = {"return": hint}
    request = InferRequest("f", "9", [], {}, [Wanted(name) for name in outputs])
    return model(f).response(request, cbor.read(VALUES.encode(value), VALUES))


@pytest.mark.parametrize(
    ("value", "datatype", "shape", "items"),
    [
        (5, "INT64", (1,), [5]),
        (-(2**63), "INT64", (1,), [-(2**63)]),
        (2**64 - 1, "UINT64", (1,), [2**64 - 1]),
        (True, "BOOL", (1,), [True]),
        (0.5, "FP64", (1,), [0.5]),
        ([1, 2], "INT64", (2,), [1, 2]),
        ([1, 2.5], "FP64", (2,), [1.0, 2.5]),
        ([[True], [False]], "BOOL", (2, 1), [True, False]),
        (list(range(1000)), "INT64", (1000,), list(range(1000))),
        ([[0.5] * 100] * 100, "FP64", (100, 100), [0.5] * 10_000),
        ([], "FP64", (0,), []),
        ([[], []], "FP64", (2, 0), []),
        (np.float32([[1.5]]), "FP32", (1, 1), [1.5]),
        (np.array([1, 2], ">u2"), "UINT16", (2,), [1, 2]),
        (np.array([True, False]), "BOOL", (2,), [True, False]),
        (np.array(7, "i1"), "INT8", (), [7]),
    ],
)
def test_a_result_is_a_tensor(value, datatype, shape, items):
    [output] = answer(value).outputs
    assert (output.name, output.datatype, output.shape) == ("output0", datatype, shape)
    from provider.kserve.tensors import unpacked

    assert unpacked(datatype, output.data) == items


@pytest.mark.parametrize(
    ("value", "shape", "items"),
    [
        ("é", (1,), ["é".encode()]),
        (b"\xff", (1,), [b"\xff"]),
        (["a", b"b"], (2,), [b"a", b"b"]),
        ([["a", "b"], ["c", "d"]], (2, 2), [b"a", b"b", b"c", b"d"]),
        (None, (1,), [b"null"]),
        (2**70, (1,), [str(2**70).encode()]),
        ([1, "a"], (1,), [b'[1,"a"]']),
        ([[1], [2, 3]], (1,), [b"[[1],[2,3]]"]),
        ([2**53 + 1, 0.5], (1,), [b"[9007199254740993,0.5]"]),
        ([-1, 2**63], (1,), [b"[-1,9223372036854775808]"]),
        ([True, 1], (1,), [b"[true,1]"]),
        ([{"a": b"x", "b": np.array([[1], [2]])}], (1,), [b'[{"a":"eA==","b":[[1],[2]]}]']),
    ],
)
def test_what_is_no_tensor_is_bytes(value, shape, items):
    [output] = answer(value).outputs
    assert (output.datatype, output.shape) == ("BYTES", shape)
    assert split(output.data) == items


def test_a_map_gives_outputs_by_name():
    response = answer({"a": 1, "b": {"c": [None]}})
    assert response.id == "9"
    assert [(each.name, each.datatype) for each in response.outputs] == [
        ("a", "INT64"),
        ("b", "BYTES"),
    ]
    assert split(response.outputs[1].data) == [b'{"c":[null]}']
    assert answer({}).outputs == []


def test_what_cannot_even_be_json_is_an_error():
    with pytest.raises(CallError, match="The result cannot be written - output0") as caught:
        answer(2**20_000)
    assert caught.value.code == 500


def test_only_what_is_asked_for_comes():
    assert [each.name for each in answer({"a": 1, "b": 2}, outputs=["b", "b"]).outputs] == ["b"]
    with pytest.raises(CallError, match="c is none of a, b") as caught:
        answer({"a": 1, "b": 2}, outputs=["c"])
    assert row_of(caught.value) is ROWS["INVALID_OUTPUT"]


# --- what is told --------------------------------------------------------------------------------

Vector = np.ndarray


class Both(typing.TypedDict):
    total: float
    names: list[str]


def told(function):
    metadata = model(function).metadata()
    assert (metadata.name, metadata.platform) == ("f", "python")
    return metadata.inputs, metadata.outputs


def test_metadata_comes_from_the_annotations():
    def f(
        a: npt.NDArray[np.float32],
        b: list[list[int]],
        c: np.ndarray,
        d: bytes | None = None,
        e: Vector | None = None,
        g: list = (),
        h: dict | None = None,
        i=None,
        j: list[Point] = (),
        k: np.ndarray = None,
        m: npt.NDArray[np.bool_] = None,
    ) -> Both: ...

    inputs, outputs = told(f)
    assert inputs == (
        TensorMetadata("a", "FP32"),
        TensorMetadata("b", "INT64", (-1, -1)),
        TensorMetadata("c"),
        TensorMetadata("d", "BYTES", (1,)),
        TensorMetadata("e"),
        TensorMetadata("g"),
        TensorMetadata("h", "BYTES", (1,)),
        TensorMetadata("i"),
        TensorMetadata("j", "BYTES", (1,)),
        TensorMetadata("k"),
        TensorMetadata("m", "BOOL"),
    )
    assert outputs == (
        TensorMetadata("total", "FP64", (1,)),
        TensorMetadata("names", "BYTES", (-1,)),
    )


@pytest.mark.parametrize(
    ("hint", "outputs"),
    [
        (int, (TensorMetadata("output0", "INT64", (1,)),)),
        (npt.NDArray[np.int8], (TensorMetadata("output0", "INT8"),)),
        (list, (TensorMetadata("output0"),)),
        (list[str], (TensorMetadata("output0", "BYTES", (-1,)),)),
        (dict, ()),
        (None, ()),
        (typing.Any, (TensorMetadata("output0"),)),
        (typing.Union[int, str], (TensorMetadata("output0"),)),  # noqa: UP007
    ],
)
def test_a_result_is_told_of(hint, outputs):
    def f(): ...

    f.__annotations__ = {"return": hint}
    assert told(f) == ((), outputs)


@pytest.mark.parametrize(
    "schema",
    [
        *(None, 5, "object", [], {}),
        {"$ref": "#/$defs/a", "$defs": 5},
        {"$ref": "#/$defs/a", "$defs": {"a": 5}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"type": ["object"], "properties": {}},
        {"type": "object", "properties": {"x": 5}, "required": [10**5000, {}, "x"]},
        {"type": "array", "items": 5},
        {"anyOf": [5]},
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_a_worker_may_tell_anything_of_its_types(schema, streams):
    told = {"name": "f", "signature": "(x)", "streams": streams}
    for said in (schema, {"argument": schema, "result": schema}, {"result": {"items": schema}}):
        assert Operation(told, said).metadata().name == "f"


def test_a_stream_is_told_of_by_its_items():
    def f(n: int) -> typing.Iterator[str]:
        yield str(n)

    assert told(f) == (
        (TensorMetadata("n", "INT64", (1,)),),
        (TensorMetadata("output0", "BYTES", (1,)),),
    )


def test_arrays_go_through_without_a_copy():
    data = memoryview(bytes(1000))

    def f(x: np.ndarray): ...

    made = model(f)
    request = InferRequest("f", inputs=[Tensor("x", "FP32", (250,), data)])
    payload = made.argument(request, VALUES)
    assert payload == cbor2.dumps(cbor2.CBORTag(85, bytes(data)))
    result = VALUES.encode(np.zeros(1000, "f4"))
    [output] = made.response(request, cbor.read(result, VALUES)).outputs
    assert output.data.obj is result
