"""A question the worker answers between calls, running code of the user's: it must come to an end.

The rule of this file: the clock runs for the question itself, not for the calls ahead of it. So the
worker notes the number of the question as begun, as it does with calls.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from provider.host.life import Cause

if TYPE_CHECKING:
    from provider.host.link import Link


class Question:
    """Ends a worker that does not get on with what it was asked.

    Args:
        what: for the account of its death.
        longest: seconds it may take. One that takes longer, and at least so long, ends the worker.
    """

    def __init__(self, what: str, longest: float) -> None:
        self._what = what
        self.longest = longest
        """Seconds it may take."""
        self._link: Link | None = None
        self._number = 0
        self._seen_running = False
        self._timer: asyncio.TimerHandle | None = None

    def asked(self, link: Link, number: int) -> None:
        """Note that this is on its way."""
        self.settled()
        self._link, self._number = link, number
        link.questions.add(number)
        self._watch(link)

    def settled(self) -> None:
        """It was answered, or nobody is there to do so."""
        if self._link is not None:
            self._link.questions.discard(self._number)
        self._link, self._number, self._seen_running = None, 0, False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self, link: Link) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.longest, self._look, link)

    def _look(self, link: Link) -> None:
        if link.begun() == self._number:
            if self._seen_running:
                self._timer = None
                link.give_up(f"{self._what} took longer than {self.longest:g} s", Cause.HANG)
                return
            self._seen_running = True
        self._watch(link)
