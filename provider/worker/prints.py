"""What user code prints, on its way to the host's log.

The rule of this file: prints can never touch the link, and each line knows the call that wrote it.
Standard output and error stay pipes to the host. Lines written through `sys.stdout` and
`sys.stderr` start with a mark and the number of the running call; lines from C code or child
processes arrive without one and are logged all the same.

Text is passed on by whole lines, so that calls that overlap do not write into each other's. What a
call leaves without a line's end goes out when it is flushed, or when the call ends.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from typing import TYPE_CHECKING

from provider.wire.output import MARK

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 64 * 1024
"""Bytes of a line that are kept while its end is waited for."""
MOST_BEGUN = 256
"""Lines whose end is waited for. A thread that prints between two calls leaves some that no call
ends."""


class _MarkedLines(io.RawIOBase):
    """A descriptor whose every line starts with the number of the call that wrote it."""

    def __init__(self, descriptor: int, running: Callable[[], int]) -> None:
        self._descriptor = descriptor
        self._running = running
        self._lock = threading.RLock()
        self.begun: dict[int, bytes] = {}
        """By call, the line it has not ended yet."""
        self._open: int | None = None
        """The call whose line is on the pipe, without its end."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return False

    def write(self, data: bytes) -> int:  # type: ignore[override]  # any buffer, as io calls it
        number, text = self._running(), bytes(data)
        with self._lock:
            whole, end, rest = (self.begun.pop(number, b"") + text).rpartition(b"\n")
            if end:
                self._put(number, whole + end)
            if len(rest) > LONGEST:
                self._put(number, rest)
            elif rest:
                self.begun[number] = rest
                if len(self.begun) > MOST_BEGUN:
                    self.end(next(iter(self.begun)))
        return len(text)

    def flush(self) -> None:
        number = self._running()
        with self._lock:
            rest = self.begun.get(number)
            if rest:
                self._put(number, rest)
                self.begun[number] = b""  # its end is still to come

    def end(self, number: int) -> None:
        """End the last line of this call, if it has not."""
        with self._lock:
            rest = self.begun.pop(number, None)
            if rest is not None:
                self._put(number, rest + b"\n")

    def renew(self) -> None:
        """In a forked child: the parent's threads are gone, and what they hold is theirs."""
        self._lock = threading.RLock()
        self.begun.clear()

    def _put(self, number: int, text: bytes) -> None:
        """Write these lines; the last may lack its end."""
        mark = b"%b%d " % (MARK, number)
        lines = text.split(b"\n")
        ended = not lines[-1]
        if ended:
            del lines[-1]
        marked = (b"\n" + mark).join(lines)
        if self._open != number:
            marked = (b"" if self._open is None else b"\n") + mark + marked
        if ended:
            marked += b"\n"
        self._open = None if ended else number
        left = memoryview(marked)
        while left:
            left = left[os.write(self._descriptor, left) :]


class Prints:
    """`sys.stdout` and `sys.stderr` as they are while the worker serves.

    Args:
        running: the number of the call that runs now, 0 for none.
    """

    def __init__(self, running: Callable[[], int]) -> None:
        self._out = _MarkedLines(1, running)
        self._error = _MarkedLines(2, running)
        self.unfinished = self._out.begun, self._error.begun
        """What was written that no line's end followed, by call; looked at after each call."""

    def mark_lines(self) -> None:
        """Make `sys.stdout` and `sys.stderr` say which call each line belongs to."""
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(
                output,  # type: ignore[type-var]  # takes bytes and needs no buffer in between
                encoding="utf-8",
                errors="backslashreplace",
                line_buffering=True,
                write_through=True,
            )
            for output in (self._out, self._error)
        )
        os.register_at_fork(after_in_child=self._renew)

    def end(self, number: int) -> None:
        """Pass on what a call that has ended left without a line's end."""
        self._out.end(number)
        self._error.end(number)

    def _renew(self) -> None:
        self._out.renew()
        self._error.renew()
