"""A call on its way: what came in, and who has to be answered.

The rule of this file: a call is answered once. `open` says whether it still has to be; whoever
answers it closes it first (`path.CallPath.finish`).
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from provider.wire.window import Window

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from provider.errors import CallError
    from provider.wire.advance import Advance

RELOAD = "reload"
"""The operation that loads the user's code again instead of calling it."""


class Holder(Protocol):
    """Who has calls in hand: the link of a worker."""

    def begun(self) -> int:
        """The number of the newest call that was begun, 0 for none."""

    def overdue(self, call: Call) -> None:
        """Have the call ended, unless its answer comes within a moment."""

    def stalled(self) -> None:
        """Have it looked into why a call was not begun in time."""

    def credit(self, call: StreamedCall, count: int) -> None:
        """Tell that the caller of a stream has taken so many chunks more."""

    def left(self, call: Call) -> None:
        """Tell that the caller of a call that is no stream has gone."""

    def cancel(self, call: StreamedCall) -> None:
        """Have a stream stopped, or not begun."""


def _nobody(_call: Call, _result: bytes | None, _error: CallError | None) -> None:
    """Takes the answer of a call nobody waits for."""


class Call:
    """One call on its way.

    Args:
        operation: its name.
        payload: the argument as the caller wrote it; of a large message it may be a view.
        encoding: an `Encoding`, how the payload is and the result will be written.
        deadline: seconds on the monotonic clock, `math.inf` for none.
        answer: called once with this call, and its result bytes or its error.
        context: whatever the door needs to send the answer.
        id: the caller's id for it, empty when it gave none.
        received: when it came, seconds on the monotonic clock; now when left out.
        about: what is known of it beside its argument, of `wire.about.write_about`.
    """

    streams: ClassVar[bool] = False
    """Whether the result is to come in chunks: it is a `StreamedCall`."""
    __slots__ = (
        "about",
        "answer",
        "context",
        "deadline",
        "encoding",
        "holder",
        "id",
        "number",
        "open",
        "operation",
        "payload",
        "received",
    )

    def __init__(
        self,
        operation: str,
        payload: bytes | memoryview,
        encoding: int,
        deadline: float,
        answer: Callable[[Call, bytes | None, CallError | None], None] = _nobody,
        context: Any = None,
        id: str = "",  # noqa: A002  what callers call it
        received: float | None = None,
        about: bytes = b"",
    ) -> None:
        self.about = about
        self.operation = operation
        self.payload = payload
        self.encoding = encoding
        self.deadline = deadline
        self.answer = answer
        self.context = context
        self.id = id
        self.received = time.monotonic() if received is None else received
        self.holder: Holder | None = None
        """Who was handed it, None while it waits."""
        self.number = 0
        """Its place among all that holder was handed, 0 while it waits."""
        self.open = True
        """Whether it still has to be answered."""

    @property
    def begun(self) -> bool:
        """Whether whoever was handed it has begun it."""
        return self.holder is not None and self.number <= self.holder.begun()

    def give_back(self) -> None:
        """Note that it waits again: who was handed it never began it."""
        self.holder, self.number = None, 0

    @property
    def request_id(self) -> str:
        """What logs call it: the caller's id, or its number at its worker."""
        return self.id or f"#{self.number}"


class StreamedCall(Call):
    """A call whose result comes in chunks.

    Its `answer` is called at the end with an empty result, or with one that is a chunk, too.

    Args:
        arguments: of `Call`.
        on_chunk: called with this call, the bytes of each chunk, and its number from 0.
        on_progress: called with this call and what its function says of how far it is; None for a
            caller who does not want to know.
        more: keyword arguments of `Call`.
    """

    __slots__ = ("guard", "on_chunk", "on_progress", "sent", "stall", "told", "untold", "window")
    streams = True

    def __init__(
        self,
        *arguments: Any,
        on_chunk: Callable[[StreamedCall, bytes, int], None],
        on_progress: Callable[[StreamedCall, Advance], None] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*arguments, **more)
        self.on_chunk = on_chunk
        self.on_progress = on_progress
        self.untold: Advance | None = None
        """What it last said of how far it is, as long as it was not passed on."""
        self.told = -math.inf
        """When that was last passed on, seconds on the monotonic clock."""
        self.window = Window()
        """What the caller has not taken yet."""
        self.sent = 0
        """Chunks that went to the door."""
        self.stall: asyncio.TimerHandle | None = None
        """Ends the stream unless credit comes."""
        self.guard: asyncio.TimerHandle | None = None
        """Ends the worker unless it stops the stream."""

    def tell(self) -> None:
        """Pass on what was said last of how far it is, unless that was done."""
        told, self.untold = self.untold, None
        if told is not None and self.on_progress is not None:
            self.told = time.monotonic()
            self.on_progress(self, told)
