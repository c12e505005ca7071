"""docs/architecture.md: how long a worker may take is what the code gives it."""

from __future__ import annotations

import re

import pytest

from provider.host import health, link, overtime
from tests.documents import ROOT

ROWS = {
    cells[0].strip(): " |".join(cells[1:])
    for line in (ROOT / "docs" / "architecture.md").read_text("utf-8").splitlines()
    if len(cells := line.strip("|").split("|")) == 3 and line.startswith("|")
}


@pytest.mark.parametrize(
    ("begins", "seconds"),
    [
        ("a call past its deadline", [overtime.GRACE]),
        ("a stream that is told to stop", [overtime.STOP_GRACE]),
        ("beginning a call that has expired", [overtime.STALL_GRACE]),
        ("saying how it is", [health.LONGEST, health.MOMENT, health.FRESH]),
        ("leaving after its last call", [link.LEAVE_GRACE]),
        ("ending after it has closed its link", [link.LINK_GRACE]),
    ],
)
def test_what_a_worker_may_take(begins, seconds):
    (told,) = [rest for what, rest in ROWS.items() if what.startswith(begins)]
    assert [float(number) for number in re.findall(r"([\d.]+) s\b", told)] == seconds
