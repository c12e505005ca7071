"""What others have said is fit for a terminal, whatever it is."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from provider.cli import plain

HOSTILE = "a\x1b[2J\x9b1m\u202e\u2028\x85\r\n\x00{end"


def test_a_line_is_one_line():
    assert plain.line(HOSTILE) == r"a\x1b[2J\x9b1m\u202e\u2028\x85\r\n\x00{end"
    assert plain.line("grüße ☃ 𝄞") == "grüße ☃ 𝄞"


def test_lines_stay_lines_and_none_looks_like_one_of_the_log():
    text = 'why\n{"event": "ready"}\n2026-01-01 [info] ready\n  hint\nor so\x1b'
    assert plain.lines(text).split("\n") == [
        "why",
        '| {"event": "ready"}',
        "| 2026-01-01 [info] ready",
        "  hint",
        r"or so\x1b",
    ]


@given(st.text())
def test_any_text_is_printable(text):
    assert plain.line(text).isprintable()
    shown = plain.lines(f"error: {text}").split("\n")
    assert all(line.isprintable() for line in shown)
    assert not any(re.match(r"\s*[{\d]", line) for line in shown[1:])


@given(st.recursive(st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_json_means_the_same(value):
    shown = plain.json(json.dumps(value, ensure_ascii=False))
    assert shown.isprintable()
    assert json.loads(shown) == value
