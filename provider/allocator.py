"""Keeps memory for the next large value instead of giving it back to the system at once.

The rule of this file: it asks glibc, where there is glibc, and does nothing elsewhere or where the
environment has its own wish (mallopt(3)). A value of ten megabytes passes through a handful of
buffers on its way; given back and fetched anew, their pages cost more than all work on them: a
tensor there and back took 2.4 times as long (benchmarks/kserve.py).

Host and worker use it, so it runs wherever the worker does.
"""

from __future__ import annotations

import contextlib
import os

KEPT = 64 * 1024 * 1024
"""Bytes of free memory that a process may keep."""
LARGE = 32 * 1024 * 1024
"""Bytes from which a buffer comes from the system and goes back to it; no more can be had."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_WISHES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_memory() -> None:
    """Have this process keep what it frees, up to `KEPT`."""
    if any(name in os.environ for name in _WISHES):
        return
    # No ctypes, or another allocator: it stays as it was.
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, LARGE)
        mallopt(_TRIM_THRESHOLD, KEPT)
