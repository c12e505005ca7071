"""Typed arrays: the bytes of RFC 8746 to and from numpy, and their refusal where it is absent."""

from __future__ import annotations

import subprocess
import sys
import warnings

import cbor2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from provider.errors import BadRequest, BadResult
from provider.wire import arrays
from provider.wire.arrays import ArrayError
from provider.wire.values import Values

VALUES = Values()


def same(one, other):
    """Equal arrays of the same shape and the same numbers, byte order and all."""
    return (
        type(one) is np.ndarray
        and one.shape == other.shape
        and one.dtype == other.dtype
        and one.tobytes() == other.tobytes()
    )


# --- both ways ------------------------------------------------------------------------------------


@given(
    npst.arrays(
        dtype=st.sampled_from([*arrays.DTYPES.values(), "?"]),
        shape=npst.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
    )
)
@settings(max_examples=60)
def test_arrays_of_every_type_and_shape_arrive_as_they_left(array):
    # Booleans have no typed array, so that of none of them nobody can tell what they were.
    assume(array.size or array.dtype != bool)
    assert same(VALUES.decode(VALUES.encode(array)), array)


def test_the_tags_are_those_of_rfc_8746():
    # The tag's five low bits are f s e ll: float, signed or order, little end first, size.
    for tag, name in arrays.DTYPES.items():
        is_float, signed, little, size = tag >> 4 & 1, tag >> 3 & 1, tag >> 2 & 1, tag & 3
        dtype = np.dtype(name)
        assert dtype.kind == ("f" if is_float else "i" if signed else "u")
        assert dtype.itemsize == 1 << (size + is_float)
        if dtype.itemsize > 1:
            assert (dtype.str[0] == "<") == bool(little)
    assert len(arrays.DTYPES) == 24 - 3  # 76 is reserved, 83 and 87 have 128 bits


@pytest.mark.parametrize("tag", arrays.DTYPES)
def test_each_tag_is_read_with_its_type_and_written_again(tag):
    name = arrays.DTYPES[tag]
    wanted = np.array([0, 1, 100], dtype=name)
    data = cbor2.dumps(cbor2.CBORTag(tag, wanted.tobytes()))
    array = VALUES.decode(data)
    assert same(array, wanted)
    again = data if tag != 68 else b"\xd8\x40" + data[2:]
    assert VALUES.encode(array) == again


def test_what_arrives_is_a_view_of_the_message_and_read_only():
    array = VALUES.decode(cbor2.dumps(cbor2.CBORTag(64, b"abc")))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    array.copy()[0] = 1


