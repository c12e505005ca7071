"""What the worker has done, in memory both processes see.

The rule of this file: the worker writes here before and after each call, the host reads when it has
to know, and no message passes. So when the worker dies or is killed, the host knows exactly which
calls had begun: later ones never ran and may be given to the next worker. And it finds the answers
that were finished and not sent yet. Both cost a fraction of a microsecond; a message for each call
would cost a system call.

The memory is two words, the newest call that has begun and how many bytes of answers are held, and
the bytes: frames, as they would have gone over the link.
"""

from __future__ import annotations

import fcntl
import functools
import mmap
import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOM = 64 * 1024
"""Bytes of answers that can be held."""
_WORDS = 16
SIZE = _WORDS + ROOM
"""Bytes of the memory."""


def new_memory() -> int:
    """A descriptor of fresh shared memory for one worker; the caller closes it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("provider-progress", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, SIZE)
        # User code can reach the descriptor; were the memory shorter, reading it would kill us.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        return descriptor
    with tempfile.TemporaryFile() as file:
        descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, SIZE)
    return descriptor


class Progress:
    """One end of the memory.

    Args:
        descriptor: of the shared memory; may be closed afterwards.
    """

    __slots__ = ("_memory", "begin", "room", "words")

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, SIZE)
        # A view of whole words, not struct: that writes byte by byte, zeroes first, and the other
        # process would see numbers in between.
        self.words = memoryview(self._memory)[:_WORDS].cast("Q")
        """The newest call that has begun, and how many bytes of answers are held, which is written
        after them. Where every call counts, both are written here: half the time of `begin`."""
        self.room = memoryview(self._memory)[_WORDS:]
        """Where answers are held, from the start."""
        self.begin: Callable[[int], None] = functools.partial(self.words.__setitem__, 0)
        """Note that this call begins."""

    def begun(self) -> int:
        """The newest call that has begun, 0 for none."""
        return self.words[0]

    def held(self) -> bytes:
        """The answers that are held; of a worker that goes on meanwhile, perhaps none.

        Places are used again only for answers of calls that begin later. So what was copied while
        no call began is whole.
        """
        begun = self.words[0]
        answers = bytes(self.room[: min(self.words[1], ROOM)])
        return answers if self.words[0] == begun else b""

    def close(self) -> None:
        """Let go of the memory."""
        self.words.release()
        self.room.release()
        self._memory.close()
