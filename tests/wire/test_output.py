"""Printed lines: any bytes are a line, and a mark that is not well-formed is text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.wire.output import MARK, unmark


@given(
    st.integers(0, 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=80),
)
def test_a_marked_line_names_its_call(number, text):
    assert unmark(b"%b%d %b" % (MARK, number, text.encode())) == (number, text)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", (0, "")),
        (b"plain", (0, "plain")),
        (b"12 apples", (0, "12 apples")),
        (b"\x1e12 ", (12, "")),
        (b"\x1e12  two spaces", (12, " two spaces")),
        (b"\x1e0 before any call", (0, "before any call")),
        (b"\x1e12 \x1e13 twice", (12, "\x1e13 twice")),
        (b"\x1e12", (0, "\x1e12")),
        (b"\x1e", (0, "\x1e")),
        (b"\x1e ", (0, "\x1e ")),
        (b"\x1e-1 x", (0, "\x1e-1 x")),
        (b"\x1e+1 x", (0, "\x1e+1 x")),
        (b"\x1e1_0 x", (0, "\x1e1_0 x")),
        (b"\x1e1.0 x", (0, "\x1e1.0 x")),
        ("\x1e\u0661 x".encode(), (0, "\x1e\u0661 x")),
        (b"\x1e12\tx", (0, "\x1e12\tx")),
        (b" \x1e12 x", (0, " \x1e12 x")),
        (b"\x1e" + b"9" * 25 + b" x", (0, "\x1e" + "9" * 25 + " x")),
        (b"\x1e" + b"9" * 10_000 + b" x", (0, "\x1e" + "9" * 10_000 + " x")),
        (b"\x1e7 caf\xe9", (7, "caf\ufffd")),
        (b"\xff\xfe", (0, "\ufffd\ufffd")),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_other_lines_are_text(line, said):
    assert unmark(line) == said


@given(st.binary(max_size=60) | st.binary(max_size=30).map(lambda rest: MARK + rest))
def test_any_bytes_are_a_line(line):
    number, text = unmark(line)
    assert 0 <= number < 10**20
    assert text.encode("utf-8") or not text
