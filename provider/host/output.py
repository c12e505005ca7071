"""What a worker prints, line by line.

The rule of this file: any bytes are lines, and no amount of them keeps the loop from other work.
The pipe is read as fast as its lines are told and no faster, so a worker that prints without end
waits for us and not we for it.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from provider.wire.output import unmark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONGEST_LINE = 64 * 1024
"""Bytes after which a line is cut in two."""
TURN_LINES = 100
"""Lines told before the loop gets to do something else."""


class Lines:
    """Turns the bytes of one stream into lines, wherever they were split."""

    def __init__(self) -> None:
        self._rest = b""
        self._number = 0
        self._cut = False

    def feed(self, data: bytes) -> Iterator[tuple[int, str]]:
        """The lines complete with these bytes: the call each belongs to, 0 for none, and its text.

        Args:
            data: the next bytes; none at the end of the stream.
        """
        *lines, rest = (self._rest + data).split(b"\n")
        cut = len(rest) > LONGEST_LINE or (not data and bool(rest))
        self._rest = b"" if cut else rest
        for line in lines:
            if line or not self._cut:
                yield self._line(line)
            self._cut = False
        if cut:
            yield self._line(rest)
            self._cut = True

    def _line(self, line: bytes) -> tuple[int, str]:
        number, text = unmark(line.removesuffix(b"\r"))
        if not self._cut:
            self._number = number
        return self._number, text


class Output:
    """Our end of one pipe a worker prints to.

    Args:
        tell: called with each line: the call it belongs to, 0 for none, and its text.
    """

    def __init__(self, tell: Callable[[int, str], None]) -> None:
        self._tell = tell
        self._transport: asyncio.ReadTransport | None = None
        self._reading: asyncio.Task[None] | None = None

    async def attach(self, pipe: int) -> None:
        """Start reading.

        Args:
            pipe: the descriptor of our end, which is closed with this.
        """
        stream = asyncio.StreamReader(limit=LONGEST_LINE)
        file = os.fdopen(pipe, "rb", buffering=0)
        try:
            self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stream), file
            )
        except BaseException:  # cancelled too: it is left open by nobody
            file.close()
            raise
        self._reading = asyncio.create_task(self._read(stream))

    async def end(self, grace: float = 0.0) -> None:
        """Read to the end of the pipe, if that comes in time, and let go of it.

        Args:
            grace: seconds it has to come; a process the worker left behind may hold it open.
        """
        if self._reading is None or self._transport is None:
            return
        await asyncio.wait({self._reading}, timeout=grace)
        self._transport.close()
        # What was read before is told all the same.
        await self._reading

    async def _read(self, stream: asyncio.StreamReader) -> None:
        lines, told = Lines(), 0
        while True:
            data = await stream.read(LONGEST_LINE)
            for number, text in lines.feed(data):
                self._tell(number, text)
                told += 1
                if not told % TURN_LINES:
                    await asyncio.sleep(0)
            if not data:
                return
