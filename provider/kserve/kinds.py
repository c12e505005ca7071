"""Of which kind the values of a parameter or a result are, as far as tensors have to know it.

The rule of this file: a pure reading of JSON Schema and of the signature beside it, as the worker
tells both. What cannot be told is `ANY`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from provider.kserve.tensors import BYTES, UNKNOWN, TensorMetadata

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFS = "#/$defs/"
_DEEP = 16
_FIRST = re.compile(r"\(\s*(?:\*,\s*)?(\w+)")
_LISTS = re.compile(
    r"[\w.]*\b(?:[Ll]ist|[Tt]uple|[Ss]et|[Ff]rozen[Ss]et|[Ss]equence|Iterable|Any)\b"
)
"""How hints begin whose values are lists; schemas do not tell them from arrays."""
_DTYPE = re.compile(r"\b(bool|float(?:16|32|64)|u?int(?:8|16|32|64))_?\b")
_DATATYPES = {
    "bool": "BOOL",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    **{
        f"{sign}int{bits}": f"{sign.upper()}INT{bits}"
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}


class Kind(Enum):
    """What one value is."""

    INTEGER = "INT64"
    NUMBER = "FP64"
    BOOLEAN = "BOOL"
    TEXT = BYTES
    BINARY = "bytes"
    LIST = "list"
    ARRAY = "array"
    OTHER = "other"
    """Maps and whatever else tensors have no form for: JSON in a text."""
    ANY = UNKNOWN


@dataclass(frozen=True, slots=True)
class Shape:
    """Of which kind values are, and those inside them.

    Attributes:
        kind: of the value; of the innermost members for a list.
        levels: how many lists deep those are.
        datatype: of an array, where its author said.
    """

    kind: Kind
    levels: int = 0
    datatype: str = UNKNOWN

    def metadata(self, name: str) -> TensorMetadata:
        """What callers are told of the tensor."""
        kind = self.kind
        if kind in (Kind.ANY, Kind.LIST, Kind.ARRAY):
            return TensorMetadata(name, self.datatype)
        datatype = BYTES if kind in (Kind.BINARY, Kind.OTHER) else kind.value
        return TensorMetadata(name, datatype, (-1,) * self.levels or (1,))


ANY = Shape(Kind.ANY)
_PLAIN = {
    "integer": Kind.INTEGER,
    "number": Kind.NUMBER,
    "boolean": Kind.BOOLEAN,
    "object": Kind.OTHER,
}


@dataclass(frozen=True, slots=True)
class Inputs:
    """What an operation takes.

    Attributes:
        named: the inputs, by name.
        required: those that must be there.
        whole: whether the one input is the argument, and not a member of it.
        open: whether there may be others.
    """

    named: Mapping[str, Shape]
    required: frozenset[str]
    whole: bool
    open: bool


def inputs(schema: Mapping[str, Any], signature: str) -> Inputs:
    """What an operation takes.

    Args:
        schema: JSON Schema of its argument.
        signature: as the author wrote it.
    """
    shared = plain_map(schema.get("$defs"))
    plain = _resolved(schema, shared)
    if plain.get("type") == "null":
        return Inputs({}, frozenset(), whole=False, open=False)
    properties = plain.get("properties")
    rest = plain.get("additionalProperties", True)
    if plain.get("type") == "object" and isinstance(properties, dict):
        named = {
            str(name): _with_array(shape(each, shared), str(name), signature)
            for name, each in properties.items()
        }
        required = plain.get("required")
        needed = required if isinstance(required, list) else []
        required_ones = frozenset(each for each in needed if isinstance(each, str))
        return Inputs(named, required_ones, whole=False, open=rest is not False)
    if plain.get("type") == "object":
        return Inputs({}, frozenset(), whole=False, open=True)
    found = _FIRST.match(signature)
    name = found[1] if found else "input0"
    required_one = frozenset() if "default" in schema else frozenset({name})
    one = _with_array(shape(schema, shared), name, signature)
    return Inputs({name: one}, required_one, whole=True, open=one.kind is Kind.ANY)


def outputs(schema: Mapping[str, Any], signature: str) -> tuple[TensorMetadata, ...]:
    """What is known of the outputs of an operation.

    Args:
        schema: JSON Schema of its result.
        signature: as the author wrote it.
    """
    shared = plain_map(schema.get("$defs"))
    plain = _resolved(schema, shared)
    properties = plain.get("properties")
    if isinstance(properties, dict):
        return tuple(shape(each, shared).metadata(str(name)) for name, each in properties.items())
    if plain.get("type") in ("object", "null"):
        return ()
    one = shape(schema, shared)
    returned = signature.rpartition(" -> ")[2]
    if one.kind is Kind.LIST and " -> " in signature:
        one = _array_of(returned)
    return (one.metadata("output0"),)


def plain_map(told: Any) -> Mapping[str, Any]:
    """A part of a schema that is to be a map, an empty one where the worker told something else."""
    return told if isinstance(told, dict) else {}


def shape(schema: Any, shared: Mapping[str, Any]) -> Shape:
    """Of which kind the values of a schema are.

    Args:
        schema: JSON Schema.
        shared: the schemas it refers to.
    """
    levels, plain = 0, _resolved(schema, shared)
    while plain.get("type") == "array" and levels < _DEEP:
        if not isinstance(plain.get("items"), dict):
            return Shape(Kind.LIST)
        levels += 1
        plain = _resolved(plain["items"], shared)
    told = plain.get("type")
    if told == "string":
        kind = Kind.BINARY if plain.get("contentEncoding") == "base64" else Kind.TEXT
    else:
        kind = _PLAIN.get(told, Kind.ANY) if isinstance(told, str) else Kind.ANY
    if levels and kind in (Kind.ANY, Kind.OTHER):
        return Shape(Kind.LIST if kind is Kind.ANY else Kind.OTHER)
    return Shape(kind, levels)


def _resolved(schema: Any, shared: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself, where others lead to it; that of null beside it is left out."""
    for _ in range(_DEEP):
        if not isinstance(schema, dict):
            return {}
        reference, several = schema.get("$ref"), schema.get("anyOf")
        if isinstance(reference, str):
            schema = shared.get(reference.removeprefix(_DEFS), {})
        elif isinstance(several, list):
            others = [each for each in several if each != {"type": "null"}]
            if len(others) != 1:
                return {}
            schema = others[0]
        else:
            return schema
    return {}


def _with_array(found: Shape, name: str, signature: str) -> Shape:
    """The shape, or that of an array: schemas do not tell one from a list."""
    if found.kind is Kind.LIST:
        hint = re.search(rf"[(\s]{re.escape(name)}: (.+)", signature)
        if hint and not _LISTS.match(hint[1]):
            return _array_of(hint[1])
    return found


def _array_of(hint: str) -> Shape:
    # The hint of the next parameter may follow; this one's own comes before its name.
    dtype = _DTYPE.search(re.split(r", \*?,? ?\w+: | -> | = ", hint)[0])
    return Shape(Kind.ARRAY, datatype=_DATATYPES.get(dtype[1], UNKNOWN) if dtype else UNKNOWN)
