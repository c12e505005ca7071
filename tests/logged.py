"""What is logged in the process of the tests, as data."""

from __future__ import annotations

import asyncio
import sys

import pytest
import structlog
from structlog._config import BoundLoggerLazyProxy

PATIENCE = 40.0
"""Seconds a test waits for something that should come at once, on however slow a machine."""


class Events(list):
    """What was logged, as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self._news = asyncio.Event()

    def __call__(self, _logger, level, fields):
        self.append({**fields, "level": level})
        self._news.set()
        raise structlog.DropEvent

    def of(self, event, since=0, **fields):
        return [
            entry
            for entry in self[since:]
            if entry["event"] == event
            and all(entry.get(name) == value for name, value in fields.items())
        ]

    async def until(self, event, count=1, **fields):
        """Wait until this was logged `count` times; the newest one."""
        found, looked_at = [], 0
        async with asyncio.timeout(PATIENCE):
            while True:
                found += self.of(event, looked_at, **fields)
                looked_at = len(self)
                if len(found) >= count:
                    return found[-1]
                self._news.clear()
                await self._news.wait()


@pytest.fixture
def events():
    """Everything logged during the test; nothing of it is printed."""
    captured = Events()
    # Another test of this process may have configured logs, and loggers keep what they first found.
    structlog.reset_defaults()
    for module in list(sys.modules.values()):
        logger = vars(module).get("_log")
        if isinstance(logger, BoundLoggerLazyProxy):
            vars(logger).pop("bind", None)
    processors = structlog.get_config()["processors"]
    kept = processors.copy()
    # In place: loggers in use keep the list they were made with.
    processors[:] = [captured]
    yield captured
    processors[:] = kept
