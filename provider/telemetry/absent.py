"""An import that does without what it can do without.

The rule of this file: what somebody has imported before stays, and afterwards all is as it was.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def absent(name: str) -> Iterator[None]:
    """Within, a package cannot be imported, unless it was before.

    Args:
        name: of the package.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # what importlib takes for "not there"
    try:
        yield
    finally:
        del sys.modules[name]
