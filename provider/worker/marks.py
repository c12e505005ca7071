"""What decorators noted on functions, found among the values of a user's module.

The rule of this file: the values are looked at and not touched. A module has more than functions
among its names: objects that answer to every name would seem declared, and those of libraries, such
as pydantic's BaseModel, raise at names they do not know.
"""

from __future__ import annotations

import types
from typing import Any


def is_a(value: object, *kinds: type) -> bool:
    """Whether the value is of one of these types. `isinstance` would ask it for its class, too."""
    return issubclass(type(value), kinds)


def mark_of(value: Any, mark: str) -> Any:
    """What stands under a mark, None where nothing does.

    Args:
        value: any object; a method stands for its function.
        mark: name of the attribute.
    """
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except Exception:  # noqa: BLE001  whatever a user's object does when it is looked at
        attributes = None
    if isinstance(attributes, dict) and mark in attributes:
        return attributes[mark]
    if is_a(value, staticmethod, classmethod, types.MethodType):
        return mark_of(value.__func__, mark)
    return None
