"""JSON Schema as pydantic makes it, with what the wire has of its own."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import enum
import typing
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
import pytest

from provider.worker.describing import described


@dataclasses.dataclass
class Line:
    item: str
    raw: bytes = b""


class Keys(typing.TypedDict):
    a: int


class Model(pydantic.BaseModel):
    line: Line


class Size(enum.Enum):
    SMALL = "small"


@pydantic.dataclasses.dataclass
class Own:
    n: int


BASE64 = {"type": "string", "contentEncoding": "base64"}


def of(hint, mode="validation"):
    return described(hint, mode)["items"]


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (bytes | None, {"anyOf": [BASE64, {"type": "null"}]}),
        (dict[str, bytes], {"type": "object", "additionalProperties": BASE64}),
        (list[np.ndarray], {"type": "array", "items": {"type": "array"}}),
        (np.ndarray, {"type": "array"}),
        (Literal["a", 1], {"enum": ["a", 1]}),
        (Annotated[int, pydantic.Field(gt=3)], {"type": "integer", "exclusiveMinimum": 3}),
        (dt.datetime, {"type": "string", "format": "date-time"}),
        (collections.abc.Callable, {}),
        (Any, {}),
    ],
)
@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_what_pydantic_has_no_words_for(hint, schema, mode):
    assert of(hint, mode) == schema


def defined(hint, mode="validation"):
    return described(hint, mode)["$defs"]


def test_keys_are_closed_where_calls_are_refused_for_more_of_them():
    assert defined(Line)["Line"] == {
        "type": "object",
        "title": "Line",
        "properties": {
            "item": {"type": "string", "title": "Item"},
            "raw": {**BASE64, "default": "", "title": "Raw"},
        },
        "required": ["item"],
        "additionalProperties": False,
    }
    assert defined(Keys)["Keys"]["additionalProperties"] is False
    assert defined(list[dict[str, Line]])["Line"]["additionalProperties"] is False


def test_keys_are_open_where_authors_left_them_so():
    # Models of pydantic's own are as lax as their authors made them, and so is what is in them.
    made = defined(Model)
    assert "additionalProperties" not in made["Model"]
    assert "additionalProperties" not in defined(Own)["Own"]
    assert "additionalProperties" not in defined(Line, "serialization")["Line"]


def test_members_of_an_enumeration_are_their_values():
    assert "small" in str(defined(Size)["Size"])


def test_what_no_hint_is_says_so():
    with pytest.raises(Exception, match=r"\S"):
        described(5, "validation")
