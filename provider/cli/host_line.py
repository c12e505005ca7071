"""The line a wasmCloud host writes to the standard input of a provider it launches, and its reader.

The rule of this file: it waits for a line and for nothing after it, because hosts may keep their
end open, and it waits neither for ever nor for more than the line may have. The line is seen by
nobody but `parse_line`.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import time
from typing import TYPE_CHECKING

from provider.errors import StartError, clip

if TYPE_CHECKING:
    from provider.lattice.joining import Joining

MOST = 1 << 20
"""Bytes the line may have."""
WITHIN = 10.0
"""Seconds the line may take. Hosts write it as they launch the process."""
STANDARD_INPUT = "-"


def launched(arguments: list[str]) -> bool:
    """Whether this process was started as a host starts a provider.

    That is without any argument, and with a pipe on standard input. A terminal, a file, /dev/null
    or a closed standard input is none.

    Args:
        arguments: of the command line, without the program.
    """
    if arguments or sys.stdin is None:
        return False
    try:
        return stat.S_ISFIFO(os.fstat(0).st_mode)
    except OSError:
        return False


def joining_from(place: str, within: float = WITHIN) -> Joining:
    """What the host says in this place.

    Args:
        place: `-` for standard input, or the path of a file with the line.
        within: seconds the line may take.

    Raises:
        StartError: it cannot be read, or what it says cannot be used.
    """
    from provider.lattice.host_data import parse_line
    from provider.lattice.joining import join

    return join(parse_line(_line(place, within)), os.environ)


def _line(place: str, within: float) -> bytes:
    try:
        if place == STANDARD_INPUT:
            if sys.stdin is None:
                raise StartError("error loading host data: standard input is closed")
            return read_line(0, within)
        # Without waiting for somebody at the other end of a named pipe; read_line does that.
        descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return read_line(descriptor, within)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StartError(
            f"error loading host data: cannot read {clip(place, 200)}: {error.strerror}"
        ) from None


def read_line(descriptor: int, within: float = WITHIN) -> bytes:
    """The first line, or all there is when it ends without one.

    Args:
        descriptor: of a pipe or a file, read no further than what came with the line's end.
        within: seconds it may take.

    Raises:
        StartError: it did not come, or is too long.
        OSError: it cannot be read.
    """
    end = time.monotonic() + within
    line = bytearray()
    while b"\n" not in line:
        left = max(0.0, end - time.monotonic())
        if not select.select([descriptor], [], [], left)[0]:
            said = "only the beginning of a line" if line else "nothing"
            raise StartError(
                f"error loading host data: {said} came within {within:g} s; a host writes one line "
                "to standard input (for a provider without a host see provider run --help)"
            )
        if len(line) > MOST:
            raise StartError(f"error loading host data: the line is longer than {MOST} bytes")
        read = os.read(descriptor, MOST + 1 - len(line))
        if not read:
            break
        line += read
    return bytes(line.partition(b"\n")[0])
