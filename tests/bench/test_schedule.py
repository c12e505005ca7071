"""Calls are due at equal distances, and none is lost or due twice however time is cut up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from provider.bench.schedule import Schedule

RATES = st.floats(0.01, 1_000_000)
TIMES = st.integers(0, 600 * 10**9)


@given(RATES, TIMES)
def test_as_many_are_due_as_have_come(rate, time):
    schedule = Schedule(rate)
    due = schedule.due_by(time)
    assert schedule.due_at(due - 1) <= time < schedule.due_at(due)


@given(RATES, st.integers(0, 10_000_000))
def test_the_rate_is_kept_in_the_long_run(rate, number):
    assert abs(Schedule(rate).due_at(number) - number * 1e9 / rate) <= 1 + number / rate * 1e-6


def test_the_first_is_due_at_once_and_the_others_at_equal_distances():
    assert [Schedule(1000).due_at(number) for number in range(3)] == [0, 1_000_000, 2_000_000]
    assert Schedule(1000).due_by(0) == 1
    assert Schedule(1000).due_by(999_999_999) == 1000


def test_nothing_is_due_before_the_start():
    assert Schedule(1000).due_by(-1) == 0
