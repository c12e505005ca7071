"""JSON Schemas in a document that keeps them in one place and refers to them.

The rule of this file: what the worker says of types is moved and not changed; only its references
lead to another place. OpenAPI and AsyncAPI keep schemas alike.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NO_KEY = re.compile(r"[^A-Za-z0-9._-]")
_DEFS = "#/$defs/"
PLACE = "#/components/schemas/"
"""Where a document keeps them."""


def free_key(name: str, is_taken: Callable[[str], bool]) -> str:
    """A key that a document can have, made of a name.

    Args:
        name: such as that of an operation.
        is_taken: whether something else has this key.
    """
    key = plain = _NO_KEY.sub("_", name)
    number = 1
    while is_taken(key):
        number += 1
        key = f"{plain}_{number}"
    return key


def keep(shared: dict[str, Any], title: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Put a schema, and those inside it, where a document keeps them; a reference to it.

    Args:
        shared: the schemas of the document.
        title: its key there.
        schema: as the worker tells it.
    """
    plain = dict(schema)
    for name, inner in plain.pop("$defs", {}).items():
        shared[f"{title}.{_NO_KEY.sub('_', name)}"] = _moved(inner, title)
    shared[title] = _moved(plain, title)
    return {"$ref": f"{PLACE}{title}"}


def _moved(schema: Any, title: str) -> Any:
    if isinstance(schema, list):
        return [_moved(member, title) for member in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(member, title) for key, member in schema.items()}
    reference = moved.get("$ref")
    if isinstance(reference, str) and reference.startswith(_DEFS):
        name = _NO_KEY.sub("_", reference.removeprefix(_DEFS))
        moved["$ref"] = f"{PLACE}{title}.{name}"
    return moved
