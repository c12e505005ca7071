"""What authors of dispatch modules may import.

The rule of this file: it is the whole promise to them, and imports nothing that their environment
does not have. The worker makes the package importable; nothing has to be installed for it.
"""

from __future__ import annotations

from typing import Any

from provider.errors import HandlerError

__all__ = ["OperationError"]


class OperationError(HandlerError):
    """Raise this in a handler to choose what the caller is told.

    Args:
        message: what was wrong and what to do, for a person.
        code: number in the answer, 400 to 599 like HTTP's; 500 when left out.
        details: any value that can travel, for the caller's program.

    Raises:
        ValueError: `code` is outside 400 to 599.
    """

    def __init__(self, message: str, *, code: int = 500, details: Any = None) -> None:
        if not 400 <= code <= 599:
            raise ValueError(f"code {code} is not between 400 and 599")
        super().__init__(message, code=code, details=details)
