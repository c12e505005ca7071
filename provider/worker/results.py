"""The results of operations, as they travel.

The rule of this file: dataclasses and models become maps, members of an enumeration their values;
everything else is left as it is. Whether it can travel is not decided here.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
from typing import Any

_LEAVES = frozenset({int, float, bool, type(None), str, bytes})
_DEEPEST = 400


def travelling(value: Any, levels: int = _DEEPEST) -> Any:
    """The result of an operation with maps for dataclasses and models, and values for members.

    Everything else is left as it is: whether it can travel is not decided here.
    """
    kind = type(value)
    if kind in _LEAVES or levels <= 0:
        return value
    if isinstance(value, dict):
        if _LEAVES.issuperset(map(type, value.values())) and set(map(type, value)) <= {str}:
            return value
        return {
            key.value if isinstance(key, enum.Enum) else key: travelling(member, levels - 1)
            for key, member in value.items()
        }
    if isinstance(value, list | tuple):
        if _LEAVES.issuperset(map(type, value)):
            return value
        return [travelling(member, levels - 1) for member in value]
    if isinstance(value, enum.Enum):
        return travelling(value.value, levels - 1)
    if isinstance(value, type):
        return value
    if _is_model(kind):
        return travelling(value.model_dump(by_alias=True), levels - 1)
    if dataclasses.is_dataclass(value):
        return {
            field.name: travelling(getattr(value, field.name), levels - 1)
            for field in dataclasses.fields(value)
        }
    return value


def _is_model(kind: type) -> bool:
    # A model cannot be there before the user's code has imported pydantic.
    pydantic = sys.modules.get("pydantic")
    model = getattr(pydantic, "BaseModel", None) if pydantic is not None else None
    return model is not None and issubclass(kind, model)
