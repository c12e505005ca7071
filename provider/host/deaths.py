"""How workers died: told, counted, and when there is no hope left.

The rule of this file: each death is told with its cause, its last words, its memory and the call
that ran. Workers that die one after the other without a call having been run are a crash loop, and
somebody is told when that has gone on long enough. A call that ends its worker is the matter of its
caller; it does not count, or callers could end the provider.
"""

from __future__ import annotations

import collections
import time
from typing import TYPE_CHECKING, Any

from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider.host.life import Cause
    from provider.host.owner import Death

REMEMBERED = 5
"""Deaths that are told of in the status."""
LAST_WORDS = 5
"""Last lines of a worker in the log and the status."""

_log = logs.get_logger(component="fleet")


class Deaths:
    """Those of all workers.

    Args:
        limit: deaths in a row, without a call and without having lived, after which there is no
            hope; 0 for never.
        on_hopeless: called once then, with a sentence.
    """

    def __init__(self, limit: int, on_hopeless: Callable[[str], None]) -> None:
        self._limit = limit
        self._on_hopeless = on_hopeless
        self.restarts: dict[str, int] = {}
        """Workers replaced, by cause."""
        self.recent: collections.deque[dict[str, Any]] = collections.deque(maxlen=REMEMBERED)
        """The newest, as they were told; `at` is a POSIX time in seconds."""
        self._in_a_row = 0

    def replaced(self, cause: Cause) -> None:
        """Count a worker that another one takes the place of."""
        self.restarts[cause.value] = self.restarts.get(cause.value, 0) + 1

    def note(self, death: Death, *, quiet: bool) -> None:
        """Tell of a death.

        Args:
            death: it.
            quiet: whether it was expected, and is told only where calls were lost.
        """
        link, running = death.link, death.running
        told = {
            "worker": link.pid,
            "account": death.account,
            "cause": death.cause.value,
            "exit": link.exit,
            "memory_bytes": link.peak_memory,
            "operation": running.operation if running else None,
            "request_id": running.request_id if running else None,
            "last_words": link.last_words[-LAST_WORDS:],
            "answered_with_error": len(death.lost),
            "given_back": len(death.given_back),
        }
        if quiet and not death.lost:
            _log.debug("worker_left", **told)
            return
        _log.error("worker_lost", **told)
        self.recent.append({"at": time.time(), **told})
        if death.lived:
            self._in_a_row = 0
        elif running is None:
            self.count(death.account)

    def count(self, account: str) -> None:
        """Count a death that no call is the cause of."""
        self._in_a_row += 1
        if self._in_a_row == self._limit:
            why = (
                f"the worker died {self._in_a_row} times in a row without having served "
                f"(PROVIDER_CRASH_LIMIT); the last time: {account.partition(chr(10))[0]}"
            )
            _log.critical("crash_loop", deaths=self._in_a_row, account=account)
            self._on_hopeless(why)


def obituary(account: str, words: list[str]) -> str:
    """What callers are told of a death.

    Args:
        account: a sentence.
        words: last lines of the worker.
    """
    if not words:
        return account
    return account + "; its last words: " + " | ".join(words[-3:])
