"""How far calls say they are: the newest word of each, for whoever asks and for streams.

The rule of this file: it costs nothing where nobody says anything, and what a worker may fill is
small. A word is about a call that runs; what comes too often is left out, the newest is not.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from provider.errors import clip
from provider.host.call import StreamedCall
from provider.telemetry import logs
from provider.wire.advance import read_advance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider.host.call import Call
    from provider.wire.advance import Advance

REMEMBERED = 256
"""Calls whose newest word is kept before those that ended are looked for."""
SHOWN = 8
"""Calls told of in the status, the oldest first."""
PAUSE = 0.05
"""Least seconds between two words passed on; an honest worker leaves twice as many."""
MOST_NAME = 100
"""Characters of a name in the status."""

_log = logs.get_logger(component="calls")


class Advances:
    """The newest words of the calls one worker runs."""

    def __init__(self) -> None:
        self._newest: dict[int, Advance] = {}

    def take(self, call: Call, body: bytes, running: Mapping[int, Call]) -> None:
        """Take the word of a call.

        Args:
            call: it.
            body: of the frame.
            running: the calls that the worker has, by number.

        Raises:
            FrameError: it is none.
        """
        told = read_advance(body)
        if not call.open:
            return
        if len(self._newest) >= REMEMBERED:
            self._newest = {n: kept for n, kept in self._newest.items() if n in running}
        self._newest[call.number] = told
        _log.debug("progress", operation=call.operation, request_id=call.request_id, **told)
        if isinstance(call, StreamedCall) and call.on_progress is not None:
            self._pass_on(call, told)

    def of(self, running: Mapping[int, Call]) -> list[dict[str, Any]]:
        """For the status: calls that run and have said how far they are."""
        self._newest = {n: kept for n, kept in self._newest.items() if n in running}
        now = time.monotonic()
        return [
            {
                "operation": clip(running[number].operation, MOST_NAME),
                "request_id": clip(running[number].request_id, MOST_NAME),
                "seconds": round(now - running[number].received, 3),
                **told,
            }
            for number, told in sorted(self._newest.items())
            if running[number].open
        ][:SHOWN]

    def _pass_on(self, call: StreamedCall, told: Advance) -> None:
        waits = call.untold is not None
        call.untold = told
        left = call.told + PAUSE - time.monotonic()
        if left <= 0:
            call.tell()
        elif not waits:
            asyncio.get_running_loop().call_later(left, _tell_open, call)


def _tell_open(call: StreamedCall) -> None:
    if call.open:
        call.tell()
