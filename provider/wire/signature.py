"""What a file looks like from outside, compared by host and worker to see that it was saved.

The rule of this file: equal signatures mean "look no further" only where a watcher looks too; two
saves within one tick of the file system's clock leave the same signature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

Signature = tuple[int, int, int]
"""Modification time in nanoseconds, size in bytes, inode."""


def signature(status: os.stat_result) -> Signature:
    """The signature in a file's status."""
    return status.st_mtime_ns, status.st_size, status.st_ino