@pytest.mark.parametrize(
    ("array", "content"),
    [
        (np.arange(10)[::3], [0, 3, 6, 9]),
        (np.arange(10)[::-4], [9, 5, 1]),
        (np.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
        (np.asfortranarray(np.arange(6).reshape(2, 3)), [[0, 1, 2], [3, 4, 5]]),
        (np.broadcast_to(np.int8(7), (2, 2)), [[7, 7], [7, 7]]),
        (np.arange(4, dtype=">i4")[1:], [1, 2, 3]),
        (np.array(5), 5),
        (np.array(True), True),
        (np.array([[True], [False]]), [[True], [False]]),
        (np.zeros((0, 3)), []),
        (np.zeros((1,) * 32), np.zeros((1,) * 32).tolist()),
    ],
    ids=lambda value: "x".join(map(str, value.shape)) if hasattr(value, "shape") else "",
)
def test_arrays_laid_out_oddly_travel_in_row_major_order(array, content):
    arrived = VALUES.decode(VALUES.encode(array))
    assert arrived.tolist() == content
    assert arrived.shape == array.shape
    assert arrived.dtype == array.dtype


def test_subclasses_of_arrays_travel_as_arrays(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = np.matrix([[1, 2]])
    assert VALUES.decode(VALUES.encode(matrix)).tolist() == [[1, 2]]
    mapped = np.memmap(tmp_path / "numbers", dtype="<u2", mode="w+", shape=(3,))
    mapped[:] = 5
    assert VALUES.decode(VALUES.encode(mapped)).tolist() == [5, 5, 5]


@pytest.mark.parametrize(
    "scalar",
    [
        *(
            np.dtype(name).type(3)
            for name in ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
        ),
        np.bool_(True),
        np.uint64(2**64 - 1),
        np.float32("nan"),
        np.datetime64("2020-01-01"),
        np.timedelta64(5, "s"),
        np.longdouble(1.5),
        np.complex64(1j),
        np.void(b"a"),
    ],
    ids=lambda scalar: type(scalar).__name__,
)
def test_scalars_travel_as_plain_numbers_where_they_are_such(scalar):
    plain = scalar.dtype.kind in "buif" and not isinstance(scalar, np.longdouble)
    assert arrays.is_scalar(scalar) == plain
    if plain:
        arrived = VALUES.decode(VALUES.encode([scalar]))[0]
        assert type(arrived) is type(scalar.item())
        assert arrived == scalar or scalar != scalar
    else:
        with pytest.raises(BadResult, match=r"is not accepted, at value\[0\]"):
            VALUES.encode([scalar])


def test_texts_and_bytes_of_numpy_are_texts_and_bytes():
    assert VALUES.decode(VALUES.encode([np.str_("a"), np.bytes_(b"b")])) == ["a", b"b"]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([1j]), "a numpy array of complex128"),
        (np.array([1, "a"], dtype=object), "a numpy array of object"),
        (np.array(["a"]), "a numpy array of <U1"),
        (np.array([b"a"]), "a numpy array of |S1"),
        (np.array(["2020"], dtype="M8[D]"), "a numpy array of datetime64[D]"),
        (np.array([5], dtype="m8[s]"), "a numpy array of timedelta64[s]"),
        (np.zeros(2, dtype=[("a", "i4")]), "a numpy array of [('a', '<i4')]"),
        (np.rec.array([(1, 2)]), "a numpy array of (numpy.record"),
        (np.zeros(1, dtype=np.longdouble), f"a numpy array of {np.dtype(np.longdouble)}"),
        (np.zeros((1,) * 33), "a numpy array of 33 dimensions, over the limit of 32"),
        (np.ma.masked_array([1, 2], mask=[True, False]), "a masked numpy array"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_without_a_tag_are_refused_with_their_place(array, words):
    assert arrays.why_not(array).startswith(words)
    with pytest.raises(BadResult) as caught:
        VALUES.encode({"a": [array]})
    assert words in caught.value.message
    assert caught.value.message.endswith(", at value['a'][0]")


# --- bytes that make no array ---------------------------------------------------------------------


@pytest.mark.parametrize("tag", arrays.DTYPES)
def test_a_typed_array_holds_bytes_of_a_whole_number_of_items(tag):
    for content in ("a", 1, None, [1, 2], {}):
        with pytest.raises(ArrayError, match=rf"typed array \(tag {tag}\) holds .*, not bytes"):
            arrays.from_tag(tag, content)
    size = np.dtype(arrays.DTYPES[tag]).itemsize
    assert arrays.from_tag(tag, b"").shape == (0,)
    assert arrays.from_tag(tag, b"\0" * size).shape == (1,)
    if size > 1:
        with pytest.raises(ArrayError, match=f"{size + 1} bytes are no array of {size}-byte"):
            arrays.from_tag(tag, b"\0" * (size + 1))


BYTES = np.frombuffer(b"\1\2\3\4", dtype="u1")


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ([[2, 2], BYTES], [[1, 2], [3, 4]]),
        ([(4,), BYTES], [1, 2, 3, 4]),
        (([1, 4, 1], BYTES), [[[1], [2], [3], [4]]]),
        ([[2], [1, 2]], [1, 2]),
        ([[2], (1.5, 2)], [1.5, 2.0]),
        ([[2, 1], [True, False]], [[True], [False]]),
        ([[], [7]], 7),
        ([[0], []], []),
        ([[0, 5], []], []),
        ([[2**63], [1]], "a list of integers from 0 below 2**63"),
        ([[0, 2**63 - 1], []], "makes no array"),
        ([[2], [2**63, 1]], [2**63, 1]),
        ([[2], [2**63 - 1, -(2**63)]], [2**63 - 1, -(2**63)]),
        ([[2], [2**64 - 1, 0]], [2**64 - 1, 0]),
        ([[2], [2**63, -1]], "integers wider than 64 bits"),
        ([[1], [-(2**63) - 1]], "integers wider than 64 bits"),
        ([[1], [2**64]], "integers wider than 64 bits"),
        ([[2], [1.5, 10**400]], "a typed array or a flat list"),
        ([[2], [1, True]], "holds numbers or booleans"),
        ([[2, 3], BYTES], "shape [2, 3] takes 6 items, the array has 4"),
        ([[], BYTES], "shape [] takes 1 items, the array has 4"),
        ([[2**62, 2**62], BYTES], "takes"),
        ([[-1, -4], BYTES], "a list of integers from 0"),
        ([[True, 4], BYTES], "a list of integers from 0"),
        ([[4.0], BYTES], "a list of integers from 0"),
        ([["4"], BYTES], "a list of integers from 0"),
        ([[10**5000], BYTES], "a list of integers from 0"),
        ([4, BYTES], "a list of at most 32 integers"),
        ([[1] * 33, BYTES], "a list of at most 32 integers"),
        ([BYTES, BYTES], "a list of at most 32 integers"),
        ([[4], BYTES.reshape(2, 2)], "a typed array or a flat list"),
        ([[4], b"\1\2\3\4"], "a typed array or a flat list"),
        ([[4], "abcd"], "a typed array or a flat list"),
        ([[4], None], "a typed array or a flat list"),
        ([[2], [1, "a"]], "holds numbers or booleans"),
        ([[1], [None]], "holds numbers or booleans"),
        ([[1], [[1]]], "holds numbers or booleans"),
        ([[1], [b"a"]], "holds numbers or booleans"),
        ([[4]], "a multi-dimensional array (tag 40) holds [shape, array]"),
        ([[4], BYTES, 1], "a multi-dimensional array (tag 40) holds [shape, array]"),
        (b"\1\2", "a multi-dimensional array (tag 40) holds [shape, array]"),
        ("ab", "a multi-dimensional array (tag 40) holds [shape, array]"),
        (None, "a multi-dimensional array (tag 40) holds [shape, array]"),
    ],
)
def test_a_shaped_array_is_a_shape_and_as_many_items(content, wanted):
    if isinstance(wanted, str):
        with pytest.raises(ArrayError) as caught:
            arrays.from_shaped(content)
        assert wanted in str(caught.value)
    else:
        array = arrays.from_shaped(content)
        assert array.tolist() == wanted
        assert array.shape == tuple(content[0])


