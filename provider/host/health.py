"""How the user's code says it is: asked when somebody wants to know, and never for long.

The rule of this file: whoever asks waits a moment and no longer, and not again for the same answer.
The worker answers between calls; while a call runs, what was said last stands, and that it is busy.
Nothing is asked of a program that declares no `health`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from provider.host.life import TAKES_CALLS
from provider.host.question import Question
from provider.wire.frames import FrameType, frame

if TYPE_CHECKING:
    from provider.host.link import Link

MOMENT = 0.5
"""Seconds somebody who asks is kept waiting."""
FRESH = 1.0
"""Seconds for which an answer is given again, however many ask."""
LONGEST = 10.0
"""Seconds a check may take; all calls wait for it."""
MOST_TEXT = 1024
"""Characters kept of what the program says."""


class Health:
    """What the program of one fleet said of itself.

    Args:
        longest: seconds a check may take, unless `LONGEST` is shorter. One that takes longer, and
            at least so long, ends the worker.
    """

    def __init__(self, longest: float = LONGEST) -> None:
        self._question = Question("its health check", min(longest, LONGEST))
        self.declared = False
        """Whether the program can be asked."""
        self.trouble = ""
        """What was wrong when it was last asked, empty for nothing."""
        self._told = 0.0
        """When it said so, seconds on the monotonic clock; 0 for never."""
        self._asked = 0.0
        self._number = 0
        """Of the question on its way, 0 for none."""
        self._answered = asyncio.Event()

    async def ask(self, link: Link | None) -> None:
        """Have the program asked, and wait a moment for what it says.

        Args:
            link: of the worker that serves, None while there is none.
        """
        if not self.declared or link is None or link.state not in TAKES_CALLS:
            return
        if not self._number:
            if self._told and time.monotonic() - self._told < FRESH:
                return
            self._number, self._asked = link.number(), time.monotonic()
            self._answered.clear()
            link.write(frame(FrameType.HEALTH, self._number))
            self._question.asked(link, self._number)
        moment = self._asked + MOMENT - time.monotonic()
        if moment > 0:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._answered.wait(), moment)

    def told(self, number: int, trouble: str) -> None:
        """Take what the program says."""
        if number != self._number or not number:
            return
        self.trouble, self._told = trouble[:MOST_TEXT], time.monotonic()
        self._settle()

    def forget(self) -> None:
        """The worker is gone; what it said was of itself."""
        self.renewed()
        self._settle()

    def renewed(self) -> None:
        """The program is another one; what the old one said was of itself."""
        self.trouble, self._told = "", 0.0

    def as_map(self) -> dict[str, Any] | None:
        """For the status: None where the program cannot be asked.

        `state` is `healthy`, `unhealthy`, `busy` while it has not answered yet, or `unknown` before
        it was asked; `trouble` what was wrong the last time, `age` how many seconds ago that was.
        """
        if not self.declared:
            return None
        state = "unhealthy" if self.trouble else "healthy" if self._told else "unknown"
        return {
            "state": "busy" if self._number else state,
            "trouble": self.trouble,
            "age": round(time.monotonic() - self._told, 3) if self._told else None,
        }

    def _settle(self) -> None:
        self._number = 0
        self._answered.set()
        self._question.settled()
