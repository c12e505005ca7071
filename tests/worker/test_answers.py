"""Answers are held together, and never held for long."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from provider.wire.progress import ROOM, Progress, new_memory
from provider.worker.answers import Answers, LargeAnswer
from tests.conftest import PATIENCE


@pytest.fixture
def link():
    """Both ends of a link on which every system call is one packet."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(PATIENCE)
    with contextlib.closing(ours), contextlib.closing(theirs):
        yield ours, theirs


@pytest.fixture
def progress():
    memory = new_memory()
    progress = Progress(memory)
    yield progress
    progress.close()
    os.close(memory)


def nothing_came(end):
    end.setblocking(False)
    with pytest.raises(BlockingIOError):
        end.recv(1)
    end.settimeout(PATIENCE)


def test_what_is_held_goes_out_as_one(link, progress):
    host, worker = link
    answers = Answers(worker, progress)
    for answer in (b"a", b"b", b"c"):
        answers.hold(answer)
    nothing_came(host)
    answers.flush()
    assert host.recv(99) == b"abc"
    answers.flush()
    nothing_came(host)


def test_a_single_answer_goes_out_as_it_is(link, progress):
    host, worker = link
    answers = Answers(worker, progress)
    answers.hold(b"alone")
    answers.flush()
    assert host.recv(99) == b"alone"


def test_send_goes_out_at_once_after_what_is_held(link, progress):
    host, worker = link
    answers = Answers(worker, progress)
    answers.hold(b"first ")
    answers.send(b"second")
    came = b""
    while len(came) < len(b"first second"):
        came += host.recv(99)
    assert came == b"first second"


def test_what_is_held_is_seen_from_outside_until_it_is_sent(link, progress):
    _, worker = link
    answers = Answers(worker, progress)
    answers.hold(b"one")
    answers.hold(b"two")
    assert progress.held() == b"onetwo"
    answers.flush()
    assert progress.held() == b""


def test_what_does_not_fit_sends_what_is_held(link, progress):
    host, worker = link
    answers = Answers(worker, progress)
    many = ROOM // 10_000
    for _ in range(many):
        answers.hold(bytes(10_000))
    assert len(progress.held()) == many * 10_000
    reader = threading.Thread(target=lambda: [host.recv(1 << 20) for _ in range(2)])
    reader.start()
    answers.hold(bytes(10_000))
    assert progress.held() == b""
    answers.send(b"end")
    reader.join(PATIENCE)


