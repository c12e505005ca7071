"""Calls over gRPC: services of the user's own, health and reflection.

The rule of this file: grpc is imported here, before anything of ours needs it, because two of its
settings are read then and never again. It must leave forks alone: the host starts workers whenever
it has to, and with grpc's own handling of forks (which is for those who go on with grpc in the
child) some of them die before they become another program. And what it would write to our standard
error in a form of its own are clients' faults, such as handshakes that fail.
"""

from __future__ import annotations

import contextlib
import os

_SETTINGS = {
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    "GRPC_VERBOSITY": os.environ.get("GRPC_VERBOSITY", "NONE"),
}


def _import_library() -> None:
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update(_SETTINGS)
    try:
        with contextlib.suppress(ImportError):  # whoever needs it says so
            import grpc.aio  # noqa: F401
    finally:
        # They are not meant for user code, which inherits the environment.
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_import_library()
