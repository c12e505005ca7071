"""What others have said, made fit for a terminal: names, errors and results of a provider far away.

The rule of this file: no character of it steers a terminal, turns the direction of writing, or
begins a line that could be taken for one of the log. What was asked for as it is (`--raw`) does not
come here.
"""

from __future__ import annotations

import re


def line(text: str) -> str:
    """The text on one line: whatever is not printable is spelt out, the end of a line too."""
    return text if text.isprintable() else "".join(map(_spelt, text))


def lines(text: str) -> str:
    """The text on its lines; those after the first that look like one of the log are marked."""
    spelt = "\n".join(map(line, text.split("\n")))
    return re.sub(r"\n(?=\s*[{\d])", "\n| ", spelt)


def json(text: str) -> str:
    """JSON on one line: what is not printable is escaped, which changes nothing of the value."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _spelt(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    pair = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{pair[at : at + 4]}" for at in range(0, len(pair), 4))
