"""The results of operations as they travel."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.wire.values import Values
from provider.worker.results import travelling


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


@dataclasses.dataclass
class Item:
    name: str
    price: decimal.Decimal
    colours: list[Colour] = dataclasses.field(default_factory=list)
    inner: object = None


class Model(pydantic.BaseModel):
    n: int = pydantic.Field(alias="number")
    when: dt.datetime
    item: Item | None = None


WHEN = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("result", "travels"),
    [
        (Item("x", decimal.Decimal(1)), {"name": "x", "price": 1, "colours": [], "inner": None}),
        ([Colour.RED, Size.SMALL], ["red", 1]),
        ({"a": Colour.RED}, {"a": "red"}),
        ({Colour.RED: 1}, {"red": 1}),
        ((1, Colour.RED), [1, "red"]),
        (Model(number=5, when=WHEN), {"number": 5, "when": WHEN, "item": None}),
        (
            Item("x", decimal.Decimal(1), [Colour.RED], Model(number=1, when=WHEN)),
            {
                "name": "x",
                "price": 1,
                "colours": ["red"],
                "inner": {"number": 1, "when": WHEN, "item": None},
            },
        ),
    ],
)
def test_what_becomes_a_map(result, travels):
    made = travelling(result)
    assert made == travels
    values = Values()
    assert values.decode(values.encode(made)) == travels


@pytest.mark.parametrize("result", [{1, 2}, object(), Item, Colour, dt.date(2024, 1, 1), 5, b"x"])
def test_what_is_left_as_it_is(result):
    assert travelling(result) is result


def test_arrays_are_left_as_they_are():
    array = np.zeros(3)
    assert travelling({"a": [array]})["a"][0] is array


def test_what_contains_itself_has_an_end():
    loop: list = [Colour.RED]
    loop.append(loop)
    made = travelling(loop)
    assert made[0] == "red"
    with pytest.raises(Exception, match="deeper than"):
        Values().encode(made)


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_travels_anyway_is_the_same(value):
    assert travelling(value) == value
