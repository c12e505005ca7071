"""The documents as data: their fenced blocks, and the commands in them with what they print."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("dispatch_examples/*/README.md")]
)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path) -> list[tuple[str, str]]:
    """The language and the text of each block."""
    return _BLOCK.findall(document.read_text("utf-8"))


def commands_of(block: str) -> list[tuple[str, list[str]]]:
    """Each command of a console block, with the lines it must print."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def commands(document: Path) -> list[tuple[str, list[str]]]:
    """Each command of a document, with the lines it must print."""
    return [
        command
        for language, text in blocks(document)
        if language == "console"
        for command in commands_of(text)
    ]
