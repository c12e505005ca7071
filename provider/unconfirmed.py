"""What was sent and may not have arrived: kept until the server says that it has read it.

The rule of this file: no commands are looked into and none is copied; they are forgotten in the
order they were sent. A PING goes behind them, at most one at a time and some twenty a second; its
PONG says that the server has read all that stood before it. What a connection took along when it
broke is sent again whole, so a message may arrive twice, but not half and not never.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSE = 0.05
"""Seconds after which the server is asked what it has read."""
PIECE = 1 << 20
"""Bytes after which it is asked at once."""
CROWDED, RELIEVED = 32 << 20, 16 << 20
"""Bytes from which on there is too much, and below which there no longer is."""
MOST_AGAIN = 10
"""Times in a row that commands are sent again. More, and they may be why connections break."""


class Unconfirmed:
    """Commands the server has not been heard to have read, oldest first.

    Args:
        ping: sends a PING behind everything, and has its argument's `set_result` called when the
            PONG comes; false if that cannot be done now.

    Attributes:
        commands: each as it was sent, several messages together where they were.
        size: their bytes.
        again: times in a row that they were sent again.
        on_crowded: told when there is too much, and when there no longer is.
    """

    __slots__ = (
        "_asked",
        "_crowded",
        "_ping",
        "_timer",
        "_waiting",
        "again",
        "commands",
        "on_crowded",
        "size",
    )

    def __init__(self, ping: Callable[[Asked], bool]) -> None:
        self.commands: list[bytes] = []
        self.size = 0
        self.again = 0
        self.on_crowded: Callable[[bool], None] = lambda _crowded: None
        self._crowded = False
        self._ping = ping
        self._asked: Asked | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[asyncio.Future[None]] = []

    async def empty(self) -> None:
        """Wait until the server has read everything, on this connection or another."""
        while self.commands:
            self._ask()
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting

    def add(self, data: bytes) -> None:
        """Remember what is being sent."""
        self.commands.append(data)
        self.size += len(data)
        if self.size >= CROWDED and not self._crowded:
            self._crowded = True
            self.on_crowded(True)
        if self._asked is None:
            if self.size >= PIECE:
                # After it has been written.
                asyncio.get_running_loop().call_soon(self._ask)
            elif self._timer is None:
                self._wait()

    def forget(self) -> None:
        """Remember nothing."""
        self.commands.clear()
        self.size = self.again = 0
        self._tell()

    def take_back(self, waiting: list[bytes]) -> list[bytes]:
        """What has to be sent over a new connection. No PONG will come for what was asked.

        Args:
            waiting: what was never written, and will be.
        """
        self._asked = None
        known = {id(data) for data in waiting}
        return [data for data in self.commands if id(data) not in known]

    def connected(self) -> None:
        """Ask, since now it can be answered."""
        if self.commands and self._timer is None:
            self._wait()

    def read_up_to(self, asked: Asked) -> None:
        """Forget what the server has read."""
        if asked is not self._asked:
            return
        self._asked = None
        self.again = 0
        self.size -= sum(map(len, self.commands[: asked.count]))
        del self.commands[: asked.count]
        self._tell()
        if self.commands and self._timer is None:
            self._wait()

    def _tell(self) -> None:
        if self._crowded and self.size < RELIEVED:
            self._crowded = False
            self.on_crowded(False)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PAUSE, self._ask)

    def _ask(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._asked is not None or not self.commands:
            return
        asked = Asked(self, len(self.commands))
        if self._ping(asked):
            self._asked = asked


class Asked:
    """A PING on its way; to nats-py it is the future of a flush."""

    __slots__ = ("_of", "count")

    def __init__(self, of: Unconfirmed, count: int) -> None:
        self._of = of
        self.count = count

    def done(self) -> bool:
        """Never before its PONG."""
        return False

    def set_result(self, _result: object) -> None:
        """The PONG has come."""
        self._of.read_up_to(self)
