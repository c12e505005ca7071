"""What functions say of how far they are: the newest, now and then, and nobody waits for it."""

from __future__ import annotations

import os
import socket
import time

import pytest

from provider.wire.advance import advance, read_advance
from provider.wire.frames import FrameReader, FrameType
from provider.wire.progress import Progress, new_memory
from provider.worker.answers import Answers
from provider.worker.reports import PAUSE, REMEMBERED, Reports


@pytest.fixture
def sent():
    return []


@pytest.fixture
def reports(sent):
    return Reports(lambda data: sent.append(data) or True)


def read(data):
    return [
        (kind, number, read_advance(body)["done"])
        for kind, number, body in FrameReader().feed(data)
    ]


def say(reports, number, *values):
    for value in values:
        reports.report(number, advance(value))


def test_the_first_word_goes_at_once_and_of_the_next_ones_the_newest(reports, sent):
    say(reports, 7, 1, 2, 3)
    assert read(b"".join(sent)) == [(FrameType.PROGRESS, 7, 1)]
    while len(sent) < 2:
        reports.remind()
    assert read(sent[1]) == [(FrameType.PROGRESS, 7, 3)]
    reports.remind()
    assert len(sent) == 2
    assert reports.last(7) == b""


def test_ten_words_a_second_leave_however_many_are_said(reports, sent):
    began = time.monotonic()
    said = 0
    while time.monotonic() - began < 3 * PAUSE or said <= 20:
        say(reports, 1, said)
        said += 1
    most = (time.monotonic() - began) / PAUSE + 1
    assert 2 <= len(sent) <= most


def test_the_last_word_goes_before_the_end(reports, sent):
    say(reports, 7, 1, 2, 3)
    assert read(reports.last(7)) == [(FrameType.PROGRESS, 7, 3)]
    assert reports.last(7) == b""
    say(reports, 7, 4)  # from a thread that the call left behind; nobody minds
    assert len(sent) == 2


def test_calls_do_not_wait_for_each_other(reports, sent):
    for number in range(1, 4):
        say(reports, number, number)
    assert [done for data in sent for _, _, done in read(data)] == [1, 2, 3]


def test_what_finds_the_link_busy_is_sent_later():
    busy, sent = [True], []
    reports = Reports(lambda data: not busy[0] and (sent.append(data) or True))
    say(reports, 1, 1, 2)
    reports.remind()
    assert sent == []
    busy[0] = False
    reports.remind()
    assert read(sent[0]) == [(FrameType.PROGRESS, 1, 2)]


def test_calls_that_end_without_a_word_leave_nothing_that_grows(reports, sent):
    for number in range(10 * REMEMBERED):
        say(reports, number, 1, 2)
    assert len(vars(reports)["_sent"]) <= REMEMBERED
    assert len(vars(reports)["_kept"]) <= REMEMBERED


def test_a_forked_child_says_nothing(reports, sent):
    child = os.fork()
    if not child:
        try:
            say(reports, 1, 1)
        finally:  # whatever comes, it must not go on with the tests
            os._exit(len(sent))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def link():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_full_link_is_not_waited_for(link):
    ours, theirs = link
    memory = new_memory()
    progress = Progress(memory)
    os.close(memory)
    reports = Reports(Answers(theirs, progress).offer)
    say(reports, 1, 1)
    assert read(ours.recv(4096)) == [(FrameType.PROGRESS, 1, 1)]
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            theirs.send(b"\0" * 4096)
    theirs.setblocking(True)
    say(reports, 2, 1)  # would wait for ever
    assert reports.last(2) != b""
    ours.close()
    say(reports, 3, 1)  # the host is gone; others tell
    assert reports.last(3) == b""
    progress.close()
