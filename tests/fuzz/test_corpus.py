"""Inputs that are kept for each target: what it usually is, and what once found something."""

from __future__ import annotations

import pytest

from tests.fuzz import target
from tests.fuzz.quiet import quiet

MOST_BYTES = 512 * 1024
"""Bytes of all inputs together; they are for whoever looks into them."""

TARGETS = target.every()
MUCH = 256 * 1024
"""Bytes of what is repeated."""
REPEATED = [
    *(b"[", b'{"a":', b"\x81", b"\xa1\x61a", b"\xc1", b"\x9f", b"\x91", b"\x12\x00", b"\x3a\x00"),
    *(
        b"a",
        b"9",
        b"\xff",
        b"\0",
        b".",
        b"=",
        b"a: b\r\n",
        b"\\u0041",
        b"%41",
        b"&a=b",
        b";q=1",
        b'"',
    ),
    *(b"GET / HTTP/1.1\r\n\r\n", b"--b\r\n", b"node {", b"a{}", b"::", b"\x1e1 "),
]


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


@pytest.mark.long
@pytest.mark.parametrize("each", TARGETS, ids=[each.name for each in TARGETS])
def test_much_of_the_same_takes_no_longer_than_it_may(each):
    for piece in REPEATED:
        target.bounded(each, b"\xff" + piece * (MUCH // len(piece)))


def test_every_target_has_inputs_and_every_input_a_target():
    folders = {path.name for path in target.CORPUS.iterdir()}
    assert folders == {each.name for each in TARGETS}
    sizes = [path.stat().st_size for path in target.CORPUS.rglob("*") if path.is_file()]
    assert sum(sizes) < MOST_BYTES
    assert max(sizes) <= max(each.longest for each in TARGETS)
