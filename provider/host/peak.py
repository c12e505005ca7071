"""How much memory a process has had, at most.

The rule of this file: what cannot be known is not told. The system keeps the figure of a process
until it is reaped, but begins it with that of the process that started it: ours. So a figure above
our own is that of the worker; for one that stayed below, the last look at it while it lived counts.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

_UNIT = 1 if sys.platform == "darwin" else 1024


def resident(pid: int | str) -> tuple[int, int]:
    """How much memory a process has now and has had at most, in bytes.

    Args:
        pid: of the process; "self" is this one.

    Returns:
        Zeroes where the system does not tell, as of a process that is gone.
    """
    found = {"VmRSS": 0, "VmHWM": 0}
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in found:
                found[name] = int(rest.split()[0]) * 1024
    return found["VmRSS"], found["VmHWM"]


class Peak:
    """The most memory a process we start has had."""

    def __init__(self) -> None:
        _, self._ours = resident("self")
        self._seen = 0

    def look(self, pid: int) -> int:
        """Look at the process while it lives; how much it has now, in bytes, 0 for unknown."""
        now, most = resident(pid)
        self._seen = max(self._seen, most)
        return now

    def of(self, reaped: int) -> int | None:
        """The most it has had, in bytes, None for unknown.

        Args:
            reaped: `ru_maxrss` of its end.
        """
        if reaped * _UNIT > self._ours:
            return reaped * _UNIT
        return self._seen or None
