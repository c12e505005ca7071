"""What joins us to one worker: a socket for frames, and a little memory both processes see.

The rule of this file: it passes on what came and judges nothing. Bytes that are no frame are told
of after the frames that came whole before them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from provider.wire.frames import LARGE, FrameError, FrameReader

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from provider.wire.progress import Progress

READ = 256 * 1024
"""Bytes read at once, of what is left in a socket that broke."""
LITTLE = 1024
"""Bytes that are copied more quickly than they are written by themselves."""


class Channel(asyncio.Protocol):
    """Our ends of it.

    Args:
        on_frames: called with the frames of each read, as `FrameReader.feed` has them.
        on_nonsense: called with what is wrong with bytes that are no frame.
        on_end: called when the worker closes its end, or the socket breaks, with a sentence.
    """

    def __init__(
        self,
        on_frames: Callable[[Sequence[tuple[int, int, bytes]]], None],
        on_nonsense: Callable[[Exception], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._on_frames = on_frames
        self._on_nonsense = on_nonsense
        self._on_end = on_end
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._memory: Progress | None = None
        self.ended = asyncio.Event()
        """Set once nothing more will come."""

    async def attach(self, link: socket.socket, progress: Progress) -> None:
        """Begin to read what the worker sends.

        Args:
            link: our end of the socket, which is closed with this.
            progress: our view of the memory, likewise.
        """
        self._memory = progress
        try:
            self._transport, _ = await asyncio.get_running_loop().create_unix_connection(
                lambda: self, sock=link
            )
        except BaseException:  # cancelled too
            link.close()
            raise

    def write(self, data: bytes | memoryview) -> None:
        """Send frames. The worker being gone is not told here."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def write_all(self, out: list[bytes | memoryview]) -> None:
        """Send frames, or their parts, together."""
        if len(out) == 1:
            self.write(out[0])
        elif sum(map(len, out)) <= max(LARGE, LITTLE * len(out)):
            self.write(b"".join(out))
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(out)

    def begun(self) -> int:
        """The newest call the worker has begun, 0 for none."""
        return self._memory.begun() if self._memory is not None else 0

    def held(self) -> bytes:
        """The frames the worker holds back, as `Progress.held` has them."""
        return self._memory.held() if self._memory is not None else b""

    def close(self) -> None:
        """Close our end of the socket."""
        if self._transport is not None:
            self._transport.close()

    def forget(self) -> None:
        """Let go of the memory, which nobody writes to any more."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def data_received(self, data: bytes) -> None:
        """As `asyncio.Protocol` has it: frames from the worker."""
        try:
            frames = self._reader.feed(data)
        except FrameError as error:
            self._on_frames(error.before)
            self._on_nonsense(error)
            return
        self._on_frames(frames)

    def eof_received(self) -> bool:
        """As `asyncio.Protocol` has it: the worker closed its end."""
        self.ended.set()
        self._on_end("it closed its link")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """As `asyncio.Protocol` has it: the socket is gone, or about to be closed."""
        if exc is not None:
            self._read_what_is_left()
        self.ended.set()
        if exc is not None:
            self._on_end(f"its link broke: {exc}")

    def _read_what_is_left(self) -> None:
        """Take what the worker sent before it died.

        A call that we hand to a dead one breaks the socket, and the transport looks no more at what
        it has not read by then: answers of calls that are not run again.
        """
        assert self._transport is not None
        descriptor = self._transport.get_extra_info("socket").fileno()
        with contextlib.suppress(OSError):  # it broke for reading, too, or nothing is left
            while data := os.read(descriptor, READ):
                self.data_received(data)
