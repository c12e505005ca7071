"""A way to a NATS server that can be frozen, slowed down, cut and closed, for tests.

The rule of this file: it hands on bytes as they are and knows of NATS only where a message begins.
It runs in a thread of its own, so its methods can be called from any test; each returns when what
it says has happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Way = Literal["up", "down"]
    """`up` is to the server, `down` is to whoever connected."""

PIECE = 1 << 16
_MESSAGE = re.compile(rb"(?:^|\r\n)H?(?:PUB|MSG) [^\r\n]* (\d+)\r\n")


class Proxy:
    """Listens on a free port of the loopback and hands on to another port of it.

    Args:
        target: port of the server.

    Attributes:
        port: to connect to.
        connections: made so far.
        cuts: connections cut in the middle of a message.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.port = 0
        self.connections = 0
        self.cuts = 0
        self._cut_in: Way | None = None
        self._rates: dict[Way, float] = {}
        self._open: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._flowing = self._wait(self._begin())
        self.accept()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def freeze(self) -> None:
        """Hand nothing on. New connections are made, and frozen too."""
        self._call(self._flowing.clear)

    def thaw(self) -> None:
        """Hand on again, what was held back first."""
        self._call(self._flowing.set)

    def slow(self, way: Way, rate: float | None) -> None:
        """Hand on so many bytes a second at most, on each connection; None for as many as come."""
        if rate is None:
            self._rates.pop(way, None)
        else:
            self._rates[way] = rate

    def cut(self) -> None:
        """Break all connections, as if a cable were pulled and both ends had noticed."""
        self._call(self._cut)

    def cut_in_message(self, way: Way) -> None:
        """Break the connection of the next message on this way, when half of it is through."""
        self._cut_in = way

    def refuse(self) -> None:
        """Break all connections and take no new ones."""
        self._wait(self._refuse())

    def accept(self) -> None:
        """Listen, on the port of before."""
        self._wait(self._listen())

    def close(self) -> None:
        """End, for good."""
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    # --- in the thread ---------------------------------------------------------------------------

    async def _begin(self) -> asyncio.Event:
        flowing = asyncio.Event()
        flowing.set()
        return flowing

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._connected, "127.0.0.1", self.port, limit=PIECE
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        ended = [connection.task for connection in self._open]
        self._cut()
        await asyncio.gather(*ended, return_exceptions=True)

    def _cut(self) -> None:
        for connection in list(self._open):
            connection.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        connection = _Connection(task, writer)
        self._open.add(connection)
        try:
            await self._flowing.wait()
            up_reader, up_writer = await asyncio.open_connection(
                "127.0.0.1", self._target, limit=PIECE
            )
            connection.writers.append(up_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump("up", reader, up_writer, connection))
                group.create_task(self._pump("down", up_reader, writer, connection))
        except* (OSError, asyncio.CancelledError):
            pass  # one end has gone, and takes the other with it
        finally:
            self._open.discard(connection)
            connection.abort()

    async def _pump(
        self,
        way: Way,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: _Connection,
    ) -> None:
        while data := await reader.read(self._piece(way)):
            await self._flowing.wait()
            if self._cut_in == way and (half := _half_of_a_message(data)):
                self._cut_in = None
                self.cuts += 1
                writer.write(data[:half])
                await writer.drain()
                # In order, so that whoever reads gets the half; an abort would take it back.
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
                raise ConnectionResetError
            writer.write(data)
            await writer.drain()
            left = len(data)
            while left > 0 and (rate := self._rates.get(way)) is not None:
                # In small steps, so that it is fast again when it is told to be.
                await asyncio.sleep(min(0.05, left / rate))
                left -= max(1, int(rate * 0.05))
        raise ConnectionResetError

    def _piece(self, way: Way) -> int:
        rate = self._rates.get(way)
        return PIECE if rate is None else max(1, min(PIECE, int(rate / 20)))

    # --- from outside ----------------------------------------------------------------------------

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def _call(self, action: Callable[[], None]) -> None:
        async def work() -> None:
            action()

        self._wait(work())


class _Connection:
    """One connection and its other half."""

    def __init__(self, task: asyncio.Task[Any], writer: asyncio.StreamWriter) -> None:
        self.task = task
        self.writers = [writer]

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        if self.task is not asyncio.current_task():
            self.task.cancel()


def _half_of_a_message(data: bytes) -> int:
    """Position in the middle of the first payload in the data that is whole; 0 for none."""
    for match in _MESSAGE.finditer(data):
        size = int(match[1])
        if 0 < size <= len(data) - match.end():
            return match.end() + size // 2
    return 0
