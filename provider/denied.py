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
    from collections.abc import Iterator

    from nats.aio.client import Client

_SAID = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"')


class Denials:
    """What one connection is denied, and who waits on it."""

    def __init__(self) -> None:
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
        for waiting in list(self._waiting):
            if what == "publish" and subject == waiting.subject.lower():
                waiting.end(f"NATS does not let this user publish on {waiting.subject}")
            elif what == "subscription" and subject.startswith(f"{waiting.inbox.lower()}."):
                self._deaf = True
                waiting.end(_no_answers(waiting.inbox))

    def forget(self) -> None:
        """Begin anew, on a connection that was made again."""
        self._deaf = False

    @contextlib.contextmanager
    def noticed(self, subject: str, inbox: str) -> Iterator[None]:
        """Within, this task waits for an answer to what was published.

        Args:
            subject: published on.
            inbox: what the subjects of answers begin with.

        Raises:
            Unauthorized: one of them is denied.
        """
        if self._deaf:
            raise Unauthorized(_no_answers(inbox))
        task = asyncio.current_task()
        assert task is not None
        waiting = _Waiting(task, subject, inbox)
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


class _Waiting:
    __slots__ = ("denied", "inbox", "subject", "task")

    def __init__(self, task: asyncio.Task[object], subject: str, inbox: str) -> None:
        self.task = task
        self.subject = subject
        self.inbox = inbox
        self.denied = ""

    def end(self, reason: str) -> None:
        if not self.denied:
            self.denied = reason
            self.task.cancel()


def noticing(client: Client, subject: str) -> contextlib.AbstractContextManager[None]:
    """As `Denials.noticed`, for clients that have them; others notice nothing."""
    denials: Denials | None = getattr(client, "denials", None)
    if denials is None:
        return contextlib.nullcontext()
    return denials.noticed(subject, client._inbox_prefix.decode())  # noqa: SLF001  there is no other way


def _no_answers(inbox: str) -> str:
    return (
        f"NATS does not let this user hear answers on {inbox}.>; what its inboxes may begin with "
        "is named in NATS_INBOX_PREFIX"
    )
