"""nats-py, imported without what only websockets need.

The rule of this file: it comes before any other import of nats, where a start has to be quick.
nats-py imports aiohttp wherever that is installed, as it is beside many models, and that takes
longer than all of nats-py. Here it is imported when the first websocket is opened.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from typing import Any

_NAME = "aiohttp"


class _Later(types.ModuleType):
    """Stands for a module until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


if _NAME not in sys.modules and importlib.util.find_spec(_NAME) is not None:
    sys.modules[_NAME] = _Later(_NAME)
    try:
        import nats.aio.client  # noqa: F401  now, and not by whoever comes next
    finally:
        del sys.modules[_NAME]
