"""The strict switch: a signed call counts once, and for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provider.errors import Overloaded
from provider.lattice import claims
from provider.lattice.replays import Replays
from tests.lattice.test_claims import NOW, call, change, refusal

if TYPE_CHECKING:
    from provider.wire.wasmbus import Invocation


def replay(guard: Replays, invocation: Invocation, now: float) -> None:
    guard.check(claims.parse(invocation.encoded_claims), invocation, now)


def test_a_token_counts_once() -> None:
    guard = Replays(max_age=60)
    replay(guard, call(), NOW)
    assert refusal(replay, guard, call(), NOW + 1) == "Invocation claims token was used before"
    replay(guard, call(invocation_id="id2"), NOW + 1)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (NOW + 61, "Invocation claims token is 62 s old, of 60 s allowed"),
        (NOW - 61, "Invocation claims token is -60 s old, of 60 s allowed"),
    ],
)
def test_a_token_counts_for_a_while(now: float, reason: str) -> None:
    assert refusal(replay, Replays(max_age=60), call(), now) == reason


def test_a_token_counts_for_one_call() -> None:
    assert (
        refusal(replay, Replays(), change(call(), id="id2"), NOW)
        == "Invocation claims are of another invocation"
    )


def test_what_is_too_old_anyway_is_forgotten() -> None:
    guard, now = Replays(max_age=10, most=1), int(NOW)
    early = call(now=now + 10)  # by a host whose clock is ahead
    replay(guard, early, now)
    late = call(invocation_id="id2", now=now + 20)
    with pytest.raises(Overloaded, match="1 calls within 10 s"):
        replay(guard, late, now + 20)
    assert refusal(replay, guard, early, now + 20) == "Invocation claims token was used before"
    replay(guard, late, now + 21)
    assert refusal(replay, guard, early, now + 21).endswith("of 10 s allowed")
