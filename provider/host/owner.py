"""Whom a slot tells what happens to its workers, and of what.

The rule of this file: it says what is told and does nothing. The fleet is the owner of all slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider.errors import CallError
    from provider.host.call import Call
    from provider.host.life import Cause
    from provider.host.link import Link
    from provider.host.reload import Reload
    from provider.host.slot import Slot


@dataclass(frozen=True)
class Death:
    """How a worker ended, and what became of its calls.

    Attributes:
        link: of the worker.
        account: a sentence.
        cause: in one word.
        running: the call that ran, None for none.
        lost: calls it had begun, which nobody can answer any more.
        unwanted: calls it had not begun, whose callers have gone.
        given_back: other calls and reloads it had not begun, in order.
        reloads: asked of it and not answered, as far as they are not given back.
        expected: whether it was told to leave.
        lived: whether it had finished a call, or served for a while.
    """

    link: Link
    account: str
    cause: Cause
    running: Call | None
    lost: list[Call]
    unwanted: list[Call]
    given_back: list[Call]
    reloads: list[Reload]
    expected: bool
    lived: bool


class Owner(Protocol):
    """Whom a slot tells what happens."""

    finish: Callable[[Call, bytes | None, CallError | None], None]
    """Called for each call that ended."""
    on_chunk: Callable[[Call, bytes], None]
    """Called for each part of a streamed call."""

    def described(self, link: Link, told: dict[str, Any]) -> None:
        """A worker told of its program again."""

    def schemas_told(self, link: Link, number: int, told: dict[str, Any]) -> None:
        """A worker told of the types of its program."""

    def reload_answered(self, reload: Reload, told: dict[str, Any]) -> None:
        """A worker answered a reload."""

    def joins(self, link: Link, loaded: dict[str, Any]) -> None:
        """A worker has loaded, and will serve; one that says nonsense of it makes this raise."""

    def serves(self, slot: Slot, loaded: dict[str, Any]) -> None:
        """It serves."""

    def finished(self) -> None:
        """A worker whose place was taken has answered its last call."""

    def died(self, slot: Slot, death: Death) -> None:
        """A worker is gone."""

    def not_started(self, reason: str, *, refused: bool) -> None:
        """A worker could not be started; `refused` where it said that the code cannot be loaded."""
