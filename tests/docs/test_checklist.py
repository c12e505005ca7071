"""The conformance checklist names tests; a row whose test is not there would promise nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "wasmcloud.md"


def rows():
    """The rows of the checklist: what is promised, and the tests named beside it."""
    section = DOCUMENT.read_text("utf-8").partition("## The checklist")[2].partition("\n## ")[0]
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 2 and not re.fullmatch(r"-+", cells[0]):
            yield cells[0], re.findall(r"`([\w/]+)::(\w+)`", cells[1])


ROWS = [row for row in rows() if row[0] != "what"]


def test_there_is_a_checklist():
    assert len(ROWS) > 40


@pytest.mark.parametrize(("what", "tests"), ROWS, ids=[what[:40] for what, _ in ROWS])
def test_every_row_has_a_test(what, tests):
    assert tests, what
    for file, name in tests:
        text = (ROOT / "tests" / f"{file}.py").read_text("utf-8")
        assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), f"{file}::{name}"
