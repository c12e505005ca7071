"""Each printed line knows the call that wrote it, and no print can do harm."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading

import pytest

from provider.wire.output import unmark
from provider.worker.prints import LONGEST, MOST_BEGUN, _MarkedLines
from tests.conftest import PATIENCE


class Output:
    """A marked stream over a pipe, and what came out of it."""

    def __init__(self):
        self._read, self._write = os.pipe()
        self.number = 0
        self.raw = _MarkedLines(self._write, lambda: self.number)
        self.stream = io.TextIOWrapper(
            self.raw, "utf-8", "backslashreplace", line_buffering=True, write_through=True
        )

    def came(self):
        """All that was written, as the host takes it apart: (call, text) of each line."""
        os.set_blocking(self._read, False)
        data = b""
        try:
            while more := os.read(self._read, 1 << 16):
                data += more
        except BlockingIOError:
            pass
        *lines, rest = data.split(b"\n")
        return [unmark(line) for line in [*lines, *([rest] if rest else [])]]

    def close(self):
        self.stream.close()
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def output():
    opened = Output()
    yield opened
    opened.close()


def test_each_line_carries_its_call(output):
    print("before", file=output.stream)
    output.number = 7
    print("one\ntwo", file=output.stream)
    assert output.came() == [(0, "before"), (7, "one"), (7, "two")]


def test_the_pieces_of_a_line_are_one_line(output):
    output.number = 1
    print("a", 1, [2], sep="-", file=output.stream)
    assert output.came() == [(1, "a-1-[2]")]


def test_empty_lines_and_empty_writes_are_kept_apart(output):
    output.number = 1
    output.stream.write("")
    assert output.came() == []
    print(file=output.stream)
    print("\n", file=output.stream)
    assert output.came() == [(1, ""), (1, ""), (1, "")]


def test_returns_and_odd_line_ends_are_part_of_the_text(output):
    output.number = 1
    output.stream.write("10%\r20%\rdone\r\n\x0b\u2028x\n")
    assert output.came() == [(1, "10%\r20%\rdone\r"), (1, "\x0b\u2028x")]


def test_a_line_without_end_waits_for_its_end(output):
    output.number = 1
    print("half", end="", file=output.stream)
    assert output.came() == []
    assert output.raw.begun
    print(" done", file=output.stream)
    assert output.came() == [(1, "half done")]
    assert not output.raw.begun


def test_a_line_without_end_goes_out_with_its_call(output):
    output.number = 1
    print("no end", end="", file=output.stream)
    output.raw.end(1)
    output.raw.end(2)
    assert output.came() == [(1, "no end")]
    output.number = 2
    print("next", file=output.stream)
    assert output.came() == [(2, "next")]


def test_a_line_flushed_in_pieces_is_one_line_of_its_call(output):
    output.number = 1
    print("loading ", end="", flush=True, file=output.stream)
    print("... ", end="", flush=True, file=output.stream)
    print("done", file=output.stream)
    assert output.came() == [(1, "loading ... done")]


def test_flushed_pieces_of_two_calls_are_lines_of_their_own(output):
    for output.number in (1, 2, 1):
        print(f"by {output.number}", end="", flush=True, file=output.stream)
    assert output.came() == [(1, "by 1"), (2, "by 2"), (1, "by 1")]


def test_calls_that_overlap_do_not_write_into_each_others_lines(output):
    for piece in ("a", "b", "c"):
        for output.number in (1, 2):
            print(f"{piece}{output.number}", end="", file=output.stream)
    for output.number in (1, 2):
        print(file=output.stream)
    assert output.came() == [(1, "a1b1c1"), (2, "a2b2c2")]


def test_a_line_that_does_not_end_is_not_kept_for_ever(output):
    output.number = 3
    drained = []

    def drain():
        left = LONGEST + 11
        while left > 0:
            data = os.read(output._read, 1 << 16)
            drained.append(data)
            left -= len(data)

    reader = threading.Thread(target=drain)
    reader.start()
    print("x" * (LONGEST + 1), end="", file=output.stream)
    assert not output.raw.begun
    print(" and more", file=output.stream)
    reader.join(PATIENCE)
    assert b"".join(drained) == b"\x1e3 " + b"x" * (LONGEST + 1) + b" and more\n"


def test_what_nobody_ends_is_passed_on_before_there_is_too_much_of_it(output):
    for number in range(1, 3 * MOST_BEGUN):
        output.number = number
        print("dot", end="", file=output.stream)
        assert len(output.raw.begun) <= MOST_BEGUN
    assert output.came() == [(number, "dot") for number in range(1, 2 * MOST_BEGUN)]


def test_bytes_and_half_characters_can_be_written(output):
    output.stream.buffer.write(b"\xff raw\n")
    print("half \ud800", file=output.stream)
    assert output.came() == [(0, "\ufffd raw"), (0, "half \\ud800")]


def test_threads_lose_nothing(output):
    def chatter():
        for _ in range(200):
            print("x" * 20, file=output.stream)

    threads = [threading.Thread(target=chatter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    lines = output.came()
    assert sum(text.count("x") for _, text in lines) == 200 * 20 * 4


def test_it_is_what_libraries_expect_of_an_output(output):
    assert output.stream.writable()
    assert not output.stream.isatty()
    assert output.stream.fileno() == output._write
    output.raw.renew()
    assert not output.raw.begun


MARKED = """
import os, sys
from provider.worker.prints import Prints
number = 5
prints = Prints(lambda: number)
prints.mark_lines()
print("out")
print("error", file=sys.stderr)
print("left", end="")
if not os.fork():
    print("child")
    os._exit(0)
os.wait()
prints.end(5)
"""


def test_both_streams_are_marked_also_in_a_forked_child():
    done = subprocess.run([sys.executable, "-c", MARKED], capture_output=True, check=True)
    assert done.stdout == b"\x1e5 out\n\x1e5 child\n\x1e5 left\n"
    assert done.stderr == b"\x1e5 error\n"
