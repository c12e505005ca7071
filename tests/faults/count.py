"""What became of the calls of a load, in numbers.

The rule of this file: it only counts. What may be counted how often is for those who judge.
"""

from __future__ import annotations

import collections

LATE = 1.0
"""Seconds after its deadline from which on an answer is late."""
REFUSALS = frozenset({"overloaded", "unavailable", "no_responders"})
"""Kinds of errors that say that the call was not taken. Who gets one waits a moment."""


class Count:
    """What became of the calls.

    Attributes:
        sent: calls that were sent.
        results: answered with the right result.
        errors: answered with an error, by its kind.
        wrong: answered with something else, the second time if not the first.
        twice: answers to calls that had one.
        late: answered more than `LATE` seconds after their deadline.
        unanswered: not answered although the connection lived.
        cut: open when the connection was lost on which an answer could have come, or when the host
            was killed that had them.
        worst: seconds the slowest answer took, results and errors by their kinds.
        examples: the first of those that ought not to be, in words.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.results = 0
        self.errors: collections.Counter[str] = collections.Counter()
        self.wrong = 0
        self.twice = 0
        self.late = 0
        self.unanswered = 0
        self.cut = 0
        self.worst: dict[str, float] = {}
        self.examples: list[str] = []

    @property
    def refused(self) -> int:
        """Calls that were not taken, and said so."""
        return sum(self.errors[kind] for kind in REFUSALS)

    @property
    def taken(self) -> int:
        """Calls that were answered by who took them."""
        return self.results + self.wrong + self.errors.total() - self.refused

    def note(self, text: str) -> None:
        if len(self.examples) < 5:
            self.examples.append(text)