@given(st.sampled_from([40, *arrays.DTYPES]), st.binary(max_size=20))
@settings(max_examples=80)
def test_any_content_of_an_array_tag_is_a_value_or_a_bad_request(tag, content):
    data = cbor2.dumps(cbor2.CBORTag(tag, None))[:-1] + content
    try:
        VALUES.decode(data)
    except BadRequest:
        return


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("d8414101", "1 bytes are no array of 2-byte numbers"),
        ("d8406161", "typed array (tag 64) holds str, not bytes"),
        ("d828828103d8404101", "shape [3] takes 3 items, the array has 1"),
        ("d828828202" + "c2590800" + "ff" * 2048 + "80", "a list of integers from 0"),
        ("d828d8404101", "(tag 40) holds [shape, array]"),
        ("d82882d8404101d8404101", "the shape of an array"),
        ("a1d840410101", "unhashable"),
    ],
)
def test_what_is_wrong_with_an_array_is_said(data, words):
    with pytest.raises(BadRequest) as caught:
        VALUES.decode(bytes.fromhex(data))
    assert words in caught.value.message


# --- without numpy --------------------------------------------------------------------------------


def test_without_numpy_everything_works_but_arrays_which_say_what_is_missing():
    program = """if True:
        import sys
        sys.modules["numpy"] = None  # what an import finds is that there is none
        from provider.errors import BadRequest, BadResult
        from provider.wire import arrays, json_form
        from provider.wire.values import Values
        values = Values()
        value = {"a": [1, b"x", None, 1.5, "t"]}
        assert values.decode(values.encode(value)) == value
        assert json_form.decode(json_form.encode([1], values), values) == [1]
        for data in ("d84040", "d828828101d8404101", "d82882810181 01"):
            try:
                values.decode(bytes.fromhex(data))
            except BadRequest as error:
                assert "typed arrays need numpy in the environment" in error.message, error
                assert "pip install numpy" in error.message
            else:
                raise SystemExit("an array without numpy")
            assert values.end_of_item(bytes.fromhex(data), 0) == len(bytes.fromhex(data))
        class Array: pass
        assert not arrays.is_array(Array()) and not arrays.is_scalar(Array())
        try:
            values.encode([Array()])
        except BadResult as error:
            assert error.message.endswith("a value of type Array is not accepted, at value[0]")
    """
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_numpy_is_not_imported_for_values_without_arrays():
    program = """if True:
        import sys
        from provider.wire import envelope
        from provider.wire.values import Values
        values = Values()
        values.decode(values.encode({"a": [1, "b", 2.5]}))
        payload = b"\\xd8\\x28\\x82\\x81\\x01\\xd8\\x40\\x41\\x01"
        message = b"\\xa2\\x67payload" + payload + b"\\x69operation\\x61f"
        assert envelope.RequestReader(values).read(message).payload == payload
        assert "numpy" not in sys.modules
    """
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_numpy_half_imported_is_no_error(monkeypatch):
    # Another thread of the user's may be importing it: the module is there and still empty.
    monkeypatch.setitem(sys.modules, "numpy", type(sys)("numpy"))
    assert not arrays.is_array([])
    assert not arrays.is_scalar(1)
