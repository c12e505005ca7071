"""Values by hints: what fits, what becomes of it, and what is said of the rest."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Optional, TypeVar

import numpy as np
import numpy.typing as npt
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.wire.values import Values
from provider.worker.convert import Misfit, Unchecked, converter, member, read_bytes

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


def misfit(hint, value):
    convert = converter(hint)
    assert convert is not None
    with pytest.raises(Misfit) as caught:
        convert(value)
    return caught.value.at("x")


@pytest.mark.parametrize("hint", [Any, object, TypeVar("T")])
def test_a_hint_that_asks_for_nothing_converts_nothing(hint):
    assert converter(hint) is None


@pytest.mark.parametrize(
    ("hint", "value", "becomes"),
    [
        (int, 5, 5),
        (int, 2**70, 2**70),
        (float, 1.5, 1.5),
        (float, 5, 5.0),
        (str, "5", "5"),
        (bool, True, True),
        (bytes, b"x", b"x"),
        (bytes, "YWJj", b"abc"),
        (list, [1, "a"], [1, "a"]),
        (dict, {"a": 1}, {"a": 1}),
        (None, None, None),
        (int | None, None, None),
        (Optional[float], 1, 1.0),  # noqa: UP045  as older code has it
    ],
)
def test_plain_values_that_fit(hint, value, becomes):
    convert = converter(hint)
    assert convert is not None
    made = convert(value)
    assert made == becomes
    assert type(made) is type(becomes)


@pytest.mark.parametrize(
    ("hint", "value", "reason"),
    [
        (int, "5", "valid integer"),
        (int, 5.0, "valid integer"),
        (int, True, "valid integer"),
        (float, "5", "valid number"),
        (float, True, "valid number"),
        (float, 10**400, "valid number"),
        (str, 5, "valid string"),
        (str, b"5", "valid string"),
        (bool, 1, "valid boolean"),
        (bytes, 5, "bytes, or text with their base64"),
        (bytes, "abc", "base64, which this is not"),
        (bytes, "YW Jj", "base64, which this is not"),
        (list, {}, "valid list"),
        (dict, [], "valid dictionary"),
        (None, 0, "should be None"),
        (int | None, "x", "valid integer"),
    ],
)
def test_plain_values_that_do_not(hint, value, reason):
    assert reason in misfit(hint, value)


@given(SCALARS, st.sampled_from([int, float, str, bool, list, dict, type(None)]))
def test_plain_types_are_what_strict_pydantic_makes_of_them(value, hint):
    strict = pydantic.TypeAdapter(hint, config=pydantic.ConfigDict(strict=True))
    convert = converter(hint)
    try:
        expected, told = strict.validate_python(value), ""
    except pydantic.ValidationError as error:
        expected, told = None, f"x: {error.errors()[0]['msg']}"
    if told:
        assert misfit(hint, value) == told
    else:
        made = convert(value)
        assert made == expected
        assert type(made) is type(expected)


@given(st.binary())
def test_the_base64_of_bytes_is_read_back(data):
    import base64

    assert read_bytes(base64.b64encode(data).decode()) == data


# --- numpy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "value", "dtype"),
    [
        (np.ndarray, [1, 2], "int64"),
        (np.ndarray, [[1.5], [2]], "float64"),
        (np.ndarray, [], "float64"),
        (np.ndarray, np.array([1], "<u2"), "uint16"),
        (npt.NDArray[np.float64], [1, 2], "float64"),
        (npt.NDArray[np.float32], [1.5], "float32"),
        (npt.NDArray[np.uint8], [0, 255], "uint8"),
        (npt.NDArray[np.uint8], [], "uint8"),
        (npt.NDArray[np.bool_], [True], "bool"),
        (npt.NDArray[np.float64], np.array([1], "<i4"), "float64"),
        (npt.NDArray[np.float64], np.array([1.5], ">f8"), "float64"),
        (npt.NDArray[Any], [1], "int64"),
        (npt.NDArray[np.floating], [1.5], "float64"),
    ],
)
def test_arrays_are_made_of_lists_and_stay_arrays(hint, value, dtype):
    made = converter(hint)(value)
    assert isinstance(made, np.ndarray)
    assert str(made.dtype) == dtype
    assert made.tolist() == list(np.asarray(value).tolist())


@pytest.mark.parametrize(
    ("hint", "value", "reason"),
    [
        (np.ndarray, 5, "an array, or a list of numbers"),
        (np.ndarray, "12", "an array, or a list of numbers"),
        (np.ndarray, ["1", "2"], "a regular list of numbers"),
        (np.ndarray, [None], "a regular list of numbers"),
        (np.ndarray, [[1], [1, 2]], "a regular list of numbers"),
        (np.ndarray, [2**70], "a regular list of numbers"),
        (npt.NDArray[np.uint8], [256], "numbers that fit uint8"),
        (npt.NDArray[np.uint8], [-1], "numbers that fit uint8"),
        (npt.NDArray[np.int64], [1.5], "numbers that fit int64"),
        (npt.NDArray[np.bool_], [1], "numbers that fit bool"),
        (npt.NDArray[np.float64], [True], "numbers that fit float64"),
        (npt.NDArray[np.int32], np.array([1], "i8"), "an array of int64; expected one of int32"),
        (npt.NDArray[np.int64], np.array([1.0]), "an array of float64; expected one of int64"),
    ],
)
def test_what_makes_no_array(hint, value, reason):
    assert reason in misfit(hint, value)


@given(st.lists(st.integers(0, 255)))
def test_an_array_that_travelled_is_the_list_that_did(numbers):
    values, convert = Values(), converter(npt.NDArray[np.uint8])
    sent = values.decode(values.encode(np.array(numbers, np.uint8)))
    assert convert(sent).tolist() == convert(numbers).tolist() == numbers


# --- the sentence --------------------------------------------------------------------------------


def test_the_sentence_names_the_path_and_how_many_there_are():
    several = Misfit([("a.1", "no"), ("", "not this")], more=2)
    assert several.at("") == "a.1: no; not this; and 2 more"
    assert several.at("x") == "x.a.1: no; x: not this; and 2 more"


def test_the_member_of_a_list():
    assert member(list[int]) is int
    assert member(list) is Any
    assert member(dict[str, int]) is Any


# --- what it costs -------------------------------------------------------------------------------


def test_pydantic_is_imported_only_for_a_hint_that_needs_it():
    program = """
import sys
from typing import Any
from provider.worker.convert import converter
for hint in (Any, object, None, int, float, str, bool, bytes, list, dict, int | None):
    converter(hint)
assert not {"pydantic", "numpy"} & set(sys.modules), "too early"
converter(list[int])
assert "pydantic" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_hint_nobody_knows_is_not_checked():
    with pytest.raises(Unchecked):
        converter("Nothing of the sort")
