"""Call a provider from Python.

    async with provider.client.connect() as python:
        await python.call("py.factorial", 10)

    with provider.client.connect_sync() as python:
        python.call("py.factorial", 10)

The rule of this file: a call returns the result or raises the error of its kind, a class of
`provider.errors`, and never waits longer than it was told to. The commands and the tests call
through here, so what users are offered is what is tested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider.client.calling import ABSENT, DEFAULT_TIMEOUT, NoProvider, request_answer
from provider.client.connecting import connect, connect_sync, connected
from provider.client.python import Python
from provider.client.waiting import PythonSync
from provider.errors import CallError

if TYPE_CHECKING:
    from provider.wasmbus_client import InvocationError, Wasmbus, connect_wasmbus


def __getattr__(name: str) -> Any:
    # Signed calls need keys and the object store, which nobody else should wait for.
    if name in ("InvocationError", "Wasmbus", "connect_wasmbus"):
        from provider import wasmbus_client

        return getattr(wasmbus_client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ABSENT",
    "DEFAULT_TIMEOUT",
    "CallError",
    "InvocationError",
    "NoProvider",
    "Python",
    "PythonSync",
    "Wasmbus",
    "connect",
    "connect_sync",
    "connect_wasmbus",
    "connected",
    "request_answer",
]
