"""Inputs that are kept for each target: what it usually is, and what once found something."""

from __future__ import annotations

import pytest

from tests.fuzz import target
from tests.fuzz.quiet import quiet

MOST_BYTES = 512 * 1024
"""Bytes of all inputs together; they are for whoever looks into them."""

TARGETS = target.every()


@pytest.fixture(autouse=True)
def _quiet():
    with quiet():
        yield


@pytest.mark.parametrize("each", TARGETS, ids=[each.name for each in TARGETS])
def test_nothing_unexpected_comes_out(each):
    for path in sorted(each.corpus.iterdir()):
        try:
            target.bounded(each, path.read_bytes())
        except Exception as error:
            error.add_note(f"the input is {path}")
            raise
    for data in (b"", b"\0", b"\xff" * 300, bytes(range(256))):
        target.bounded(each, data)


def test_every_target_has_inputs_and_every_input_a_target():
    folders = {path.name for path in target.CORPUS.iterdir()}
    assert folders == {each.name for each in TARGETS}
    sizes = [path.stat().st_size for path in target.CORPUS.rglob("*") if path.is_file()]
    assert sum(sizes) < MOST_BYTES
    assert max(sizes) <= max(each.longest for each in TARGETS)
