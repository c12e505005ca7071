"""What other processes of the same user may see of this one, and what those it starts are given.

The rule of this file: it asks the system, where the system can be asked (Linux), and does nothing
elsewhere. The environment and the memory of the provider hold its secrets, and the worker, which
runs code of others, is a process of the same user. A process that may not be inspected keeps from
it `/proc/PID/environ`, `mem`, `fd` and the like, and every debugger (prctl(2), PR_SET_DUMPABLE).
Whoever has the capability CAP_SYS_PTRACE, as root on a machine of its own has, is kept from
nothing. Programs that are started afterwards can be inspected, so none of them gets a secret.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRETS = frozenset(
    {
        "NATS_URL",
        "NATS_USER",
        "NATS_PASSWORD",
        "NATS_PASSWORD_FILE",
        "NATS_TOKEN",
        "NATS_TOKEN_FILE",
        "NATS_CREDS",
        "NATS_CREDS_FILE",
        "NATS_NKEY",
        "NATS_NKEY_FILE",
        "NATS_JWT",
        "NATS_JWT_FILE",
        "NATS_SEED",
        "NATS_CERT",
        "NATS_KEY",
        "NATS_CA",
        "NATS_CONTEXT",
        "NATS_INBOX_PREFIX",
        "PROVIDER_HTTP_TOKEN",
        "PROVIDER_HTTP_TOKEN_FILE",
        "PROVIDER_HTTP_API_KEY",
        "PROVIDER_HTTP_API_KEY_FILE",
        "PROVIDER_GRPC_KEY",
        "PROVIDER_CLUSTER_SEED",
        "NOTIFY_SOCKET",
    }
)
"""Variables that no process we start inherits: they have no business with our connection."""

_SET_DUMPABLE = 4


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """What a process we start may inherit of an environment."""
    return {name: value for name, value in environ.items() if name not in SECRETS}


def refuse() -> None:
    """Keep others out, and dump no core."""
    _set(0)


def allow() -> None:
    """Let debuggers, profilers and all other programs of the same user look."""
    _set(1)


def _set(dumpable: int) -> None:
    # No ctypes, or another system: it stays as it was.
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_SET_DUMPABLE, dumpable, 0, 0, 0)
