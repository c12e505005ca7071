"""nats-py, imported without what few hosts use: websockets and JetStream.

The rule of this file: it comes before any other import of nats, where a start has to be quick.
nats-py imports aiohttp wherever that is installed, as it is beside many models, and all the tables
of JetStream. Each takes longer than the rest of nats-py. Here they are imported when something of
theirs is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from typing import Any

_WEBSOCKETS, _JETSTREAM = "aiohttp", "nats.js"


class _Later(types.ModuleType):
    """Stands for a module until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:  # nats-py uses it while it is imported itself
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def _import_without(names: list[str]) -> None:
    """Import nats-py while these modules are placeholders, which it then holds."""
    for name in names:
        sys.modules[name] = _Later(name)
    held = [sys.modules[name] for name in names]
    try:
        import nats.aio.client
    finally:
        for placeholder in held:
            if sys.modules.get(placeholder.__name__) is placeholder:
                del sys.modules[placeholder.__name__]
    for placeholder in held:
        package, _, last = placeholder.__name__.rpartition(".")
        if package and placeholder.__name__ not in sys.modules:
            setattr(nats, last, placeholder)


if "nats" not in sys.modules:
    _import_without(
        [_JETSTREAM]
        if _WEBSOCKETS in sys.modules or importlib.util.find_spec(_WEBSOCKETS) is None
        else [_JETSTREAM, _WEBSOCKETS]
    )
