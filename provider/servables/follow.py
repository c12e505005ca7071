"""A config and its graphs, followed while they are served.

The rule of this file: the program is written again only for a config that can be read; of one that
cannot it is said why, once, and what was served is served on. Handlers are no business of this
file: the worker reads them, and notices what is saved.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, TypeVar

from provider.errors import StartError
from provider.servables import plan as plans
from provider.servables import program as programs
from provider.wire.signature import signature

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from provider.servables.plan import Plan
    from provider.wire.signature import Signature

PAUSE = 1.0
"""Seconds between two looks, as of the original."""

T = TypeVar("T")


class Follower:
    """Writes a program again when what it was made from has changed.

    Args:
        plan: as it was read.
        program: path of the program that serves it.
        tracebacks: whether callers are told what handlers raise.
        say: takes what a person should know.
    """

    def __init__(
        self, plan: Plan, program: str, *, tracebacks: bool, say: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._program = program
        self._tracebacks = tracebacks
        self._say = say
        self._seen = _look(plan)

    def look(self) -> bool:
        """Look once; whether the program was written again."""
        now = _look(self._plan)
        if all(self._seen[file] == now[file] for file in now):
            return False
        self._seen = now
        try:
            plan = plans.read(self._plan.path)
        except StartError as error:
            self._say(f"{error}; what was read before is served on")
            return False
        before = self._plan
        for note in plan.notes:
            if note not in before.notes:
                self._say(note)
        changed = plan.servables != before.servables
        if changed:
            programs.write(self._program, plan, tracebacks=self._tracebacks)
        self._plan = plan
        # Of what was looked at before it was read: a save in between is found the next time.
        self._seen = {**_look(plan), **now}
        return changed

    async def beside(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work returns, beside which this looks again and again."""
        following = asyncio.create_task(self._follow())
        try:
            return await work
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            # A large graph takes its time, which is not that of the calls.
            try:
                await asyncio.to_thread(self.look)
            except Exception as error:  # noqa: BLE001  a full disk and the like end no provider
                self._say(f"{self._plan.path} cannot be followed: {error!r}")


def _look(plan: Plan) -> dict[str, Signature | None]:
    return {file: _signature(file) for file in plan.files}


def _signature(file: str) -> Signature | None:
    try:
        return signature(os.stat(file))
    except OSError:
        return None
