"""Results that answer again: for operations declared with `cache`.

The rule of this file: only a good result is kept, for as long as its operation says, and never past
the code that gave it. The same question is the same operation as it was called, by the same caller,
with the same argument, whatever the order of its keys, in the same encoding.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import cachetools

from provider.errors import CallError
from provider.wire import json_form
from provider.wire.about import HEADERS, ID, TRACEPARENT, TRACESTATE, read_about
from provider.wire.frames import Encoding

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider.host.call import Call
    from provider.host.catalogue import Catalogue
    from provider.wire.values import Values

ENTRY = 1024
"""Bytes counted for each entry beside its result: the key, and what keeps the order."""
MOST_SORTED = 64 * 1024
"""Bytes of an argument up to which the order of keys does not matter; a larger one has to come as
it came before, because the host has no time to read it."""

_JSON = frozenset({int(Encoding.JSON), int(Encoding.JSON_ABSENT)})
_LEAVES = frozenset({int, float, bool, type(None), str, bytes})
_OF_ONE_CALL = frozenset({TRACEPARENT, TRACESTATE, "provider-request-id", "provider-timeout-ms"})
"""Headers that make no other call of it."""


class ResultCache:
    """The results kept for one program.

    Args:
        size: most bytes kept, `ENTRY` for each result included.
        catalogue: says how long results of an operation answer.
        values: reads arguments.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        size: int,
        catalogue: Catalogue,
        values: Values,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalogue = catalogue
        self._values = values
        self._kept: cachetools.TLRUCache[bytes, tuple[float, bytes]] = cachetools.TLRUCache(
            size,
            ttu=lambda _key, kept, now: now + kept[0],
            timer=clock,
            getsizeof=lambda kept: ENTRY + len(kept[1]),
        )
        self._loads = 0
        self.hits = 0
        self.misses = 0

    def find(self, call: Call) -> bytes | None:
        """The result that answers this call, too; None where there is none yet.

        Then the answer of this call is kept when it comes.
        """
        declared = self._catalogue.find(call.operation)
        if declared is None or not declared.cache or declared.streams:
            return None
        key = self._key(call)
        kept = self._kept.get(key)
        if kept is not None:
            self.hits += 1
            return kept[1]
        self.misses += 1
        answer, load, seconds = call.answer, self._loads, declared.cache

        def keep(call: Call, result: bytes | None, error: CallError | None) -> None:
            if result is not None and error is None and load == self._loads:
                self._keep(key, seconds, result)
            answer(call, result, error)

        call.answer = keep
        return None

    def clear(self) -> None:
        """Forget all results, those on their way included: other code serves now."""
        self._loads += 1
        self._kept.clear()

    def as_map(self) -> dict[str, Any]:
        """For the status."""
        self._kept.expire()
        return {
            "entries": len(self._kept),
            "bytes": int(self._kept.currsize),
            "hits": self.hits,
            "misses": self.misses,
        }

    def _keep(self, key: bytes, seconds: float, result: bytes) -> None:
        if ENTRY + len(result) <= self._kept.maxsize:
            self._kept[key] = seconds, result

    def _key(self, call: Call) -> bytes:
        about = read_about(call.about)
        caller = sorted(
            (name, str(told))
            for name, told in about.items()
            if name not in (TRACEPARENT, TRACESTATE, ID, HEADERS)
        )
        # Apart from the rest: a header called `caller` says nothing of the caller.
        headers = sorted(
            (name, told)
            for name, told in about.get(HEADERS, {}).items()
            if name.lower() not in _OF_ONE_CALL
        )
        head = repr((call.operation, int(call.encoding), caller, headers)).encode()
        digest = hashlib.blake2b(b"%d:" % len(head) + head, digest_size=32)
        digest.update(self._argument(call))
        return digest.digest()

    def _argument(self, call: Call) -> bytes | memoryview:
        if not call.payload or len(call.payload) > MOST_SORTED:
            return call.payload
        payload = bytes(call.payload)
        try:
            if call.encoding in _JSON:
                value = json_form.decode(payload, self._values)
            else:
                value = self._values.decode(payload)
            return b"sorted" + self._values.encode(_sorted(value))
        except CallError:
            return payload  # the worker says what is wrong with it


def _sorted(value: Any) -> Any:
    """The value with the keys of its maps in one order."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list) and not _LEAVES.issuperset(map(type, value)):
        return [_sorted(member) for member in value]
    return value
