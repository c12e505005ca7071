"""How a printed line says which call wrote it, on the pipes from worker to host.

The rule of this file: any bytes are a line. A mark that is not well-formed is part of the text.
"""

from __future__ import annotations

MARK = b"\x1e"
"""Starts a line that says which call wrote it: the mark, decimal digits, a space."""


def unmark(line: bytes) -> tuple[int, str]:
    """The call a line belongs to, 0 for none, and its text.

    Args:
        line: one line without its end.
    """
    number = 0
    if line.startswith(MARK):
        head, space, rest = line.partition(b" ")
        if space and head[1:].isdigit() and len(head) <= len(str(2**64)):
            number, line = int(head[1:]), rest
    return number, line.decode("utf-8", "replace")
