"""JSON Schema of what operations take and give.

The rule of this file: it is made when somebody asks, from the same hints and with the same firmness
as calls are checked; what cannot be described is described as anything (`{}`). The dialect is
2020-12 (https://json-schema.org/draft/2020-12), and what is described is the JSON form of values.
"""

from __future__ import annotations

import collections.abc
import contextlib
import inspect
import json
import math
import typing
from typing import TYPE_CHECKING, Any

from provider.worker import convert
from provider.worker.faults import shown

if TYPE_CHECKING:
    from provider.worker.operations import Operation, Operations

_PLAIN: dict[Any, dict[str, Any]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    list: {"type": "array"},
    dict: {"type": "object"},
    bytes: {"type": "string", "contentEncoding": "base64"},
    type(None): {"type": "null"},
    None: {"type": "null"},
}
_STREAMS = frozenset(
    {
        collections.abc.Iterator,
        collections.abc.Iterable,
        collections.abc.Generator,
        collections.abc.AsyncIterator,
        collections.abc.AsyncIterable,
        collections.abc.AsyncGenerator,
    }
)
_JSON = (str, int, float, bool, type(None))
_NAMES: dict[type, str] = {kind: _PLAIN[kind]["type"] for kind in (*_JSON, list, dict)}
MOST_DEFAULT = 200
"""Characters of a default that is told."""


def schemas(operations: Operations) -> dict[str, dict[str, Any]]:
    """By full name of the operation, the schemas `argument` and `result`."""
    return {
        operation.declaration.full_name: {
            "argument": _argument(operation),
            "result": _result(operation),
        }
        for operation in operations.all
    }


def kinds(operation: Operation) -> dict[str, Any]:
    """By name of the parameter, of which types of JSON its values are, and those of its members.

    As much of the schema as is needed to read a value that comes as text: `{"types": ["integer"]}`
    or `{"types": ["array"], "items": ["integer"]}`, without types where all are welcome.
    """
    told: dict[str, Any] = {}
    for parameter in operation.binding.parameters:
        told[parameter.name] = {"types": []}
        # What authors add to the schemas of their types may be anything.
        with contextlib.suppress(Exception):
            told[parameter.name] = _kind(_parameter(operation, parameter))
    return told


def _kind(schema: dict[str, Any]) -> dict[str, list[str]]:
    shared = schema.get("$defs", {})
    types = _types(schema, shared, set())
    if "array" not in types:
        return {"types": sorted(types)}
    items = [_types(part, shared, set()) for part in _items(schema, shared)]
    return {"types": sorted(types), "items": sorted(set().union(*items))}


def _types(schema: Any, shared: dict[str, Any], seen: set[str]) -> set[str]:
    if not isinstance(schema, dict):
        return set()
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        inner = shared.get(reference.removeprefix("#/$defs/"))
        return _types(inner, shared, seen | {reference})
    for several in ("anyOf", "oneOf"):
        if isinstance(schema.get(several), list):
            return set().union(*(_types(part, shared, seen) for part in schema[several]))
    types = schema.get("type")
    if types is None:
        values = schema.get("enum", [schema["const"]] if "const" in schema else [])
        return {_NAMES.get(type(value), "object") for value in values}
    return {str(name) for name in (types if isinstance(types, list) else [types])}


def _items(schema: Any, shared: dict[str, Any]) -> list[Any]:
    """The schemas of the members, where it is one of a list, or may be."""
    parts = [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    parts = [part for part in parts if isinstance(part, dict)]
    parts += [shared.get(str(part.get("$ref")).removeprefix("#/$defs/"), {}) for part in parts]
    return [item for part in parts for item in (part.get("items"), *part.get("prefixItems", ()))]


def _argument(operation: Operation) -> dict[str, Any]:
    binding = operation.binding
    if not binding.parameters and not binding.spreads:
        return {"type": "null"}
    if not binding.spreads:
        (parameter,) = binding.parameters
        return _with_default(_parameter(operation, parameter), parameter)
    shared: dict[str, Any] = {}
    properties = {}
    for parameter in binding.parameters:
        schema = _parameter(operation, parameter)
        shared.update(schema.pop("$defs", {}))
        properties[parameter.name] = _with_default(schema, parameter)
    required = [p.name for p in binding.parameters if p.default is inspect.Parameter.empty]
    made: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        made["required"] = required
    rest: Any = False
    if binding.open:
        known = binding.rest not in binding.unchecked
        rest = _of(binding.hints.get(binding.rest, Any), "validation") if known else {}
    if isinstance(rest, dict):
        shared.update(rest.pop("$defs", {}))
    if rest != {}:
        made["additionalProperties"] = rest
    if shared:
        made["$defs"] = shared
    return made


def _parameter(operation: Operation, parameter: inspect.Parameter) -> dict[str, Any]:
    hint = operation.binding.hints.get(parameter.name, Any)
    if operation.binding.batched:
        hint = convert.member(hint)
    return _of(hint, "validation")


def _result(operation: Operation) -> dict[str, Any]:
    hint = operation.binding.hints.get("return", Any)
    if operation.binding.batched:
        hint = convert.member(hint)
    if typing.get_origin(hint) in _STREAMS:
        # Without `stream`, the items come as one list.
        inner = typing.get_args(hint)
        return _of(list[inner[0]] if inner else list, "serialization")  # type: ignore[valid-type]  # a hint at run time
    return _of(hint, "serialization")


def _with_default(schema: dict[str, Any], parameter: inspect.Parameter) -> dict[str, Any]:
    default = parameter.default
    if isinstance(default, float) and not math.isfinite(default):
        return schema
    if isinstance(default, _JSON) and len(shown(default, MOST_DEFAULT)) < MOST_DEFAULT:
        return {**schema, "default": default}
    return schema


def _of(hint: Any, mode: typing.Literal["validation", "serialization"]) -> dict[str, Any]:
    with contextlib.suppress(TypeError):  # hints need not be hashable
        if hint in _PLAIN:
            return dict(_PLAIN[hint])
    if hint is Any or hint is object:
        return {}
    try:
        # It imports pydantic, which may be missing.
        from provider.worker.describing import described

        # What authors add to their types may be anything.
        made = json.loads(json.dumps(described(hint, mode), allow_nan=False))
    except Exception:  # noqa: BLE001  types of the author's describe themselves by their own code
        return {}
    items: dict[str, Any] = made.get("items", {})
    return {**items, "$defs": made["$defs"]} if "$defs" in made else items
