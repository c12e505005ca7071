"""What workers print, from bytes to log lines."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os

from hypothesis import given
from hypothesis import strategies as st

from provider.host.output import LONGEST_LINE, Lines, Output


def fed(*pieces):
    lines = Lines()
    return [line for piece in (*pieces, b"") for line in lines.feed(piece)]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**18),
            st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x1e")),
        )
    ),
    st.lists(st.integers(0, 400)),
)
def test_lines_are_the_same_wherever_the_bytes_were_split(lines, cuts):
    data = b"".join(b"\x1e%d %b\n" % (number, text.encode()) for number, text in lines)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    assert fed(*filter(None, pieces)) == lines


@given(st.binary(), st.binary())
def test_any_bytes_are_lines(first, second):
    for number, text in fed(first, second):
        assert number >= 0
        text.encode()


def test_a_line_without_an_end_is_told_at_the_end():
    assert fed(b"one\ntw", b"o") == [(0, "one"), (0, "two")]
    assert fed(b"one\r\n\r\n") == [(0, "one"), (0, "")]


def test_a_very_long_line_is_cut_and_all_of_it_knows_its_call():
    piece = b"x" * LONGEST_LINE
    told = fed(b"\x1e7 " + piece, piece, b"y\n", b"next\n")
    assert [number for number, _ in told] == [7, 7, 0]
    assert "".join(text for number, text in told if number) == "x" * 2 * LONGEST_LINE + "y"


def test_the_end_of_a_cut_line_is_no_line_of_its_own():
    assert len(fed(b"x" * (LONGEST_LINE + 1), b"\n", b"next\n")) == 2


async def test_a_flood_of_lines_leaves_the_loop_to_others():
    told = []
    output = Output(lambda *line: told.append(line))
    ours, pipe = os.pipe()
    await output.attach(ours)
    os.write(pipe, b"\n" * LONGEST_LINE)
    os.close(pipe)
    turns = 0
    while len(told) < LONGEST_LINE:
        await asyncio.sleep(0)
        turns += 1
    assert turns > LONGEST_LINE / 200
    await output.end(5)


async def test_a_pipe_somebody_holds_open_is_let_go():
    told = []
    output = Output(lambda *line: told.append(line))
    ours, pipe = os.pipe()
    await output.attach(ours)
    os.write(pipe, b"all of it\nand the rest")
    while not told:
        await asyncio.sleep(0)
    await output.end(0.01)
    assert told == [(0, "all of it"), (0, "and the rest")]
    with contextlib.suppress(BrokenPipeError):
        os.write(pipe, b"x")
        raise AssertionError("the pipe is still read")
    os.close(pipe)


async def test_an_output_that_was_never_opened_ends():
    await Output(lambda *_: None).end()
