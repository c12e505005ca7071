"""Frames from the host: those about streams are heeded when they are read, all else in its turn."""

from __future__ import annotations

import math
import os
import socket
import threading

import pytest

from provider.wire.frames import Encoding, FrameError, FrameType, call_frame, frame, read_call
from provider.worker.incoming import HostGone, Incoming
from tests.conftest import PATIENCE

CALL, CREDIT, CANCEL = FrameType.CALL, FrameType.CREDIT, FrameType.CANCEL


class Link:
    """The host's end, and what the worker's end heeds."""

    def __init__(self) -> None:
        self.host, worker = socket.socketpair()
        self.worker = worker
        self.heeded: list[int] = []
        self.streams = True
        self.incoming = Incoming(
            worker, lambda heeded: self.heeded.append(heeded[1]), lambda: self.streams
        )

    def send(self, *frames) -> None:
        self.host.sendall(b"".join(frame(kind, number) for kind, number in frames))

    def close(self) -> None:
        self.host.close()
        self.worker.close()
        for end in vars(self.incoming)["_bell"] or ():
            os.close(end)


@pytest.fixture
def link():
    made = Link()
    yield made
    made.close()


def numbers(frames):
    return [number for _, number, _ in frames]


def test_what_is_about_streams_is_heeded_at_once_and_the_rest_keeps_its_order(link):
    link.send((CALL, 1), (CREDIT, 9), (CALL, 2), (CANCEL, 8), (CALL, 3))
    assert numbers(link.incoming.receive()) == [1, 2, 3]
    assert link.heeded == [9, 8]


def test_while_there_are_no_streams_nothing_is_sorted(link):
    link.streams = False
    link.send((CALL, 1), (CREDIT, 9))
    assert numbers(link.incoming.receive()) == [1, 9]
    assert link.heeded == []


def test_a_part_of_a_frame_is_no_frame_yet(link):
    whole = frame(CALL, 1, b"x" * 100)
    link.host.sendall(whole[:50])
    assert link.incoming.receive() == []
    link.host.sendall(whole[50:])
    assert numbers(link.incoming.receive()) == [1]


def test_a_large_call_is_read_to_where_it_stays_and_what_follows_is_not_lost(link):
    call = call_frame(7, b"x", bytes(range(250)) * 4000, Encoding.CBOR, math.inf)
    sending = threading.Thread(
        target=link.host.sendall, args=[call + frame(CREDIT, 9) + call + frame(CALL, 8)]
    )
    sending.start()
    received = []
    while not received or received[-1][1] != 8:
        received += link.incoming.receive()
    sending.join(PATIENCE)
    assert numbers(received) == [7, 7, 8]
    assert link.heeded == [9]
    for _, _, body in received[:2]:
        assert isinstance(body, memoryview)
        encoding, deadline, operation, payload = read_call(body)
        assert (encoding, deadline, operation) == (Encoding.CBOR, math.inf, b"x")
        assert payload == bytes(range(250)) * 4000


def test_what_is_put_back_comes_first_but_what_is_about_streams_is_heeded(link):
    link.send((CALL, 3))
    link.incoming.look()
    link.incoming.put_back([(CALL, 1, b""), (CANCEL, 7, b""), (CALL, 2, b"")])
    assert link.heeded == [7]
    assert numbers(link.incoming.receive()) == [1, 2, 3]


def test_a_look_waits_for_nothing(link):
    link.incoming.look()
    link.send((CREDIT, 9), (CALL, 1))
    link.incoming.look()
    assert link.heeded == [9]
    assert numbers(link.incoming.receive()) == [1]


def test_soon_is_a_moment_at_most(link):
    assert link.incoming.soon(0.01) == []
    link.send((CALL, 1))
    assert numbers(link.incoming.soon(PATIENCE)) == [1]
    link.incoming.put_back([(CALL, 2, b"")])
    assert numbers(link.incoming.soon(PATIENCE)) == [2]


def test_until_reads_on_while_it_waits(link):
    link.incoming.until(lambda: True)  # which needs no frame
    link.send((CALL, 1), (CREDIT, 9))
    link.incoming.until(lambda: link.heeded == [9])
    assert numbers(link.incoming.receive()) == [1]


def test_until_asks_again_after_each_ring_from_any_thread(link):
    asked, done = threading.Event(), []

    def ready():
        asked.set()
        return bool(done)

    def ring():
        assert asked.wait(PATIENCE)
        done.append(True)
        # It may not listen yet.
        while ringing.is_set():
            link.incoming.ring()

    ringing = threading.Event()
    ringing.set()
    thread = threading.Thread(target=ring)
    thread.start()
    link.incoming.until(ready)
    ringing.clear()
    thread.join(PATIENCE)
    assert done
    link.incoming.ring()  # nobody listens, which does no harm


def test_only_the_thread_that_made_it_reads(link):
    found = []
    thread = threading.Thread(target=lambda: found.append(link.incoming.mine))
    thread.start()
    thread.join(PATIENCE)
    assert (link.incoming.mine, found) == (True, [False])


@pytest.mark.parametrize("wait", ["receive", "look", "soon", "until"])
def test_a_host_that_has_gone_is_told_wherever_it_is_waited_for(link, wait):
    link.host.close()
    arguments = {"soon": (PATIENCE,), "until": (lambda: False,)}.get(wait, ())
    with pytest.raises(HostGone):
        getattr(link.incoming, wait)(*arguments)


def test_what_is_no_frame_is_said_so(link):
    link.host.sendall(b"\xff" * 13)
    with pytest.raises(FrameError):
        link.incoming.receive()
