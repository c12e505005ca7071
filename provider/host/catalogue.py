"""What the program that serves declares, as far as the host has to know it.

The rule of this file: it holds what the worker told, each load anew; only the numbers of an
operation outlive a load. A program without operations leaves it empty, and costs nothing here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provider.errors import CallError, CallTimeout, Unavailable
from provider.host.life import TAKES_CALLS
from provider.host.question import Question
from provider.wire.frames import FrameType, frame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provider.host.call import Call
    from provider.host.link import Link

    _Key = tuple[Link, int]
    """A question: who was asked, and its number there."""

REMEMBERED = 4096
"""Names whose operation is remembered; callers make prefixes up, so there is an end to it."""
LONGEST_NAME = 256
"""Characters of them; doors take no longer ones."""
LONGEST = 60.0
"""Seconds the making of schemas may take, unless told otherwise."""
MOST_OPERATIONS = 10_000
"""Operations taken from one program."""
MOST_COUNTED = 5 * MOST_OPERATIONS
"""Operations whose numbers are kept, those of programs that serve no more included."""

_MAKING = "the making of schemas"


class Numbers:
    """How calls of one operation went, as ADR-32 counts.

    Attributes:
        requests: calls answered, refused ones included.
        errors: those answered with an error.
        last_error: code and text of the newest one.
        seconds: from arrival to answer, summed.
    """

    __slots__ = ("errors", "last_error", "requests", "seconds")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.last_error = ""
        self.seconds = 0.0


@dataclass(frozen=True)
class Declared:
    """One operation, as the worker told of it.

    Attributes:
        name: with its interface, where that is fixed.
        free: whether callers may write anything before the name and a dot.
        signature: as the author wrote it.
        doc: the text of its docstring.
        batch: most calls given to it at once; 0 for one at a time.
        cache: seconds a result answers again; 0 for never.
        streams: whether it gives its result in parts.
        http: its HTTP routes, each as `worker.routes.described` has it.
        numbers: how its calls went.
    """

    name: str
    free: bool
    signature: str
    doc: str
    batch: int
    cache: float
    streams: bool
    http: tuple[dict[str, Any], ...]
    numbers: Numbers

    def as_map(self) -> dict[str, Any]:
        """For whoever asks what there is to call."""
        return {
            "name": self.name,
            "free": self.free,
            "signature": self.signature,
            "doc": self.doc,
            "batch": self.batch,
            "cache": self.cache,
            "streams": self.streams,
            "http": [dict(route) for route in self.http],
        }


class Catalogue:
    """The operations of the program that serves.

    Args:
        longest: seconds the making of schemas may take, in which code of the user's types runs. One
            that takes longer ends the worker.
    """

    def __init__(self, longest: float = LONGEST) -> None:
        self.question = Question(_MAKING, longest)
        """The newest about types."""
        self.all: list[Declared] = []
        self.batched = False
        """Whether any of them takes several calls at once."""
        self.cached = False
        """Whether the result of any of them answers again."""
        self._numbers: dict[str, Numbers] = {}
        self._by_name: dict[str, Declared] = {}
        self._free: dict[str, Declared] = {}
        self._remembered: dict[str, Declared] = {}
        self._schemas: dict[str, Any] | None = None
        self._asked: dict[_Key, tuple[Question, asyncio.Future[dict[str, Any] | CallError]]] = {}
        """Questions about types on their way; there may be one about an older load."""
        self._newest: _Key | None = None
        """The one about this load, None before it was asked."""

    def take(self, told: dict[str, Any]) -> None:
        """Note what a load came to; a part of it that is not as it should be is left out.

        Args:
            told: as `worker.loader.Loaded.as_map` has it.
        """
        entries = told.get("operations")
        entries = entries[:MOST_OPERATIONS] if isinstance(entries, list) else []
        self.all = [declared for entry in entries if (declared := self._declared(entry))]
        self.batched = any(declared.batch for declared in self.all)
        self.cached = any(declared.cache and not declared.streams for declared in self.all)
        self._by_name = {declared.name: declared for declared in self.all if not declared.free}
        self._free = {declared.name: declared for declared in self.all if declared.free}
        self._remembered = {}
        if len(self._numbers) > MOST_COUNTED:
            self._numbers = {declared.name: declared.numbers for declared in self.all}

    def renewed(self) -> None:
        """The program is another one; what was said of types was of the old one's."""
        self._schemas = self._newest = None

    def forget(self, link: Link) -> None:
        """This worker is gone, and answers nothing any more."""
        for key in [key for key in self._asked if key[0] is link]:
            if key == self._newest:
                self._newest = None
            self._settle(key, Unavailable("the worker died meanwhile; ask again"))

    def find(self, command: str) -> Declared | None:
        """The operation a call is for, as the worker finds it; None where there is none."""
        declared = self._remembered.get(command)
        if declared is None:
            declared = self._by_name.get(command) or self._free.get(command.rpartition(".")[2])
            if declared is not None and len(command) <= LONGEST_NAME:
                if len(self._remembered) >= REMEMBERED:
                    self._remembered.clear()
                self._remembered[command] = declared
        return declared

    def counted(self) -> Iterable[tuple[str, Numbers]]:
        """How calls went, by name of the operation, of all loads so far."""
        return self._numbers.items()

    def count(self, call: Call, error: CallError | None) -> None:
        """Count the answer of a call."""
        declared = self.find(call.operation)
        if declared is None:
            return
        numbers = declared.numbers
        numbers.requests += 1
        numbers.seconds += time.monotonic() - call.received
        if error is not None:
            numbers.errors += 1
            numbers.last_error = f"{error.code}:{error.kind}: {error.message[:200]}"

    async def schemas(self, link: Link | None, patience: float) -> dict[str, Any]:
        """JSON Schema of the argument and the result of every operation, by its name.

        The worker makes them, between calls, and once for each load.

        Args:
            link: of the worker that serves, None while there is none.
            patience: seconds to wait for it.

        Raises:
            Unavailable: there is no worker, or it died meanwhile.
            CallTimeout: it did not answer in time.
        """
        if self._schemas is not None or not self.all:
            return self._schemas or {}
        if link is None or link.state not in TAKES_CALLS:
            raise Unavailable("no worker is ready", retry_after_ms=1000)
        if self._newest is None:
            number = link.number()
            self._newest = link, number
            self.question = Question(_MAKING, self.question.longest)
            self._asked[self._newest] = self.question, asyncio.get_running_loop().create_future()
            link.write(frame(FrameType.SCHEMA, number))
            self.question.asked(link, number)
        _, asked = self._asked[self._newest]
        try:
            made = await asyncio.wait_for(asyncio.shield(asked), patience)
        except TimeoutError:
            raise CallTimeout(
                f"the worker did not say within {patience:g} s; does a call run that long?"
            ) from None
        if isinstance(made, CallError):
            raise made
        return made

    def told(self, link: Link, number: int, told: dict[str, Any]) -> None:
        """Take what a worker says of types."""
        schemas = told.get("schemas")
        made: dict[str, Any] = schemas if isinstance(schemas, dict) else {}
        if (link, number) == self._newest:
            self._schemas = made
        self._settle((link, number), made)

    def _settle(self, key: _Key, made: dict[str, Any] | CallError) -> None:
        question, asked = self._asked.pop(key, (None, None))
        if question is not None:
            question.settled()
        if asked is not None and not asked.done():
            asked.set_result(made)

    def _declared(self, entry: Any) -> Declared | None:
        with contextlib.suppress(TypeError, ValueError, KeyError, AttributeError):
            name = str(entry["name"])
            return Declared(
                name=name,
                free=bool(entry["free"]),
                signature=str(entry["signature"]),
                doc=str(entry["doc"]),
                batch=int(entry["batch"]),
                cache=float(entry["cache"]),
                streams=bool(entry["streams"]),
                http=tuple(_route(route) for route in entry["http"]),
                numbers=self._numbers.setdefault(name, Numbers()),
            )
        return None


def _route(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": str(told["method"]),
        "path": str(told["path"]),
        "status": int(told["status"]),
        "raw": bool(told["raw"]),
        "whole": bool(told["whole"]),
        "parameters": dict(told["parameters"]),
    }
