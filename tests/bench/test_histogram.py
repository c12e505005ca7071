"""Durations are counted with the error that is promised, and no other."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.bench.histogram import LONGEST, Histogram

DURATIONS = st.lists(
    st.one_of(
        st.integers(0, 600),
        st.integers(0, LONGEST),
        st.integers(0, 40).map(lambda power: 1 << power),
        st.integers(1, 40).map(lambda power: (1 << power) - 1),
    ),
    min_size=1,
)


def of(durations):
    histogram = Histogram()
    for each in durations:
        histogram.record(each)
    return histogram


@given(DURATIONS, st.floats(0, 100))
def test_a_percentile_is_never_below_the_true_one_and_hardly_above(durations, percent):
    wanted = max(1, math.ceil(len(durations) * percent / 100))
    true = sorted(durations)[wanted - 1]
    assert true <= of(durations).percentile(percent) <= true * (1 + 1 / 128)


@given(DURATIONS)
def test_ends_number_and_mean_are_exact(durations):
    histogram = of(durations)
    assert histogram.count == len(durations)
    assert (histogram.smallest, histogram.largest) == (min(durations), max(durations))
    assert histogram.percentile(100) == max(durations)
    assert histogram.mean == sum(durations) / len(durations)


@given(DURATIONS)
def test_bars_hold_every_duration_once_and_in_order(durations):
    bars = list(of(durations).bars())
    assert sum(bar.times for bar in bars) == len(durations)
    assert all(before.up_to <= after.above for before, after in itertools.pairwise(bars))
    for bar in bars:
        inside = [each for each in durations if bar.above < each <= bar.up_to or each == bar.up_to]
        assert len(inside) == bar.times


@given(st.integers(LONGEST, 1 << 80))
def test_what_is_too_long_is_counted_all_the_same(duration):
    histogram = of([5, duration])
    assert histogram.percentile(99) == histogram.largest == duration
    assert [bar.times for bar in histogram.bars()] == [1, 1]


def test_a_clock_that_goes_back_is_no_duration():
    assert of([-3]).percentile(50) == 0


def test_nothing_has_no_percentile():
    assert (Histogram().percentile(99), Histogram().mean) == (0, 0.0)
    assert list(Histogram().bars()) == []


@pytest.mark.parametrize("count", [1, 100_000])
def test_memory_is_that_of_an_empty_one(count):
    histogram = of(range(0, count * 1000, 1000))
    assert len(histogram._counts) == len(Histogram()._counts) < 5000
