"""How far a stream is, for whoever watches the command that waits for it.

The rule of this file: it goes to standard error, and a terminal has one line of it, which is gone
before anything else is written.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLEAR = "\r\x1b[K"


class ProgressLine:
    """Shows the newest word.

    Args:
        out: where to; nothing is shown where that is no terminal.
        lines: whether each word is a line of its own, wherever it goes.
    """

    def __init__(self, out: TextIO, *, lines: bool = False) -> None:
        self._out = out
        self._lines = lines
        self._is_terminal = not lines and out.isatty()
        self._shown = False

    def show(self, told: Mapping[str, Any]) -> None:
        """Show a word, as `client.Python.stream` has it."""
        if self._lines:
            self._out.write(written(told) + "\n")
            self._out.flush()
        elif self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            self._out.write(_CLEAR + written(told)[:width])
            self._out.flush()
            self._shown = True

    def close(self) -> None:
        """Take the line away; the next word makes another."""
        if self._shown:
            self._out.write(_CLEAR)
            self._out.flush()
            self._shown = False


def written(told: Mapping[str, Any]) -> str:
    """A word on one line, such as `3/10 (30 %) reading`."""
    done, total, note = told.get("done"), told.get("total"), str(told.get("note") or "")
    text = str(done) if total is None else f"{done}/{total}"
    if isinstance(done, int | float) and isinstance(total, int | float) and total > 0:
        text += f" ({100 * done / total:.0f} %)"
    # What a function writes is no command to a terminal.
    note = "".join(character if character.isprintable() else " " for character in note)
    return f"{text} {note}".rstrip()
