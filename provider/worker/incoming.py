"""Frames from the host, some of which are heeded before their turn.

The rule of this file: what the host says about a stream is heeded when it is read; all else keeps
its order. Only one thread reads. While it has to wait for something other than the next frame, it
waits here, and reads on.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import TYPE_CHECKING

from provider.wire.frames import LARGE, FrameReader, FrameType

if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from provider.worker.runner import Frame

RECEIVE = 64 * 1024
"""Bytes asked of the link at once. From 128 KiB on the C library maps fresh memory for it each
time, which is three system calls and costs an idle worker more than all else."""

_ABOUT_STREAMS = frozenset({int(FrameType.CREDIT), int(FrameType.CANCEL)})


class HostGone(Exception):
    """The host has closed its end."""


class Incoming:
    """Reads the link. Belongs to the thread that made it.

    Args:
        link: a connected, blocking stream socket.
        heed: given each frame about a stream, at once.
        heeds: whether there are streams.
    """

    def __init__(
        self, link: socket, heed: Callable[[Frame], None], heeds: Callable[[], bool]
    ) -> None:
        self._link = link
        self._heed = heed
        self._heeds = heeds
        self._reader = FrameReader()
        self._later: list[Frame] = []
        self._thread = threading.get_ident()
        self._bell: tuple[int, int] | None = None
        self._listens = False
        poll = select.poll()  # not select, which knows low descriptors only
        poll.register(link, select.POLLIN)
        self._glance = poll.poll

    @property
    def mine(self) -> bool:
        """Whether this thread is the one that reads."""
        return threading.get_ident() == self._thread

    def receive(self) -> list[Frame]:
        """The next frames; waits for them, and may return none when only a part has come.

        Raises:
            HostGone: there will be no more.
            FrameError: what came is no frame.
        """
        if self._later:
            frames, self._later = self._later, []
            return frames
        reader = self._reader
        if reader.wanted > LARGE:
            frames = self._read()
        else:
            # As `_read` does, without its call.
            data = self._link.recv(RECEIVE)
            if not data:
                raise HostGone
            frames = reader.feed(data)
        if not self._heeds():
            return frames
        # A stream may be what a frame before these waits for.
        self._sort(frames)
        frames, self._later = self._later, []
        return frames

    def put_back(self, frames: list[Frame]) -> None:
        """Have these frames received again, before all others, but heed those about streams now."""
        later, self._later = self._later, []
        self._sort(frames)
        self._later += later

    def look(self) -> None:
        """Heed what has come, without waiting."""
        if self._glance(0):
            self._take()

    def soon(self, seconds: float) -> list[Frame]:
        """The frames that come first within this time; none when none do.

        Raises:
            HostGone, FrameError: as `receive`.
        """
        if not self._later and self._glance(seconds * 1000):
            self._take()
        frames, self._later = self._later, []
        return frames

    def until(self, ready: Callable[[], bool]) -> None:
        """Heed what comes until this is so; asked again after each frame and each `ring`.

        Raises:
            HostGone, FrameError: as `receive`.
        """
        if ready():
            return
        if self._bell is None:
            self._bell = os.pipe()
            for end in self._bell:
                os.set_blocking(end, False)
        rung = self._bell[0]
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        poll.register(rung, select.POLLIN)
        self._listens = True
        try:
            while not ready():
                at_hand = {descriptor for descriptor, _ in poll.poll()}
                if rung in at_hand:
                    with contextlib.suppress(BlockingIOError):
                        os.read(rung, 4096)
                if self._link.fileno() in at_hand:
                    self._take()
        finally:
            self._listens = False

    def ring(self) -> None:
        """From any thread: what `until` waits for may be so now."""
        if self._listens and self._bell is not None:
            with contextlib.suppress(BlockingIOError):  # it has been rung often enough
                os.write(self._bell[1], b"x")

    def _take(self) -> None:
        self._sort(self._read())

    def _read(self) -> list[Frame]:
        """What one system call brings; a large call is read to where it stays."""
        reader = self._reader
        if reader.wanted <= LARGE or (room := reader.room()) is None:
            data = self._link.recv(RECEIVE)
            if not data:
                raise HostGone
            return reader.feed(data)
        size = self._link.recv_into(room)
        if not size:
            raise HostGone
        return reader.filled(size)

    def _sort(self, frames: list[Frame]) -> None:
        for frame in frames:
            if frame[0] in _ABOUT_STREAMS:
                self._heed(frame)
            else:
                self._later.append(frame)
