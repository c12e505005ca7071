"""pydantic without its guesses."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import typing
import uuid
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pydantic
import pydantic.dataclasses
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st

from provider.worker.convert import Misfit, Unchecked
from provider.worker.firm import MOST_ERRORS, converter

UTC = dt.UTC
ID = uuid.UUID(int=5)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


@dataclasses.dataclass
class Item:
    name: str
    price: decimal.Decimal = decimal.Decimal(0)
    colour: Colour = Colour.RED
    raw: bytes = b""
    when: dt.datetime | None = None
    array: np.ndarray | None = None
    kids: list[Item] = dataclasses.field(default_factory=list)


class Old(typing.TypedDict, total=False):
    a: typing_extensions.Required[int]
    b: list[bytes]


class Outer(typing.TypedDict):
    old: Old
    size: typing_extensions.NotRequired[Size]


class Endless(typing.TypedDict):
    more: Endless


class Model(pydantic.BaseModel):
    n: int


class StrictModel(pydantic.BaseModel, strict=True):
    n: int


@pydantic.dataclasses.dataclass
class Own:
    n: int


@dataclasses.dataclass
class Settled:
    __pydantic_config__ = pydantic.ConfigDict(extra="ignore", strict=False)
    n: int


class New(typing_extensions.TypedDict):
    type: int
    b: typing_extensions.NotRequired[int]


@pytest.mark.parametrize(
    ("hint", "value", "becomes"),
    [
        (list[int], [1, 2], [1, 2]),
        (list[float], [1, 2.5], [1.0, 2.5]),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], [1, 1], {1}),
        (collections.abc.Sequence[int], [1], [1]),
        (dict[str, list[int]], {"a": [1]}, {"a": [1]}),
        (dict[int, str], {"5": "x"}, {5: "x"}),
        (int | str, "5", "5"),
        (float | str, 5, 5.0),
        (int | bytes | dt.datetime, "YWJj", b"abc"),
        (Literal[1, "a"], "a", "a"),
        (Colour, "blue", Colour.BLUE),
        (Size, 2, Size.LARGE),
        (dt.datetime, "2024-01-01T00:00:00Z", dt.datetime(2024, 1, 1, tzinfo=UTC)),
        (dt.datetime, dt.datetime(2024, 1, 1, tzinfo=UTC), dt.datetime(2024, 1, 1, tzinfo=UTC)),
        (dt.date, "2024-01-01", dt.date(2024, 1, 1)),
        (dt.time, "12:30:00", dt.time(12, 30)),
        (dt.timedelta, 5, dt.timedelta(seconds=5)),
        (dt.timedelta, "PT5S", dt.timedelta(seconds=5)),
        (decimal.Decimal, "1.50", decimal.Decimal("1.50")),
        (decimal.Decimal, 1.5, decimal.Decimal("1.5")),
        (decimal.Decimal, decimal.Decimal(2), decimal.Decimal(2)),
        (uuid.UUID, str(ID), ID),
        (uuid.UUID, ID, ID),
        (list[bytes], [b"x", "YWJj"], [b"x", b"abc"]),
        (Old, {"a": 1, "b": ["YWJj"]}, {"a": 1, "b": [b"abc"]}),
        (Old, {"a": 1}, {"a": 1}),
        (Outer, {"old": {"a": 1}, "size": 1}, {"old": {"a": 1}, "size": Size.SMALL}),
        (list[Old], [{"a": 1}], [{"a": 1}]),
        (Annotated[Old, "note"], {"a": 1}, {"a": 1}),
        (New, {"type": 1}, {"type": 1}),
        (Annotated[int, pydantic.Field(gt=3)], 5, 5),
        (Annotated[int, pydantic.Field(strict=False)], "5", 5),
        (Model, {"n": "5"}, Model(n=5)),
        (Own, {"n": "5"}, Own(n=5)),
        (Settled, {"n": "5", "other": 1}, Settled(5)),
        (
            Item,
            {
                "name": "x",
                "price": "1.5",
                "colour": "blue",
                "raw": "YWJj",
                "when": "2024-01-01T00:00:00Z",
                "kids": [{"name": "y"}],
            },
            Item(
                *("x", decimal.Decimal("1.5"), Colour.BLUE, b"abc"),
                when=dt.datetime(2024, 1, 1, tzinfo=UTC),
                kids=[Item("y")],
            ),
        ),
    ],
)
def test_what_fits(hint, value, becomes):
    made = converter(hint)(value)
    assert made == becomes
    assert type(made) is type(becomes)


@pytest.mark.parametrize(
    ("hint", "value", "told"),
    [
        (list[int], [1, "2"], "x.1: Input should be a valid integer"),
        (list[int], "12", "x: Input should be a valid list"),
        (list[int], [True], "x.0: Input should be a valid integer"),
        (list[str], [5], "x.0: Input should be a valid string"),
        (list[bool], ["true"], "x.0: Input should be a valid boolean"),
        (list[float], ["1"], "x.0: Input should be a valid number"),
        (list[bytes], ["!"], "x.0: Text stands for bytes as base64"),
        (tuple[int, ...], [1, "a"], "x.1: Input should be a valid integer"),
        (dict[str, int], {"a": "1"}, "x.a: Input should be a valid integer"),
        (dict[int, str], {"a": "1"}, "x.a.[key]: Input should be a valid integer"),
        (Literal[1, "a"], "1", "x: Input should be 1 or 'a'"),
        (Colour, "green", "x: Input should be 'red' or 'blue'"),
        (Size, "1", "x: Input should be a number, not text"),
        (dt.datetime, 5, "x: Input should be a date-time or RFC 3339 text, not a number"),
        (dt.datetime, "5", "x: Input should be a date-time or RFC 3339 text, not a number"),
        (dt.datetime, "1e3", "not a number"),
        (dt.date, 5, "not a number"),
        (dt.time, 5.5, "not a number"),
        (dt.datetime, "soon", "x: Input should be a valid datetime"),
        (decimal.Decimal, True, "x: Decimal input should be"),
        (decimal.Decimal, "x", "x: Input should be a valid decimal"),
        (uuid.UUID, "x", "x: Input should be a valid UUID"),
        (Old, {"b": []}, "x.a: Field required"),
        (Old, {"a": 1, "z": 1}, "x.z: Extra inputs are not permitted"),
        (Outer, {"old": {"a": "1"}}, "x.old.a: Input should be a valid integer"),
        (New, {"type": "1"}, "x.type: Input should be a valid integer"),
        (Annotated[int, pydantic.Field(gt=3)], 2, "x: Input should be greater than 3"),
        (Model, {"n": "x"}, "x.n: Input should be a valid integer"),
        (StrictModel, {"n": "5"}, "x.n: Input should be a valid integer"),
        (Item, {}, "x.name: Field required"),
        (Item, {"name": "a", "zz": 1}, "x.zz: Unexpected keyword argument"),
        (list[Item], [{"name": "a", "kids": [{"name": 5}]}], "x.0.kids.0.name: Input should"),
        (int | bytes, [], "x.int: Input should be a valid integer; x.bytes: Input should be bytes"),
    ],
)
def test_what_does_not(hint, value, told):
    with pytest.raises(Misfit) as caught:
        converter(hint)(value)
    assert told in caught.value.at("x")


def test_arrays_inside_of_other_types():
    made = converter(list[npt.NDArray[np.float32]])([[1], np.array([2], "f4")])
    assert [array.dtype.name for array in made] == ["float32", "float32"]
    item = converter(Item)({"name": "x", "array": [1, 2]})
    assert item.array.tolist() == [1, 2]
    with pytest.raises(Misfit) as caught:
        converter(list[Item])([{"name": "x", "array": ["a"]}])
    assert "0.array" in caught.value.at("")
    assert "Input should be a regular list of numbers" in caught.value.at("")
    assert "Value error" not in caught.value.at("")


def test_three_misfits_are_told_and_the_others_counted():
    with pytest.raises(Misfit) as caught:
        converter(dict[str, int])(dict.fromkeys("abcde", "x"))
    told = caught.value.at("x")
    assert told.count("valid integer") == 3
    assert told.endswith("; and 2 more")


def test_a_long_list_is_left_at_its_first_misfit_and_a_large_map_is_counted():
    with pytest.raises(Misfit) as caught:
        converter(list[int])(["x"] * 100_000)
    assert caught.value.reasons == [("0", "Input should be a valid integer")]
    assert caught.value.more == 0
    with pytest.raises(Misfit) as caught:
        converter(dict[str, int])({str(n): "x" for n in range(MOST_ERRORS + 1)})
    assert caught.value.at("x") == f"x: {MOST_ERRORS + 1} of the values inside do not fit"


def test_hostile_keys_make_no_long_sentence():
    with pytest.raises(Misfit) as caught:
        converter(dict[str, int])({"k" * 100_000: "x"})
    assert len(caught.value.at("")) < 500


def test_a_value_deeper_than_its_type_can_be_followed_is_refused():
    deep: dict[str, Any] = {"name": "x"}
    for _ in range(390):
        deep = {"name": "x", "kids": [deep]}
    try:
        converter(Item)(deep)
    except Misfit as caught:
        assert len(caught.at("")) < 1000  # noqa: PT017  either way is right


@pytest.mark.parametrize("hint", ["Nowhere", Endless, list["Nowhere"]])  # noqa: F821  the point
def test_hints_pydantic_does_not_take(hint):
    import sys

    if hint is Endless and sys.version_info >= (3, 12):
        pytest.skip("pydantic takes it")
    with pytest.raises(Unchecked):
        converter(hint)


@given(st.recursive(st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3)))
def test_text_is_never_a_number(value):
    try:
        made = converter(list[int | list[int]])(value)
    except Misfit:
        return
    assert made == value
