"""What is logged while inputs run: nothing is printed, and what is logged as an error is one.

The rule of this file: what it puts in place it takes away again; other tests log as they did.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import structlog
from structlog._config import BoundLoggerLazyProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

_errors: list[str] = []


class ErrorLogged(Exception):
    """An input made us log an error, which is for what is wrong with us."""


def check() -> None:
    """See that no error was logged since the last time.

    Raises:
        ErrorLogged: one was.
    """
    if _errors:
        text = "\n".join(_errors)
        _errors.clear()
        raise ErrorLogged(text)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within, no log line is printed, and errors are for `check`."""
    # Another test of this process may have configured logs, and loggers keep what they first found.
    structlog.reset_defaults()
    for module in list(sys.modules.values()):
        logger = vars(module).get("_log")
        if isinstance(logger, BoundLoggerLazyProxy):
            vars(logger).pop("bind", None)
    processors = structlog.get_config()["processors"]
    kept, handler, root = processors.copy(), _Handler(), logging.getLogger()
    # In place: loggers in use keep the list they were made with.
    processors[:] = [_note]
    handlers, root.handlers[:] = root.handlers[:], [handler]
    try:
        yield
    finally:
        processors[:] = kept
        root.handlers[:] = handlers
        _errors.clear()


def _note(_logger: object, level: str, fields: dict[str, Any]) -> NoReturn:
    if level in ("error", "critical", "exception"):
        _errors.append(f"{fields!r:.2000} {sys.exc_info()[1]!r:.2000}")
    raise structlog.DropEvent


class _Handler(logging.Handler):
    """What libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            _errors.append(self.format(record))
