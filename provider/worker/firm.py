"""What pydantic makes of hints, kept from guessing.

The rule of this file: pydantic's own schema of a hint is taken, and made firm: scalars strict,
unknown keys refused, no list gone through beyond its first misfit. The schema is that of pydantic's
core (https://docs.pydantic.dev/latest/internals/architecture/), plain maps and lists, of which only
those parts are touched that are named here.
"""

from __future__ import annotations

import contextlib
import operator
import sys
import types
import typing
from typing import TYPE_CHECKING, Annotated, Any, Union

from provider.worker.convert import MOST_REASONS, Misfit, Unchecked, array_hint, read_bytes, unfit

if TYPE_CHECKING:
    from provider.worker.convert import Convert

MOST_ERRORS = 1000
"""Misfits looked at; pydantic takes microseconds for each, and a map may have a million."""
_LONGEST = 200


def listed(hint: Any) -> Any:
    """The schema, in the form of pydantic's core, of a list of values of this hint.

    A list, because pydantic takes no configuration for some types but for what holds them.

    Raises:
        Unchecked: pydantic is not there, or does not know the hint.
    """
    try:
        import pydantic
    except ImportError:
        raise Unchecked("pydantic is not in the environment") from None
    try:
        config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        held: Any = list[_rewritten(hint)]  # type: ignore[misc]  # a hint at run time
        return _firm(pydantic.TypeAdapter(held, config=config).core_schema)
    except Exception as error:  # noqa: BLE001  whatever pydantic says of a user's hint
        raise Unchecked(str(error).partition("\n")[0][:_LONGEST]) from None


def converter(hint: Any) -> Convert:
    """What converts values to a hint, as `convert.converter` has it.

    Raises:
        Unchecked: pydantic is not there, or does not know the hint.
    """
    schema = listed(hint)
    import pydantic_core

    try:
        validate = pydantic_core.SchemaValidator(schema).validate_python
    except Exception as error:  # noqa: BLE001  as above
        raise Unchecked(str(error).partition("\n")[0][:_LONGEST]) from None

    def convert(value: Any) -> Any:
        try:
            (converted,) = validate([value])
        except pydantic_core.ValidationError as error:
            raise _misfit(error) from None
        except RecursionError:
            raise unfit("Input is too deep, or its type is") from None
        return converted

    return convert


def _misfit(error: Any) -> Misfit:
    count = error.error_count()
    if count > MOST_ERRORS:
        return unfit(f"{count} of the values inside do not fit")
    found = error.errors(include_url=False, include_context=False, include_input=False)
    reasons = [
        (
            # The first step is the list that `listed` put around the value.
            ".".join(str(step)[:_LONGEST] for step in entry["loc"][1:])[:_LONGEST],
            entry["msg"][:_LONGEST],
        )
        for entry in found[:MOST_REASONS]
    ]
    return Misfit(reasons, count - len(reasons))


def _rewritten(hint: Any) -> Any:
    """The hint in such words as pydantic knows."""
    array = array_hint(hint)
    if array is not None:
        from pydantic import PlainValidator, WithJsonSchema

        return Annotated[Any, PlainValidator(_saying(array)), WithJsonSchema({"type": "array"})]
    if _is_old_typed_dict(hint):
        return _new_typed_dict(hint, {})
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is None or origin is typing.Literal or not arguments:
        return hint
    if origin is Annotated:
        inner = _rewritten(arguments[0])
        return hint if inner is arguments[0] else Annotated[(inner, *arguments[1:])]
    rewritten = tuple(map(_rewritten, arguments))
    if all(map(operator.is_, rewritten, arguments)):
        return hint
    if origin in (Union, types.UnionType):
        return Union[rewritten]  # noqa: UP007  of as many as there are
    return origin[rewritten]


def _is_old_typed_dict(hint: Any) -> bool:
    # Before Python 3.12, typing's keeps too little for pydantic, which asks for the newer one.
    return (
        sys.version_info < (3, 12)
        and typing.is_typeddict(hint)
        and type(hint).__module__ == "typing"
    )


