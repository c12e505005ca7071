"""The picture shows every call once, and none faster than it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.bench.histogram import Histogram
from provider.bench.picture import MOST_ROWS, picture, rows, time_text

DURATIONS = st.lists(st.integers(0, 10**11), min_size=1)


def of(durations):
    histogram = Histogram()
    for each in durations:
        histogram.record(each)
    return histogram


@given(DURATIONS)
def test_every_call_is_in_one_row(durations):
    shown = rows(of(durations))
    assert sum(count for _, count in shown) == len(durations)
    assert shown[0][1] and shown[-1][1]
    assert len(shown) <= MOST_ROWS
    edges = [edge for edge, _ in shown]
    assert edges == sorted(set(edges))
    assert max(durations) <= edges[-1] * (1 + 1e-6)


@given(DURATIONS)
def test_no_call_is_shown_faster_than_it_was(durations):
    seen = 0
    for edge, count in rows(of(durations)):
        seen += count
        assert seen <= sum(1 for each in durations if each <= edge * (1 + 1e-6))


@given(DURATIONS, st.integers(20, 200))
def test_every_row_with_a_call_has_a_mark_and_none_is_too_wide(durations, width):
    for row, (_, count) in zip(picture(of(durations), width), rows(of(durations)), strict=True):
        assert any(block in row for block in "▏▎▍▌▋▊▉█") == bool(count)
        assert len(row) <= max(width, 11 + len(str(len(durations))) + 12)


def test_how_it_looks():
    assert picture(of([9_000] * 4 + [40_000] * 2 + [900_000]), 40) == [
        "  ≤ 10.0 µs 4  ████████████████████████",
        "  ≤ 15.8 µs 0",
        "  ≤ 25.1 µs 0",
        "  ≤ 39.8 µs 0",
        "  ≤ 63.1 µs 2  ████████████",
        "   ≤ 100 µs 0",
        "   ≤ 158 µs 0",
        "   ≤ 251 µs 0",
        "   ≤ 398 µs 0",
        "   ≤ 631 µs 0",
        "  ≤ 1.00 ms 1  ██████",
    ]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (999.9, "1.00 µs"),
        (1234, "1.23 µs"),
        (99_940, "99.9 µs"),
        (99_960, "100 µs"),
        (12_345_678, "12.3 ms"),
        (61e9, "61.0 s"),
    ],
)
def test_times_have_three_digits(nanoseconds, text):
    assert time_text(nanoseconds) == text
