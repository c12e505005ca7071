"""What a NATS server denies a user, told to whoever waits for an answer that cannot come.

The rule of this file: a server that denies a message or a subscription says so to the connection,
and to nobody who waits. Here those who wait say on what they do; who is denied it is told at once,
with what to do about it, and everybody else waits on.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

from provider.errors import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nats.aio.client import Client

_SAID = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"')


class Denials:
    """What one connection is denied, and who waits on it.

    Args:
        inbox: says what the subjects begin with on which answers come.
    """

    def __init__(self, inbox: Callable[[], str]) -> None:
        self._inbox = inbox
        self._waiting: set[_Waiting] = set()
        self._deaf = False
        """Whether answers are denied, which the server says once."""

    def tell(self, said: str) -> None:
        """Tell whoever it is about.

        Args:
            said: by the server; nats-py has put it into lower case.
        """
        found = _SAID.search(said.lower())
        if found is None:
            return
        what, subject = found.groups()
        deaf = what == "subscription" and subject.startswith(f"{self._inbox().lower()}.")
        self._deaf = self._deaf or deaf
        for waiting in list(self._waiting):
            if what == "publish" and subject == waiting.subject.lower():
                waiting.end(f"NATS does not let this user publish on {waiting.subject}")
            elif deaf:
                waiting.end(self._no_answers())

    def forget(self) -> None:
        """Begin anew, on a connection that was made again."""
        self._deaf = False

    @contextlib.contextmanager
    def noticed(self, subject: str) -> Iterator[None]:
        """Within, this task waits for an answer to what was published.

        Args:
            subject: published on.

        Raises:
            Unauthorized: one of them is denied.
        """
        if self._deaf:
            raise Unauthorized(self._no_answers())
        task = asyncio.current_task()
        assert task is not None
        waiting = _Waiting(task, subject)
        self._waiting.add(waiting)
        try:
            yield
        except asyncio.CancelledError:
            if waiting.denied and not task.uncancel():
                denied, waiting.denied = waiting.denied, ""
                raise Unauthorized(denied) from None
            raise
        finally:
            self._waiting.discard(waiting)
            if waiting.denied:  # the answer came all the same
                task.uncancel()

    def _no_answers(self) -> str:
        return (
            f"NATS does not let this user hear answers on {self._inbox()}.>; what its inboxes may "
            "begin with is named in NATS_INBOX_PREFIX"
        )


class _Waiting:
    __slots__ = ("denied", "subject", "task")

    def __init__(self, task: asyncio.Task[object], subject: str) -> None:
        self.task = task
        self.subject = subject
        self.denied = ""

    def end(self, reason: str) -> None:
        if not self.denied:
            self.denied = reason
            self.task.cancel()


def noticing(client: Client, subject: str) -> contextlib.AbstractContextManager[None]:
    """As `Denials.noticed`, for clients that have them; others notice nothing."""
    denials: Denials | None = getattr(client, "denials", None)
    return contextlib.nullcontext() if denials is None else denials.noticed(subject)