def test_answers_of_calls_that_began_together_never_take_a_place_twice(progress):
    host, worker = socket.socketpair()
    host.settimeout(PATIENCE)
    with host, worker:
        answers = Answers(worker, progress)
        together = [bytes((65 + number,)) * (ROOM // 5) for number in range(8)]
        answers.hold(b"before")
        answers.hold_all(together)
        # As a host that looked before, and is still copying.
        assert bytes(progress.room[:6]) == b"before"
        answers.hold_all([b"x", b"y"])
        answers.flush()
        came = b""
        while len(came) < 8 * (ROOM // 5) + 8:
            came += host.recv(1 << 20)
        assert came == b"before" + b"".join(together) + b"xy"


def test_since_is_when_the_oldest_was_held(link, progress):
    _, worker = link
    answers = Answers(worker, progress)
    before = time.monotonic()
    answers.hold(b"a")
    since = answers.since
    answers.hold(b"b")
    assert before <= answers.since == since <= time.monotonic()


def test_a_large_answer_is_not_held(progress):
    host, worker = socket.socketpair()
    with contextlib.closing(host), contextlib.closing(worker):
        answers = Answers(worker, progress)
        sender = threading.Thread(target=answers.hold, args=[b"x" * (1 << 20)])
        sender.start()
        host.settimeout(PATIENCE)
        left = 1 << 20
        while left:
            left -= len(host.recv(left))
        sender.join(PATIENCE)


def test_threads_lose_no_answer(link, progress):
    host, worker = link
    answers = Answers(worker, progress)
    came = bytearray()

    def read():
        while came.count(b" ") < 600:
            came.extend(host.recv(1 << 16))

    def send():
        for number in range(200):
            answers.send(b"b%03d " % number)

    def flush():
        while reading.is_alive():
            answers.flush()

    reading, others = threading.Thread(target=read), [send, flush]
    others = [threading.Thread(target=other) for other in others]
    reading.start()
    for thread in others:
        thread.start()
    for number in range(400):  # only the thread it belongs to holds
        (answers.send if number % 7 == 0 else answers.hold)(b"a%03d " % number)
        if number % 31 == 0:
            answers.flush()
    answers.flush()
    for thread in (reading, *others):
        thread.join(PATIENCE)
        assert not thread.is_alive()
    for name, count in ((b"a", 400), (b"b", 200)):
        mine = [answer[1:] for answer in came.split() if answer.startswith(name)]
        assert mine == [b"%03d" % number for number in range(count)]


def test_what_another_thread_has_sent_is_not_sent_again(link, progress):
    host, worker = link
    answers = Answers(worker, progress)
    answers.hold(b"one ")
    other = threading.Thread(target=answers.flush)
    other.start()
    other.join(PATIENCE)
    assert host.recv(99) == b"one "
    assert progress.held() == b"one "  # the host, which has had it, minds it no more
    answers.hold(b"two ")
    answers.flush()
    assert host.recv(99) == b"two "
    assert progress.held() == b""
    answers.hold(b"three")
    answers.flush()
    assert host.recv(99) == b"three"


ATTENDED = """
import socket, sys, threading
from provider.wire.progress import Progress, new_memory
from provider.worker.answers import Answers, LargeAnswer
link = socket.socket(fileno=int(sys.argv[1]))
answers = Answers(link, Progress(new_memory()))
if "held" in sys.argv:
    answers.hold(b"left behind")
answers.attend(lambda: False)
print("ready", flush=True)
if "closed" in sys.argv:
    link.close()
threading.Event().wait()
"""


@pytest.mark.parametrize("how", ["idle", "held", "closed"])
def test_the_attendant_sends_what_nobody_flushes_and_leaves_when_the_link_is_gone(how):
    host, worker = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-c", ATTENDED, str(worker.fileno()), how],
        pass_fds=[worker.fileno()],
        stdout=subprocess.PIPE,
    )
    worker.close()
    try:
        if how != "closed":
            assert process.stdout.readline() == b"ready\n"
            if how == "held":
                host.settimeout(PATIENCE)
                assert host.recv(99) == b"left behind"
            host.close()
        assert process.wait(PATIENCE) == 1
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        host.close()


def signalled(_number, _frame):
    """Python handles it, and the system call it came into is cut short."""


def test_a_large_answer_goes_out_in_its_parts_after_what_was_held(progress):
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    with ours, theirs:
        answers = Answers(theirs, progress)
        answer = LargeAnswer(b"head:", bytes(range(256)) * 4096)
        got = []
        reader = threading.Thread(target=lambda: got.append(_all_of(ours, 4 + len(answer))))
        reader.start()
        answers.hold(b"held")
        answers.hold(answer)
        reader.join()
    assert got == [b"held" + bytes(answer)]


@pytest.mark.parametrize("read_first", [1, 3, 70_000])
def test_a_large_answer_that_a_signal_cuts_short_goes_out_whole(progress, read_first):
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    before = signal.signal(signal.SIGUSR1, signalled)
    try:
        with ours, theirs:
            answer = LargeAnswer(b"head:", os.urandom(300_000))
            main, got = threading.get_ident(), []

            def read():
                # It stands in the middle of the system call: some was taken, and no more fits.
                got.append(_all_of(ours, read_first))
                signal.pthread_kill(main, signal.SIGUSR1)
                got.append(_all_of(ours, len(answer) - read_first))

            reader = threading.Thread(target=read)
            reader.start()
            Answers(theirs, progress).send(answer)
            reader.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert b"".join(got) == bytes(answer)


def _all_of(end, size):
    data = bytearray()
    while len(data) < size:
        data += end.recv(size - len(data))
    return bytes(data)