def _new_typed_dict(hint: Any, known: dict[Any, Any]) -> Any:
    if hint in known:
        raise TypeError(f"{hint.__name__} contains itself; take TypedDict from typing_extensions")
    import typing_extensions

    known = {**known, hint: True}
    fields = {}
    for name, field in typing_extensions.get_type_hints(hint, include_extras=True).items():
        inner = _new_typed_dict(field, known) if _is_old_typed_dict(field) else _rewritten(field)
        if typing_extensions.get_origin(inner) not in (
            typing_extensions.Required,
            typing_extensions.NotRequired,
        ):
            needed = name in hint.__required_keys__
            inner = (typing_extensions.Required if needed else typing_extensions.NotRequired)[inner]
        fields[name] = inner
    make: Any = typing_extensions.TypedDict
    made = make(hint.__name__, fields)
    made.__doc__ = hint.__doc__
    return made


_INSIDE = (
    *("schema", "items_schema", "values_schema", "extras_schema", "choices", "fields", "steps"),
    *("definitions", "lax_schema", "strict_schema", "python_schema"),
)
"""Where in a schema of pydantic's core further ones lie. Keys of maps are always text, so what
they are read as stays pydantic's choice."""
_SETTLED = frozenset({"strict", "extra_fields_behavior"})
"""What the author of a type has settled for all that is in it."""
_FIRM = frozenset({"int", "float", "bool", "str"})
_LISTS = frozenset({"list", "tuple", "set", "frozenset"})


def _firm(node: Any) -> Any:
    """A schema of pydantic's core that guesses nothing, and gives up at the first bad member."""
    kind = node.get("type")
    if kind == "model" or (kind == "dataclass" and hasattr(node["cls"], "__pydantic_validator__")):
        return node
    if not _SETTLED.isdisjoint(node.get("config") or ()):
        return node
    if kind == "is-instance" and node.get("cls") is getattr(sys.modules.get("numpy"), "ndarray", 0):
        return _before(array_hint(node["cls"]), {"type": "any"})
    made = {key: _firm_inside(key, node[key]) if key in _INSIDE else node[key] for key in node}
    if kind in ("dataclass-args", "typed-dict"):
        if made.get("extra_behavior", "ignore") == "ignore":
            made["extra_behavior"] = "forbid"
    elif kind in _FIRM:
        made.setdefault("strict", True)
    elif kind in _LISTS:
        made.setdefault("fail_fast", True)
    elif kind == "bytes" and not node.get("strict"):
        return _before(read_bytes, {**made, "strict": True})
    elif kind in ("datetime", "date", "time"):
        return _before(_no_number, made)
    elif kind == "enum" and node.get("sub_type") in ("int", "float"):
        return _before(_no_text, made)
    return made


def _firm_inside(key: str, value: Any) -> Any:
    if isinstance(value, list):
        if key == "fields" and value and isinstance(value[0], str):
            return value  # the names of those of a dataclass
        return [_firm_choice(entry) if key == "choices" else _firm(entry) for entry in value]
    if isinstance(value.get("type"), str):
        return _firm(value)
    return {name: _firm(field) for name, field in value.items()}  # fields, or tagged choices


def _firm_choice(choice: Any) -> Any:
    """One of a union, with the name that stands in the path of its errors."""
    if isinstance(choice, tuple):
        return _firm(choice[0]), choice[1]
    made = _firm(choice)
    return (made, choice["type"]) if made["type"] == "function-before" else made


def _before(read: Any, schema: Any) -> dict[str, Any]:
    return {
        "type": "function-before",
        "function": {"type": "no-info", "function": _saying(read)},
        "schema": schema,
    }


def _saying(read: Any) -> Convert:
    """The same reader, with its words in the language of pydantic."""
    from pydantic_core import PydanticCustomError

    def check(value: Any) -> Any:
        try:
            return read(value)
        except Misfit as misfit:
            raise PydanticCustomError("misfit", "{reason}", {"reason": misfit.at("")}) from None

    return check


def _no_number(value: Any) -> Any:
    is_number = isinstance(value, int | float)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            float(value)
            is_number = True
    if is_number:
        raise unfit("Input should be a date-time or RFC 3339 text, not a number")
    return value


def _no_text(value: Any) -> Any:
    if isinstance(value, str):
        raise unfit("Input should be a number, not text")
    return value
