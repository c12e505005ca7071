"""Values checked and converted by type hints, where the user's environment has pydantic.

The rule of this file: pydantic is imported only for a hint that asks for more than it is given
anyway, and without it values are left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Misfit(Exception):
    """A value is not what its hint asks for.

    Args:
        path: inside the value, such as `items.3.price`; empty for the value itself.
        reason: what is expected.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason

    def at(self, place: str) -> str:
        """The whole sentence, for a value that stands at this place of the argument."""
        path = ".".join(part for part in (place, self.path) if part)
        return f"{path}: {self.reason}" if path else self.reason


def converter(hint: Any) -> Callable[[Any], Any] | None:
    """What converts values to a hint, None where nothing has to.

    The function it returns raises `Misfit`.
    """
    if hint is Any or hint is object:
        return None
    try:
        import pydantic
    except ImportError:
        return None
    try:
        adapter = pydantic.TypeAdapter(hint, config=None)
    except Exception:  # noqa: BLE001  a hint pydantic knows nothing of is left alone
        return None

    def convert(value: Any) -> Any:
        try:
            return adapter.validate_python(value)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            path = ".".join(map(str, first["loc"]))
            raise Misfit(path, first["msg"]) from None

    return convert
