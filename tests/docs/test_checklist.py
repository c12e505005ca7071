"""Checklists of the documents name tests; a row whose test is not there would promise nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LATTICE, ASKED = ROOT / "docs" / "wasmcloud.md", ROOT / "docs" / "asked.md"


def rows(document: Path, heading: str):
    """The rows of a checklist: what is promised, and the tests named beside it."""
    section = document.read_text("utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 2 and not re.fullmatch(r"-+", cells[0]):
            yield cells[0], re.findall(r"`([\w/]+)::(\w+)`", cells[1])


LISTS = {
    "what hosts and actors rely on": (list(rows(LATTICE, "The checklist")), 40),
    "what users have asked for": (list(rows(ASKED, "The checklist")), 65),
    "traps": (list(rows(ASKED, "Traps of what it stands on")), 20),
}
ROWS = [row for found, _ in LISTS.values() for row in found if row[0] != "what"]


@pytest.mark.parametrize("name", LISTS)
def test_there_is_a_checklist(name):
    found, least = LISTS[name]
    assert len(found) > least


@pytest.mark.parametrize(("what", "tests"), ROWS, ids=[what[:40] for what, _ in ROWS])
def test_every_row_has_a_test(what, tests):
    assert tests, what
    for file, name in tests:
        text = (ROOT / "tests" / f"{file}.py").read_text("utf-8")
        assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), f"{file}::{name}"
