"""Who is turned away, and the accounting of those who are not."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from provider.errors import HandlerError, Overloaded, TooLarge
from provider.host.admission import LONGEST_RETRY, SHORTEST_RETRY, Admission
from provider.host.call import Call
from provider.wire.frames import Encoding
from tests.conftest import PATIENCE

MOST_CALLS, MOST_BYTES = 4, 100


def call(size=0):
    return Call("op", bytes(size), Encoding.CBOR, math.inf)


def test_calls_are_counted_until_the_queue_is_full():
    admission = Admission(2, 1000)
    assert admission.admit(call()) is None
    assert admission.admit(call()) is None
    refusal = admission.admit(call())
    assert isinstance(refusal, Overloaded)
    assert refusal.message == "the queue is full: 2 calls of 2 (PROVIDER_QUEUE_CALLS)"
    assert SHORTEST_RETRY <= refusal.retry_after_ms <= LONGEST_RETRY


def test_bytes_are_counted_until_the_queue_is_full():
    admission = Admission(10, 100)
    assert admission.admit(call(60)) is None
    refusal = admission.admit(call(41))
    assert isinstance(refusal, Overloaded)
    assert refusal.message == "the queue is full: 60 bytes of 100 (PROVIDER_QUEUE_BYTES)"
    assert admission.admit(call(40)) is None


@pytest.mark.parametrize("waiting", [0, 1])
def test_what_never_fits_is_not_asked_to_come_back(waiting):
    admission = Admission(1, 100)
    for _ in range(waiting):
        admission.admit(call())
    refusal = admission.admit(call(101))
    assert isinstance(refusal, TooLarge)
    assert refusal.message == (
        "the payload has 101 bytes; the whole queue holds 100 (PROVIDER_QUEUE_BYTES)"
    )
    assert refusal.retry_after_ms is None


def test_errors_are_counted_by_kind_with_those_turned_away():
    admission = Admission(1, 100)
    accepted = call()
    admission.admit(accepted)
    admission.refused(admission.admit(call()))
    admission.leave(accepted, HandlerError("no"))
    assert admission.errors == {"overloaded": 1, "handler_error": 1}
    assert admission.last_error == "handler_error: no"
    assert (admission.accepted, admission.answered) == (1, 1)


@given(seconds=st.floats(0, 1e6, allow_nan=False), answered=st.integers(0, 10**6))
def test_the_time_to_come_back_is_always_sensible(seconds, answered):
    admission = Admission(0, 100)
    admission.seconds, admission.answered = seconds, answered
    refusal = admission.admit(call())
    assert SHORTEST_RETRY <= refusal.retry_after_ms <= LONGEST_RETRY


def test_slow_calls_make_for_longer_times_to_come_back():
    def asked_to_wait(seconds):
        admission = Admission(0, 100)
        admission.seconds, admission.answered = 10 * seconds, 10
        return admission.admit(call()).retry_after_ms

    assert asked_to_wait(0.001) < asked_to_wait(1) < asked_to_wait(20)


async def test_all_who_wait_for_an_empty_house_are_told():
    admission = Admission(10, 100)
    await admission.empty()
    first, second = call(), call()
    admission.admit(first)
    admission.admit(second)
    waiting = [asyncio.ensure_future(admission.empty()) for _ in range(3)]
    await asyncio.sleep(0)
    admission.leave(first, None)
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    admission.leave(second, None)
    await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE)
    admission.admit(first)
    again = asyncio.ensure_future(admission.empty())
    await asyncio.sleep(0)
    assert not again.done()
    admission.leave(first, None)
    await asyncio.wait_for(again, PATIENCE)


class Accounting(RuleBasedStateMachine):
    """Whatever comes and goes, accepted calls are answered calls plus those still open."""

    def __init__(self):
        super().__init__()
        self.admission = Admission(MOST_CALLS, MOST_BYTES)
        self.inside = []
        self.accepted = self.refused = self.failed = 0

    @rule(size=st.integers(0, MOST_BYTES + 20))
    def come(self, size):
        new = call(size)
        fits = len(self.inside) < MOST_CALLS and self.held + size <= MOST_BYTES
        refusal = self.admission.admit(new)
        assert (refusal is None) == fits
        if fits:
            self.inside.append(new)
            self.accepted += 1
        else:
            assert isinstance(refusal, TooLarge) == (size > MOST_BYTES)
            self.admission.refused(refusal)
            self.refused += 1

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), fails=st.booleans())
    def go(self, data, fails):
        gone = self.inside.pop(data.draw(st.integers(0, len(self.inside) - 1)))
        self.admission.leave(gone, HandlerError() if fails else None)
        self.failed += fails

    @property
    def held(self):
        return sum(len(each.payload) for each in self.inside)

    @invariant()
    def adds_up(self):
        admission = self.admission
        assert admission.accepted == self.accepted == admission.answered + admission.open
        assert admission.open == len(self.inside) <= MOST_CALLS
        assert admission.bytes == self.held <= MOST_BYTES
        assert sum(admission.errors.values()) == self.refused + self.failed


TestAccounting = Accounting.TestCase
TestAccounting.settings = settings(max_examples=30, stateful_step_count=30)


def test_who_is_turned_away_for_another_reason_is_told_it():
    admission = Admission(10, 100)
    assert admission.admit(call(1)) is None
    admission.crowd("NATS takes no more answers")
    refusal = admission.admit(call(1))
    assert isinstance(refusal, Overloaded)
    assert refusal.message == "NATS takes no more answers"
    assert refusal.retry_after_ms > 0
    admission.crowd("")
    assert admission.admit(call(1)) is None
    assert admission.open == 2
