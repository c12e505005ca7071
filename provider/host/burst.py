"""What belongs together because it was read together.

The rule of this file: while the messages or answers of one read are handled, nothing is sent; when
they have all been, everything is sent at once. So a burst costs one system call on each side,
however many calls are in it, and a call that comes alone waits for nobody.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Burst:
    """Gathers while something is being read, and sends at its end.

    A burst that nobody opened ends with this turn of the event loop.
    """

    __slots__ = ("_actions", "_scheduled", "open")

    def __init__(self) -> None:
        self._actions: list[Callable[[], None]] = []
        self._scheduled = False
        self.open = False
        """Whether whoever is reading will call `end`."""

    def at_end(self, action: Callable[[], None]) -> None:
        """Have this done at the end of every burst, after what was added before. Must not raise."""
        self._actions.append(action)

    def begin(self) -> None:
        """Say that messages or answers come one after the other now."""
        self.open = True

    def end(self) -> None:
        """Do what the burst has gathered."""
        self.open = False
        for action in self._actions:
            action()

    def want(self) -> None:
        """Make sure that an end comes."""
        if not (self.open or self._scheduled):
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self.end()
