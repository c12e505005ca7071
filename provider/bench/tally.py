"""What became of the calls.

The rule of this file: a call that was sent is answered with a result, answered with an error, given
up or still open, exactly one of them; so the numbers add up, and can be held against those of the
provider.
"""

from __future__ import annotations

from typing import Any

from provider.bench.histogram import Histogram

NO_ANSWER = "no_answer"
"""The error of a call nobody answered in time."""
NO_PROVIDER = "no_provider"
"""The error of a call nobody took."""


class Tally:
    """The calls of one part of a load.

    Attributes:
        sent: all of them.
        results: those that were answered with a result.
        errors: the others that are no longer open, by kind.
        latencies: of results, and of calls that were given up, with the time they were waited for:
            without those the slowest would be missing. Other errors are not in it, because a
            refusal that is quick is no quick call.
        lags: how late calls left, where there is a rate to keep.
    """

    __slots__ = ("errors", "lags", "latencies", "results", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.results = 0
        self.errors: dict[str, int] = {}
        self.latencies = Histogram()
        self.lags = Histogram()

    def failed(self, kind: str) -> None:
        """Count one that was answered with an error, or by nobody."""
        self.errors[kind] = self.errors.get(kind, 0) + 1

    @property
    def open(self) -> int:
        """How many have no answer yet."""
        return self.sent - self.results - sum(self.errors.values())

    def counts(self) -> dict[str, Any]:
        """The numbers, for a report."""
        return {
            "calls": self.sent,
            "results": self.results,
            "errors": dict(sorted(self.errors.items())),
            "open": self.open,
        }

    def plus(self, other: Tally) -> dict[str, Any]:
        """The numbers of both together."""
        both = Tally()
        both.sent = self.sent + other.sent
        both.results = self.results + other.results
        both.errors = {
            kind: self.errors.get(kind, 0) + other.errors.get(kind, 0)
            for kind in {*self.errors, *other.errors}
        }
        return both.counts()
