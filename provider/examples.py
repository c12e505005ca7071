"""The example dispatch programs that come with the provider.

The rule of this file: it finds them, in a checkout beside the package and in a wheel inside it.
"""

from __future__ import annotations

from pathlib import Path

from provider.errors import StartError

_PACKAGE = Path(__file__).parent
_PLACES = (_PACKAGE / "dispatch_examples", _PACKAGE.parent / "dispatch_examples")


def names() -> list[str]:
    """The examples there are."""
    return sorted({path.parent.name for place in _PLACES for path in place.glob("*/dispatch.py")})


def find(name: str) -> Path:
    """The dispatch program of an example.

    Raises:
        StartError: there is no example of that name.
    """
    for place in _PLACES:
        program = place / name / "dispatch.py"
        if name in names() and program.is_file():
            return program
    raise StartError(f"there is no example {name!r}; there are: {', '.join(names())}")
