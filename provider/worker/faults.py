"""What is said about an exception out of user code.

The rule of this file: nothing in here raises, whatever the exception does when it is looked at. Its
`__str__` and `__repr__` are user code too, and may leave, raise or return what cannot travel.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from provider.errors import CallError, HandlerError

MAX_TRACEBACK = 32 * 1024
"""Most characters of a traceback that go to the host; the end is kept, where the cause is."""

_OURS = (os.path.dirname(__file__) + os.sep, "<frozen importlib")


def text_of(error: BaseException) -> str:
    """What the exception says, empty when it says nothing that can be printed."""
    try:
        return sendable(str(error))
    except BaseException:  # noqa: BLE001  the rule of this file
        return ""


def as_handler_error(error: BaseException) -> CallError:
    """What the caller and the log are told about an exception out of user code."""
    name, text = sendable(type(error).__name__), text_of(error)
    if isinstance(error, SystemExit):
        text = f"the handler called sys.exit({shown(error.code)})"
    code, details = None, None
    if isinstance(error, HandlerError):
        code, details = _code(error.code), error.details
    return HandlerError(
        text or name, type=name, traceback=traced(error), code=code, details=details
    )


def _code(code: Any) -> int | None:
    """The author's code as a plain number, None when it is none that can stand in a header."""
    return int(code) if isinstance(code, int) and 0 < code < 1 << 31 else None


def shown(value: Any, most: int = 100) -> str:
    """The value as a person would write it in Python, cut to `most` characters."""
    try:
        return sendable(repr(value))[:most]
    except BaseException:  # noqa: BLE001  the rule of this file
        return f"<{type(value).__name__} that cannot be printed>"


def described(error: BaseException) -> str:
    """One line: the class of the exception, what it says, and what helps."""
    name, text = type(error).__name__, text_of(error)
    if isinstance(error, SystemExit):
        return f"it called sys.exit({shown(error.code)})"
    if isinstance(error, SyntaxError):
        # A subclass is user code as well, whatever it makes of the place.
        with contextlib.suppress(BaseException):
            return sendable(f"{name}: {error.msg} ({error.filename}, line {error.lineno})")
    if isinstance(error, ModuleNotFoundError):
        return f"{name}: {text}; is it installed in the environment {sys.prefix}?"
    if isinstance(error, ImportError):
        return f"{name}: {text} (in the environment {sys.prefix})"
    return f"{name}: {text}" if text else name


def traced(error: BaseException) -> str:
    """The traceback without the frames that are ours or the import system's: they tell nothing."""
    import traceback

    try:
        account = traceback.TracebackException(type(error), error, error.__traceback__)
        _leave_ours_out(account, traceback.StackSummary)
        text = "".join(account.format())
    except BaseException as problem:  # noqa: BLE001  the rule of this file
        return f"{type(error).__name__} (its traceback cannot be printed: {type(problem).__name__})"
    return sendable(text)[-MAX_TRACEBACK:]


def _leave_ours_out(account: Any, summary: Any) -> None:
    """Drop our own frames and the import system's from an exception and all it came from."""
    if account is None:
        return
    account.stack = summary.from_list(
        [line for line in account.stack if not line.filename.startswith(_OURS)]
    )
    for cause in (
        account.__cause__,
        account.__context__,
        *(getattr(account, "exceptions", ()) or ()),
    ):
        _leave_ours_out(cause, summary)


def sendable(text: str) -> str:
    """The text with lone surrogates replaced, which have no UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")
