"""What docs/testing.md says of fuzzing is what there is, and its commands do what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
from importlib.util import find_spec

import pytest

from tests.conftest import clean_environment
from tests.documents import ROOT, blocks
from tests.fuzz import target

DOCUMENT = ROOT / "docs" / "testing.md"
NO_PIP = ("-o", ".venv/.installed", "-o", ".venv/.installed-dev")
"""Flags of make: what is installed is what there is, while tests run in it."""


def test_all_targets_are_named():
    about, ran = DOCUMENT.read_text().split("| target | inputs |")
    rows = [line for line in about.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([a-z]+\.\w+)`", row.split("|")[1])]
    known = {each.name for each in target.every()}
    assert sorted(named) == sorted(known)
    assert set(re.findall(r"(?m)^\| `([^`]+)`", ran)) <= known


@pytest.mark.long
@pytest.mark.skipif(find_spec("atheris") is None, reason="there is no atheris for this platform")
def test_targets_are_fuzzed_as_it_is_written_there(tmp_path):
    lines = [line for language, text in blocks(DOCUMENT) for line in text.splitlines()]
    (command,) = [line for line in lines if "FUZZ_TARGETS" in line]
    make, *arguments = shlex.split(command)
    done = subprocess.run(
        [make, *NO_PIP, *arguments, f"FUZZ_FOLDER={tmp_path}"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\n[0-9]+ inputs of 2 targets, 0 found something, seed 7\n", done.stdout)
    assert (tmp_path / "wire.cbor" / "corpus").is_dir()
