"""Signed calls that were sent before, refused where that is asked for (PROVIDER_STRICT).

The rule of this file: what is remembered of a call is bounded, and is forgotten when its age would
refuse it. Pure: the clock is an argument.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from provider.errors import Overloaded, Unauthorized

if TYPE_CHECKING:
    from provider.lattice.claims import Token
    from provider.wire.wasmbus import Invocation


class Replays:
    """What the protocol leaves out, for who wants it: each token counts once and for a while.

    Hosts give tokens no end and nobody remembers them, so whoever overheard a call can repeat it
    for ever. This refuses tokens that are old, that were used before, or whose subject is another
    call. It needs clocks that agree, and it is one process's memory: behind a queue group, a
    repeated call may reach another instance.

    Args:
        max_age: seconds after which a token is too old, and how far ahead a clock may be.
        most: tokens remembered; more within that time are turned away.
    """

    def __init__(self, max_age: float = 60.0, most: int = 100_000) -> None:
        self._max_age = max_age
        self._most = most
        self._seen: set[bytes] = set()
        self._order: deque[tuple[float, bytes]] = deque()

    def check(self, token: Token, invocation: Invocation, now: float) -> None:
        """Refuse what was seen before, remember what was not. Only for calls that passed `check`.

        Args:
            token: of the invocation.
            invocation: as it came.
            now: in seconds since 1970.

        Raises:
            Unauthorized: too old, too new, used before, or of another call.
            Overloaded: no room to remember it.
        """
        claims = token.claims
        if claims.sub != invocation.id:
            raise Unauthorized("Invocation claims are of another invocation")
        age = now - claims.iat
        if abs(age) > self._max_age:
            raise Unauthorized(
                f"Invocation claims token is {age:.0f} s old, of {self._max_age:.0f} s allowed"
            )
        while self._order and self._order[0][0] < now:
            self._seen.discard(self._order.popleft()[1])
        signature = token.parts.signature
        if signature in self._seen:
            raise Unauthorized("Invocation claims token was used before")
        if len(self._seen) >= self._most:
            raise Overloaded(f"{self._most} calls within {self._max_age:.0f} s; try again later")
        self._seen.add(signature)
        # From iat + max_age on its age refuses it, and iat is max_age ahead at most.
        self._order.append((now + 2 * self._max_age, signature))
