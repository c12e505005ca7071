"""One connection of a load: calls go out on it, answers come in.

The rule of this file: what a call costs the generator is a few steps of plain code. Its bytes are
made once, but for its number; all that one read brought is answered by one write; there is no task,
future or object for a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import nats.errors

from provider.burst_client import BurstClient
from provider.host.burst import Burst

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Line:
    """A connection to NATS with an inbox of its own.

    Args:
        answered: told of each answer, with the number its call was sent with and its bytes.
        ended: told at the end of each read in which answers came.
        lost: told when nothing can be sent.
    """

    def __init__(
        self,
        answered: Callable[[bytes, bytes], None],
        ended: Callable[[Line], None],
        lost: Callable[[], None],
    ) -> None:
        burst = Burst()
        burst.at_end(self._end)
        self.client = BurstClient(burst)
        self._answered = answered
        self._ended = ended
        self._lost = lost
        self._cut = 0
        self._parts: list[tuple[bytes, bytes]] = []
        self._outgoing: list[bytes] = []
        self._came = False

    async def listen(self, subject: str, requests: Sequence[bytes]) -> None:
        """Be ready to send these; the client is connected.

        Args:
            subject: of the provider.
            requests: sent in turn, one of them a call.
        """
        inbox = self.client.new_inbox()
        self._cut = len(inbox) + 1
        head = f"PUB {subject} {inbox}.".encode()
        self._parts = [(head, b" %d\r\n%b\r\n" % (len(data), data)) for data in requests]
        await self.client.subscribe_directly(f"{inbox}.*", "", self._take)
        await self.client.flush()

    def call(self, number: int) -> bytes:
        """Put a call behind those that `send` sends; what its answer is told by."""
        name = b"%d" % number
        head, tail = self._parts[number % len(self._parts)]
        self._outgoing += (head, name, tail)
        return name

    def send(self) -> None:
        """Send what was put there."""
        if self._outgoing:
            try:
                self.client.post(self._outgoing)
            except nats.errors.Error:
                self._lost()
            self._outgoing = []

    def _take(
        self, subject: bytes, _reply: bytes, data: bytes, _headers: dict[str, str] | None
    ) -> None:
        self._came = True
        self._answered(subject[self._cut :], data)

    def _end(self) -> None:
        if self._came:
            self._came = False
            self._ended(self)
