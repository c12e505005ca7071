"""CBOR around raw bytes: read as it would be elsewhere, and without a copy."""

from __future__ import annotations

import cbor2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from provider.errors import CallError
from provider.kserve import cbor
from provider.kserve.cbor import Typed
from provider.kserve.tensors import packed, unpacked
from provider.wire.servable import FORMATS
from provider.wire.values import Values

VALUES = Values()
SHAPES = arrays.array_shapes(min_dims=0, min_side=0, max_side=3)
ARRAYS = st.one_of(
    *(
        arrays.arrays(order + dtype, SHAPES)
        for dtype in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "?")
        for order in "<>"
    )
)


def datatype_of(array):
    return {"u": "UINT", "i": "INT", "f": "FP", "b": "BOOL"}[array.dtype.kind] + (
        "" if array.dtype.kind == "b" else str(array.dtype.itemsize * 8)
    )


def little(array):
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


@given(ARRAYS)
def test_an_array_is_written_as_the_worker_reads_it(array):
    parts = cbor.typed_array(datatype_of(array), array.shape, little(array))
    read = VALUES.decode(b"".join(parts))
    assert read.shape == array.shape
    np.testing.assert_array_equal(read, array)
    # What has no items has no type in a list of booleans.
    assert read.dtype.kind == array.dtype.kind or (array.dtype.kind == "b" and not array.size)


@given(ARRAYS)
def test_an_array_of_the_worker_is_read_as_its_bytes(array):
    read = cbor.read(VALUES.encode({"a": array}), VALUES)["a"]
    assert isinstance(read, Typed)
    assert (read.datatype, read.shape) == (datatype_of(array), array.shape)
    assert bytes(read.data) == little(array)


def test_what_is_large_is_a_slice_of_what_came():
    result = VALUES.encode(
        {"outputs": [{"data": b"x" * 100_000}], "a": np.zeros((2, 5000)), "b": np.ones(5000)}
    )
    read = cbor.read(result, VALUES)
    for data in (read["outputs"][0]["data"], read["a"].data, read["b"].data):
        assert data.obj is result


def test_arrays_in_long_lists_are_arrays_too():
    read = cbor.read(VALUES.encode([[np.zeros(2, "f4")] * 3] * 100), VALUES)
    assert read == [[Typed("FP32", (2,), bytes(8))] * 3] * 100


@pytest.mark.parametrize(
    "data", [b"\x5f\x41a\xff", b"\x9f\x01\x41b\xff", b"\xbf\x61a\x01\xff", b"\x7f\x61a\xff"]
)
def test_items_whose_length_is_not_told_are_read(data):
    assert cbor.read(data, VALUES) == cbor2.loads(data)
    assert cbor.read(b"\x81" + data, VALUES) == [cbor2.loads(data)]


def test_a_list_of_numbers_with_a_shape_is_no_list_of_booleans():
    for items in ([1, 2], [True, 2], [True, None]):
        data = cbor2.dumps(cbor2.CBORTag(40, [[2], items]))
        try:
            read = cbor.read(data, VALUES)
        except CallError:
            continue
        assert not isinstance(read, Typed)


VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=70) | st.dictionaries(st.text(max_size=30), inner, max_size=5)
    ),
    max_leaves=90,
)


@given(VALUE)
def test_any_value_is_read_as_it_was_written(value):
    assert cbor.read(VALUES.encode(value), VALUES) == value


@given(st.binary(max_size=60))
def test_no_bytes_do_anything_but_come_out_or_be_refused(data):
    try:
        cbor.read(data, VALUES)
    except CallError as error:
        assert error.kind == "bad_request"  # noqa: PT017


@given(VALUE, st.integers(1, 20))
def test_what_is_cut_off_is_refused(value, cut):
    data = VALUES.encode(value)
    with pytest.raises(CallError):
        cbor.read(data[: max(len(data) - cut, 0)], VALUES)


@pytest.mark.parametrize(
    "data",
    [
        cbor2.dumps(cbor2.CBORTag(85, b"123")),
        cbor2.dumps(cbor2.CBORTag(40, [[3], cbor2.CBORTag(85, b"\0" * 8)])),
        cbor2.dumps(cbor2.CBORTag(40, [[2**62, 4], cbor2.CBORTag(85, b"\0" * 8)])),
        cbor2.dumps(cbor2.CBORTag(40, [[2], [True]])),
        cbor2.dumps(cbor2.CBORTag(40, [[-1], cbor2.CBORTag(85, b"")])),
        cbor2.dumps(cbor2.CBORTag(40, [[1]])),
        cbor2.dumps(cbor2.CBORTag(83, b"\0" * 16)),
        b"\xd8\x28\x82",
        b"\xd8\x55",
        b"\xa2\x61a\x01\x61a\x02",
        b"\xa1\x01\x02",
        b"\x5b" + b"\xff" * 8,
        b"\x9b" + b"\xff" * 8,
        b"\x01\x01",
        b"",
    ],
    ids=repr,
)
def test_what_lies_is_refused(data):
    with pytest.raises(CallError):
        cbor.read(data, VALUES)


def test_a_byte_string_that_is_cut_off_says_so():
    with pytest.raises(CallError, match="ends within a byte string"):
        cbor.read(b"\x82\x45abc", VALUES)


@pytest.mark.parametrize("value", [0, 23, 24, 255, 256, 2**16, 2**32, 2**64 - 1])
def test_heads_are_as_short_as_they_can_be(value):
    assert cbor.head(0, value) == cbor2.dumps(value)


def test_a_head_has_eight_bytes_at_most():
    with pytest.raises(ValueError, match="no head"):
        cbor.head(0, 2**64)


def test_maps_and_lists_are_put_together():
    parts = cbor.map_of(
        (("a", [cbor.text("é")]), ("b", cbor.list_of([cbor.byte_string(b"x"), [b"\xf6"]])))
    )
    assert cbor2.loads(b"".join(parts)) == {"a": "é", "b": [b"x", None]}
    assert cbor2.loads(cbor.integers([0, 300])) == [0, 300]


@pytest.mark.parametrize("datatype", FORMATS)
def test_items_are_packed_and_unpacked(datatype):
    items = [True, False, True] if datatype == "BOOL" else [0, 1, 100]
    data = packed(datatype, items)
    assert len(data) == 3 * FORMATS[datatype][1]
    assert unpacked(datatype, data) == items == unpacked(datatype, memoryview(data))
