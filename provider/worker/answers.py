"""Answers on their way to the host: held together, and never held for long.

The rule of this file: a burst of answers costs one system call, and no answer that is ready waits
for a call that is not. The loop in `serve` flushes when it is idle or before something slow; the
attendant thread is the net under it, and also ends the process when the host is gone.

One thread holds answers, the one that runs calls, and needs no lock for it: only it moves the end
of what is held and starts over. Others send what they find and note how far they came. The lock is
for the link, on which no two may write at once.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from _socket import MSG_DONTWAIT  # as in `serve`
from threading import get_ident
from typing import TYPE_CHECKING

from provider.wire.progress import ROOM
from provider.worker.leaving import leave_at_once

if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from provider.wire.progress import Progress

ATTENTION = 0.05
"""Seconds after which the attendant looks again."""
LAST_ACTS = 5.0
"""Seconds a process that leaves in order may take, once the host is gone."""
LARGE = 16 * 1024
"""Bytes from which an answer goes out at once, with those held before it."""


class LargeAnswer:
    """A frame whose end lies where the result does: nobody copies it to put a head before it.

    Args:
        head: of the frame, and of the result's item.
        content: all bytes after that.
    """

    __slots__ = ("content", "head")

    def __init__(self, head: bytes, content: bytes) -> None:
        self.head = head
        self.content = content

    def __len__(self) -> int:
        return len(self.head) + len(self.content)

    def __bytes__(self) -> bytes:
        return self.head + self.content


Answer = bytes | LargeAnswer
"""One frame."""


class Answers:
    """Answers on their way to the host, sent together. Belongs to the thread that made it.

    Held ones lie in the memory the host sees, so none that is finished is lost, however the process
    ends.

    Args:
        link: a connected, blocking stream socket.
        progress: our end of the shared memory.
    """

    def __init__(self, link: socket, progress: Progress) -> None:
        self._link = link
        self._room = progress.room
        self._words = progress.words
        self._thread = get_ident()
        self._sent = 0
        """Bytes of those held that another thread has sent."""
        self._lock = threading.Lock()
        self._leaving = threading.Event()
        self.held = 0
        """Bytes that are held."""
        self.since = 0.0
        """When the oldest of them was held."""
        self.on_look: Callable[[], None] = _nothing_else
        """Done by the attendant at each look."""

    def hold(self, answer: Answer) -> None:
        """Keep an answer until the next flush, or send it at once if it is large.

        For the thread that this belongs to.
        """
        size = len(answer)
        held = self.held
        end = held + size
        if size > LARGE or end > ROOM:
            self.send(answer)
            return
        if not held:
            self.since = time.monotonic()
        self._room[held:end] = answer  # type: ignore[assignment]  # what is large was sent
        self._words[1] = end
        self.held = end

    def hold_all(self, answers: list[bytes]) -> None:
        """Keep the answers of calls that began together, or send them at once if they are many.

        As `hold` for each, but for one thing: a place is used again only for calls that begin
        later, because the host may be looking.
        """
        if self.held + sum(map(len, answers)) > ROOM:
            self.send(b"".join(answers))
            return
        for answer in answers:
            self.hold(answer)

    def send(self, answer: Answer) -> None:
        """Send an answer at once, after those that are held."""
        with self._lock:
            self._send_held()
            if isinstance(answer, LargeAnswer):
                self._send_parts(answer.head, answer.content)
            else:
                self._link.sendall(answer)

    def _send_parts(self, *parts: bytes) -> None:
        sent = self._link.sendmsg(parts)
        for part in parts:  # what is left of them, where a signal cut it short
            if sent < len(part):
                self._link.sendall(memoryview(part)[sent:])
            sent = max(0, sent - len(part))

    def offer(self, message: bytes) -> bool:
        """Send a short message, whose order among answers is no matter, unless that takes waiting.

        Returns:
            Whether it was sent; or never can be.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            sent = self._link.send(message, MSG_DONTWAIT)
            if sent < len(message):
                self._link.sendall(message[sent:])  # half a frame would be the end of the link
        except BlockingIOError:
            return False
        except OSError:
            return True  # the host is gone, which others tell
        finally:
            self._lock.release()
        return True

    def attend(self, leaves: Callable[[], bool]) -> None:
        """Start the thread that sends what is held too long, and leaves when the host is gone.

        Args:
            leaves: whether the main thread sees by itself that the host is gone, and leaves.
        """
        threading.Thread(
            target=self._attend, args=(leaves,), name="provider-attendant", daemon=True
        ).start()

    def leave(self) -> None:
        """Say that the process leaves in order; it may take a moment, for what user code left."""
        self._leaving.set()

    def flush(self) -> None:
        """Send what is held. Blocks while the host does not read."""
        with self._lock:
            self._send_held()

    def _send_held(self) -> None:
        held = self.held
        if not held:
            return
        if held > self._sent:
            self._link.sendall(self._room[self._sent : held])
        if get_ident() != self._thread:
            self._sent = held
            return
        # Should we end before the next line, the host reads these twice and minds once.
        self._words[1] = 0
        self.held = self._sent = 0

    def _attend(self, leaves: Callable[[], bool]) -> None:
        poll = select.poll()
        poll.register(self._link, 0)
        while True:
            if poll.poll(ATTENTION * 1000):
                # The main thread reads the same end and leaves in order if it can, however slow
                # the machine; user code that runs on is not waited for.
                if leaves() or self._leaving.wait(ATTENTION) or leaves():
                    time.sleep(LAST_ACTS)  # not for an event: the process ends meanwhile
                leave_at_once(1)
            if self.held and time.monotonic() - self.since > ATTENTION:
                # Should the link break just now, the next look tells.
                with contextlib.suppress(OSError):
                    self.flush()
            self.on_look()


def _nothing_else() -> None:
    """The attendant has nothing else to look after."""
