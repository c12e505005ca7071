"""How far a stream is, on a terminal and off it."""

from __future__ import annotations

import io

import pytest

from provider.cli.progress import ProgressLine, written


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({"done": 3, "total": 10, "note": "reading"}, "3/10 (30 %) reading"),
        ({"done": 3, "total": None, "note": ""}, "3"),
        ({"done": 0.5, "total": 0, "note": ""}, "0.5/0"),
        ({"done": 11, "total": 10, "note": ""}, "11/10 (110 %)"),
        ({"done": 1, "total": None, "note": "a\x1b[2Jb\nc"}, "1 a [2Jb c"),
        ({"done": 1e300, "total": 1e-300, "note": ""}, "1e+300/1e-300 (inf %)"),
        ({}, "None"),
    ],
)
def test_a_word_is_one_line_and_no_command_to_a_terminal(told, text):
    assert written(told) == text


def test_a_terminal_has_one_line_of_it_which_goes_away(monkeypatch):
    monkeypatch.setenv("COLUMNS", "8")
    out = Terminal()
    line = ProgressLine(out)
    line.close()
    line.show({"done": 1, "total": 2})
    line.show({"done": 2, "total": 2, "note": "done"})
    line.close()
    line.close()
    assert out.getvalue() == "\r\x1b[K1/2 (50\r\x1b[K2/2 (10\r\x1b[K"


@pytest.mark.parametrize("out", [io.StringIO, Terminal])
def test_lines_are_lines_wherever_they_go(out):
    made = out()
    line = ProgressLine(made, lines=True)
    line.show({"done": 1})
    line.show({"done": 2})
    line.close()
    assert made.getvalue() == "1\n2\n"


def test_elsewhere_nothing_is_shown():
    out = io.StringIO()
    line = ProgressLine(out)
    line.show({"done": 1})
    line.close()
    assert out.getvalue() == ""
