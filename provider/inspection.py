"""Whether other processes of the same user may look into this one.

The rule of this file: it asks the system, where the system can be asked (Linux), and does nothing
elsewhere. The environment and the memory of the provider hold its secrets, and the worker, which
runs code of others, is a process of the same user. A process that may not be inspected keeps from
it `/proc/PID/environ`, `mem`, `fd` and the like, and every debugger (prctl(2), PR_SET_DUMPABLE).
Whoever has the capability CAP_SYS_PTRACE, as root on a machine of its own has, is kept from
nothing. Programs that are started afterwards decide for themselves.
"""

from __future__ import annotations

import contextlib

_SET_DUMPABLE = 4


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
