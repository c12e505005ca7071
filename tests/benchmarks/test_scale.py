"""How far it reaches is measured, simulated and checked in one run, which writes the document."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from benchmarks.scaling.blocks import BLOCKS, Checked, renewed
from benchmarks.scaling.load import Measured
from benchmarks.scaling.simulation import Played
from tests.documents import ROOT

BLOCK = "before\n<!-- scale: {} -->\nold\n<!-- scale: end -->\nafter\n"


def test_errors_are_those_of_the_prediction():
    checked = Checked(
        "one",
        Played(900.0, {"p50": 3000.0, "p99": 4000.0}, {"host": 6.0, "worker": 5.0, "nats": 3.0}),
        Measured(1000.0, {"p50": 2000.0, "p99": 8000.0}, {"host": 6.0, "worker": 4.0, "nats": 9.0}),
    )
    errors = [round(checked.error(name), 3) for name in checked.pairs]
    assert errors == [0.1, -0.1, 0.5, -0.5]


def test_a_block_nobody_makes():
    with pytest.raises(KeyError):
        renewed(BLOCK.format("unknown"), None)


def test_the_document_has_every_block():
    text = (ROOT / "docs" / "scale.md").read_text("utf-8")
    assert set(re.findall(r"<!-- scale: (\w+) -->", text)) == {*BLOCKS, "end"}


@pytest.mark.long
def test_a_short_run_renews_a_document(tmp_path):
    document = tmp_path / "scale.md"
    document.write_text("".join(BLOCK.format(name) for name in BLOCKS))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.scale", "--rounds", "1", "--seconds", "0.2"),
            *("--markdown", document),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr
    text = document.read_text()
    assert "old" not in text
    assert text.count("before\n") == text.count("after\n") == len(BLOCKS)
    assert "| 1 provider, 64 in flight |" in text
    assert re.search(r"^\| 1000000 \| 1 ms \|", text, re.MULTILINE)
    assert re.search(r"a call whose caller and provider are at the same one", text)
