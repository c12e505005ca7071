"""Streamed answers on their way from the worker to a caller.

The rule of this file: the host keeps no chunk. What the worker sends goes to the door at once, and
the worker may send as much as the caller has taken, so a slow caller slows down the function and
nobody else's memory fills. A stream its caller has left is stopped.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from provider.errors import CallError, CallTimeout, Cancelled
from provider.host.call import Call, StreamedCall
from provider.wire.frames import FrameError

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 10.0
"""Seconds a caller who has a full window may leave the function waiting for credit."""
MOST_GONE = 64
"""Streams whose callers left while they waited, before they are taken out of the queue."""


class Streams:
    """Chunks one way, credit the other.

    Args:
        finish: answers a call.
        forget_answered: takes calls that were answered out of the queue.
    """

    def __init__(
        self,
        finish: Callable[[Call, bytes | None, CallError | None], None],
        forget_answered: Callable[[], None],
    ) -> None:
        self._finish = finish
        self._forget_answered = forget_answered
        self.patience = PATIENCE
        """Seconds a full window is waited with."""
        self._gone = 0

    def credit(self, call: StreamedCall, count: int) -> None:
        """Note that the caller has taken so many chunks more."""
        count = call.window.taken(count)
        if not (count and call.open):
            return
        if call.stall is not None:
            call.stall.cancel()
            call.stall = None
        if call.holder is not None:
            call.holder.credit(call, count)
        self._watch(call)

    def stop(self, call: StreamedCall, error: CallError) -> None:
        """Answer the call with this error, and have its function stopped."""
        if not call.open:
            return
        if call.holder is not None:
            call.holder.cancel(call)
        self._finish(call, None, error)
        if not call.number:
            # It still stands in the queue, where admission counts it no more.
            self._gone += 1
            if self._gone >= MOST_GONE:
                self._gone = 0
                self._forget_answered()

    def expired(self, call: StreamedCall, seconds: float) -> CallError:
        """Have the function stopped of a stream whose deadline has passed.

        Args:
            call: it.
            seconds: since it came.

        Returns:
            What its caller is told.
        """
        if call.holder is not None:
            call.holder.cancel(call)
        if call.window.open:
            return CallTimeout(f"the stream was still running after {seconds:.3f} s; it is stopped")
        return _no_credit(call, seconds)

    def take(self, call: Call, chunk: bytes) -> None:
        """Take a chunk that a worker sent.

        Raises:
            FrameError: the call is no stream, or its caller has no room for it.
        """
        if not isinstance(call, StreamedCall):
            raise FrameError(f"a chunk came for call {call.number}, which is no stream")
        if not call.open:
            return
        if not call.window.open:
            raise FrameError(f"more of stream {call.number} came than its caller has room for")
        number = call.sent
        call.sent = number + 1
        call.window.sent(len(chunk))
        call.on_chunk(call, chunk, number)
        self._watch(call)

    def _watch(self, call: StreamedCall) -> None:
        """Wait for credit, but not for ever."""
        if call.open and call.stall is None and not call.window.open:
            loop = asyncio.get_running_loop()
            call.stall = loop.call_later(self.patience, self._stalled, call)

    def _stalled(self, call: StreamedCall) -> None:
        self.stop(call, _no_credit(call, self.patience))


def _no_credit(call: StreamedCall, seconds: float) -> Cancelled:
    return Cancelled(
        f"no credit came within {seconds:.3f} s for {call.window.chunks} chunks that were sent; "
        "send {'credit': n} to the reply subject of the chunks, or ask with flow: false"
    )
