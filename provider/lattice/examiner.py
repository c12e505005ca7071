"""The costly part of the checks, in threads, so that no other call waits for it.

The rule of this file: what goes in comes out once, in the order it went in. Verifying a signature
takes 75 microseconds on one core, in which the interpreter's lock is free; so what one read of the
socket brought is examined together, in pieces that keep every thread busy.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from provider.errors import BadRequest, CallError
from provider.lattice.claims import Evidence, examine
from provider.telemetry import logs
from provider.wire.wasmbus_payload import decode_argument

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider.lattice.claims import Token
    from provider.wire.values import Values
    from provider.wire.wasmbus import Invocation

_log = logs.get_logger(component="wasmbus_door")

THREADS = 2
PIECE = 16
"""Invocations examined in one go; fewer cost more turns of the loop, more keep a thread waiting."""


class Examined:
    """An invocation on its way through the checks.

    Args:
        invocation: as it came.
        token: parsed out of it.
        argument: whole.
        then: called with this once it is examined.
    """

    __slots__ = ("argument", "evidence", "invocation", "payload", "problem", "then", "token")

    def __init__(
        self,
        invocation: Invocation,
        token: Token,
        argument: bytes,
        then: Callable[[Examined], None],
    ) -> None:
        self.invocation = invocation
        self.token = token
        self.argument = argument
        self.then = then
        self.evidence = Evidence(signature_valid=False, hash="")
        self.payload: bytes | None = None
        """The argument as CBOR, None when there is none."""
        self.problem: CallError | None = None
        """Why the argument cannot be read."""


class Examiner:
    """Examines invocations in threads of its own.

    Args:
        values: limits of the arguments.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="provider-examiner")
        self._piece: list[Examined] = []
        self._flying: deque[tuple[Future[None], list[Examined]]] = deque()

    def add(self, item: Examined) -> None:
        """Have this one examined, at `flush` at the latest."""
        self._piece.append(item)
        if len(self._piece) >= PIECE:
            self.flush()

    def flush(self) -> None:
        """Start on what was added."""
        if not self._piece:
            return
        piece, self._piece = self._piece, []
        loop = asyncio.get_running_loop()
        flying = self._threads.submit(self._examine, piece)
        self._flying.append((flying, piece))
        flying.add_done_callback(lambda _: self._wake(loop))

    def close(self) -> None:
        """End the threads; what was not examined never will be."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _examine(self, piece: list[Examined]) -> None:
        for item in piece:
            try:
                item.evidence = examine(item.token, item.invocation, item.argument)
                if item.evidence.signature_valid:
                    item.payload = decode_argument(item.argument, self._values)
            except CallError as error:
                item.problem = error
            except Exception as error:  # noqa: BLE001  hostile bytes; one of a piece spoils no other
                item.problem = BadRequest(f"the invocation cannot be read: {type(error).__name__}")

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        # In a thread; when the provider was forced to leave, the loop may be closed by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._land)

    def _land(self) -> None:
        while self._flying and self._flying[0][0].done():
            _, piece = self._flying.popleft()
            for item in piece:
                try:
                    item.then(item)
                except Exception:  # noqa: BLE001  one of a piece spoils no other
                    _log.exception("invocation_lost", id=item.invocation.id)
