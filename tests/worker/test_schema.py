"""JSON Schema of what operations take and give."""

from __future__ import annotations

import collections.abc  # noqa: TC003  the worker reads the annotations
import dataclasses
import json
import types
from typing import Any

import numpy as np
import pydantic
import pytest

from provider.dispatch import Context, operation
from provider.wire.frames import FrameType, frame
from provider.worker.operations import collect
from provider.worker.schema import schemas


@dataclasses.dataclass
class Item:
    name: str
    raw: bytes = b""
    kids: list[Item] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Outer:
    item: Item
    others: dict[str, Item] = dataclasses.field(default_factory=dict)


@pydantic.dataclasses.dataclass(config=pydantic.ConfigDict(extra="ignore"))
class Lax:
    n: int


class Spoilt(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(json_schema_extra={"odd": object()})
    n: int


def of(function, **declared):
    made = types.ModuleType("dispatch")
    made.function = operation(name="x", **declared)(function)
    return schemas(collect(made))["x"]


def test_parameters_make_an_object():
    def add(a: int, b: float = 2.5, *, c="x", d=float("nan"), e=("odd",), ctx: Context): ...

    assert of(add)["argument"] == {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "number", "default": 2.5},
            "c": {"default": "x"},
            "d": {},
            "e": {},
        },
        "required": ["a"],
        "additionalProperties": False,
    }


def test_one_parameter_is_the_argument_itself_and_none_is_null():
    def one(a: str = "hello") -> bool: ...

    def none() -> None: ...

    assert of(one) == {
        "argument": {"type": "string", "default": "hello"},
        "result": {"type": "boolean"},
    }
    assert of(none) == {"argument": {"type": "null"}, "result": {"type": "null"}}


def test_further_keys_are_open_where_the_function_takes_them():
    def more(a: int, **more): ...

    assert "additionalProperties" not in of(more)["argument"]

    def typed(a: int, **more: Item): ...

    made = of(typed)["argument"]
    assert made["additionalProperties"] == {"$ref": "#/$defs/Item"}
    assert made["$defs"]["Item"]["required"] == ["name"]


def test_what_is_refused_inside_a_dataclass_is_not_described_as_open():
    def handler(a: Outer) -> Outer: ...

    made = of(handler)
    for name in ("Outer", "Item"):
        assert made["argument"]["$defs"][name]["additionalProperties"] is False
        assert "additionalProperties" not in made["result"]["$defs"][name]

    def lax(a: Lax): ...

    assert of(lax)["argument"].get("additionalProperties") is not False


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (Any, {}),
        (object, {}),
        (bytes, {"type": "string", "contentEncoding": "base64"}),
        (list[bytes], {"type": "array", "items": {"type": "string", "contentEncoding": "base64"}}),
        (dict, {"type": "object"}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (np.ndarray, {"type": "array"}),
        (Spoilt, {}),
        (list["Nowhere"], {}),  # noqa: F821  the point
    ],
)
def test_hints(hint, schema):
    def handler(a): ...

    handler.__annotations__ = {"a": hint, "return": hint}
    made = of(handler)
    assert made["argument"] == made["result"] == schema


def test_types_that_refer_to_themselves_are_told_once():
    def handler(a: Item, b: list[Item]) -> Item: ...

    made = of(handler)
    assert made["argument"]["properties"] == {
        "a": {"$ref": "#/$defs/Item"},
        "b": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
    }
    assert made["argument"]["$defs"]["Item"]["required"] == ["name"]
    assert made["result"]["$ref"] == "#/$defs/Item"
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_of_batches_one_and_of_streams_a_list_is_told():
    def many(numbers: list[int]) -> list[str]: ...

    def parts(n: int) -> collections.abc.Iterator[int]:
        yield n

    assert of(many, batch=3) == {"argument": {"type": "integer"}, "result": {"type": "string"}}
    assert of(parts)["result"] == {"type": "array", "items": {"type": "integer"}}


PROGRAM = """
    import sys
    from provider.dispatch import operation

    @operation
    def add(a: int, b: int = 2) -> int:
        return a + b

    @operation
    def imported() -> bool:
        return "pydantic" in sys.modules
"""


def test_a_worker_tells_between_calls_and_needs_no_pydantic_for_plain_types(worker, code):
    worker.load(code.write("dispatch.py", PROGRAM))
    calls = [worker.call_bytes("add", {"a": number}) for number in range(3)]
    worker.send(*calls, frame(FrameType.SCHEMA, 77), worker.call_bytes("add", {"a": 9}))
    assert [worker.answer()[1] for _ in range(3)] == [2, 3, 4]
    kind, number, body = worker.next_frame()
    assert (kind, number) == (FrameType.SCHEMAS, 77)
    import cbor2

    told = cbor2.loads(body)["schemas"]
    assert told["add"]["argument"]["required"] == ["a"]
    assert worker.answer()[1] == 11
    assert worker.ask("imported") is False


def test_a_worker_with_a_plain_handle_tells_of_nothing(worker, code):
    worker.load(code.write("dispatch.py", "def handle(command, arg): return arg"))
    worker.send(frame(FrameType.SCHEMA, 5))
    assert worker.told(FrameType.SCHEMAS) == {"schemas": {}}
