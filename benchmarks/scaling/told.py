"""What was found about growth, as tables, as a map, and in a document.

The rule of this file: a figure stands beside what was asked of it, and the verdict beside both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measuring.aims import Aim

_BLOCK = re.compile(r"<!-- growth: aims -->\n.*?<!-- growth: end -->", re.DOTALL)


@dataclass(frozen=True)
class Told:
    """What came of one measurement.

    Attributes:
        title: what there was more and more of.
        lines: of a table.
        aims: held or missed.
    """

    title: str
    lines: list[str]
    aims: list[Aim]


def aims(told: Sequence[Told]) -> str:
    """All of them as a table in Markdown."""
    lines = ["| aim | asked | found | |", "|---|--:|--:|---|"]
    lines += [
        f"| {aim.text} | {aim.asked} | {aim.found} | {aim.verdict} |"
        for each in told
        for aim in each.aims
    ]
    return "\n".join(lines)


def as_map(told: Sequence[Told]) -> dict[str, Any]:
    """Everything, ready for JSON."""
    return {
        each.title: {
            "lines": each.lines,
            "aims": [
                {"text": aim.text, "bound": aim.bound, "figure": aim.figure, "verdict": aim.verdict}
                for aim in each.aims
            ],
        }
        for each in told
    }


def renewed(document: str, told: Sequence[Told], about: str) -> str:
    """The document with the aims in its block."""
    block = f"<!-- growth: aims -->\n{aims(told)}\n\n{about}\n<!-- growth: end -->"
    return _BLOCK.sub(lambda _: block, document)
