"""What authors of dispatch modules may import.

The rule of this file: it is the whole promise to them, and imports nothing that their environment
does not have. The worker makes the package importable; nothing has to be installed for it.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provider.errors import HandlerError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Context", "OperationError", "context"]


@dataclass(frozen=True)
class Context:
    """What a call knows of itself beside its argument.

    Attributes:
        operation: its name.
        deadline: when its caller stops waiting, in seconds of `time.monotonic`; infinity for never.
        caller: public key of the actor a host vouched for, empty where nobody did.
        traceparent: of the W3C trace it belongs to, empty for none; pass it on with the calls you
            make (https://www.w3.org/TR/trace-context/).
        tracestate: of that trace.
    """

    operation: str
    deadline: float = math.inf
    caller: str = ""
    traceparent: str = ""
    tracestate: str = ""

    @property
    def remaining(self) -> float:
        """Seconds left until the deadline, never below 0."""
        return max(0.0, self.deadline - time.monotonic())


def context() -> Context:
    """The context of the call that runs in this thread.

    Raises:
        LookupError: none does: not in a handler, or in a thread of its own.
    """
    return find_context()


def _no_worker() -> Context:
    raise LookupError("no call runs here; only a provider's worker has calls")


find_context: Callable[[], Context] = _no_worker
"""Where the worker puts its answer."""


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
