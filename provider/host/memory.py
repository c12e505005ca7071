"""How much memory a process has, as the system counts it.

The rule of this file: a process that is gone has none, and nobody is told why.
"""

from __future__ import annotations

import os


def resident(pid: int) -> int | None:
    """Bytes of a process that are in memory now; None where that is not known.

    Args:
        pid: of the process.
    """
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None  # it has just gone, or this is no Linux
