"""Reading the line of a host: from whatever it comes through, in whatever pieces, and no more."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from provider.cli.host_line import MOST, joining_from, read_line
from provider.errors import StartError

SHORT = 0.2
"""Seconds in which nothing can come, because nobody writes."""


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    ends = [reading, writing]
    yield ends
    for end in ends:
        os.close(end)


def test_a_line_is_read_while_the_other_end_stays_open(pipe):
    os.write(pipe[1], b"the line\r\n")
    assert read_line(pipe[0]) == b"the line\r"


def test_a_line_may_come_in_pieces(pipe):
    def write() -> None:
        for piece in (b"a", b"b", b"c\nd"):
            os.write(pipe[1], piece)
            read.wait(0.05)

    read = threading.Event()
    writer = threading.Thread(target=write)
    writer.start()
    assert read_line(pipe[0]) == b"abc"
    writer.join()


def test_a_line_may_end_with_the_pipe(pipe):
    os.write(pipe[1], b"the line")
    os.close(pipe.pop())
    assert read_line(pipe[0]) == b"the line"
    assert read_line(pipe[0]) == b""


@pytest.mark.parametrize(("said", "named"), [(b"", "nothing came"), (b"s3cret", "the beginning")])
def test_it_does_not_wait_for_ever(pipe, said, named):
    os.write(pipe[1], said)
    with pytest.raises(StartError, match=named) as raised:
        read_line(pipe[0], SHORT)
    assert "provider run --help" in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_a_line_may_be_long_but_not_longer(tmp_path):
    file = tmp_path / "line"
    for length, end in ((MOST - 1, b"\nmore"), (MOST, b"\nmore"), (MOST, b"")):
        file.write_bytes(b"x" * length + end)
        with file.open("rb", buffering=0) as opened:
            assert len(read_line(opened.fileno())) == length
    for end in (b"\n", b""):
        file.write_bytes(b"x" * (MOST + 1) + end)
        with file.open("rb", buffering=0) as opened:
            with pytest.raises(StartError, match=f"longer than {MOST} bytes"):
                read_line(opened.fileno())
            assert opened.tell() == MOST + 1


def test_a_line_without_an_end_is_not_read_for_ever():
    with (
        open("/dev/zero", "rb", buffering=0) as endless,
        pytest.raises(StartError, match="longer than"),
    ):
        read_line(endless.fileno())


def test_a_file_that_cannot_be_read(tmp_path):
    for path, reason in ((tmp_path / "absent", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(StartError, match=f"cannot read {path}: {reason}"):
            joining_from(str(path))


def test_a_named_pipe_with_nobody_at_its_other_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StartError, match="nothing came"):
        joining_from(str(tmp_path / "pipe"), SHORT)


KINDS = """
import os, sys
from provider.cli.host_line import launched

pipe, terminal = os.pipe(), os.openpty()
for kind, descriptor in (
    ("pipe", pipe[0]),
    ("terminal", terminal[1]),
    ("file", os.open(sys.argv[0], os.O_RDONLY)),
    ("nothing", os.open(os.devnull, os.O_RDONLY)),
):
    os.dup2(descriptor, 0)
    print(kind, [launched(arguments) for arguments in ([], ["run"], [""])])
os.close(0)
print("closed", launched([]))
"""


def test_a_pipe_and_no_arguments_are_a_launch(tmp_path):
    file = tmp_path / "kinds.py"
    file.write_text(KINDS)
    done = subprocess.run(
        [sys.executable, file],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "pipe [True, False, False]",
        "terminal [False, False, False]",
        "file [False, False, False]",
        "nothing [False, False, False]",
        "closed False",
    ]


def test_a_standard_input_closed_from_the_beginning():
    code = (
        "from provider.cli.host_line import joining_from, launched\n"
        "print(launched([]))\n"
        "joining_from('-')"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" <&-', sys.executable, code],
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert done.stdout == b"False\n"
    assert b"StartError: error loading host data: standard input is closed" in done.stderr
