"""What user code prints, told in the log with the call that printed it.

The rule of this file: a line may come in after the answer of its call, so the names of calls are
kept a while. A line of a call that nobody remembers has its number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

RECENT = 1024
"""Calls whose names are kept for what they printed; that may come in after their answers."""

_log = logs.get_logger(component="worker")


class Printed:
    """Tells what one worker prints.

    Args:
        worker: gives its process id.
    """

    def __init__(self, worker: Callable[[], int]) -> None:
        self._worker = worker
        self.recent: list[tuple[int, str, str]] = [(0, "", "")] * RECENT
        """Number, id and operation of calls; each stands at its number modulo `RECENT`."""

    def tell(self, stream: str, number: int, text: str) -> None:
        """Log a line.

        Args:
            stream: `stdout` or `stderr`.
            number: of the call it belongs to, 0 for none.
            text: of the line.
        """
        if not number:
            _log.info("printed", stream=stream, text=text, worker=self._worker())
            return
        known, request_id, operation = self.recent[number % RECENT]
        if known != number:
            request_id, operation = "", ""  # printed long before it arrived here
        _log.info(
            "printed",
            stream=stream,
            text=text,
            worker=self._worker(),
            request_id=request_id or f"#{number}",
            operation=operation or None,
        )
