"""Durations and sizes, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.units import format_duration, format_size, parse_duration, parse_size

# --- Durations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 60.0),
        ("60s", 60.0),
        ("2m", 120.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        (" 500ms ", 0.5),
        ("1.5s", 1.5),
        ("1d", 86400.0),
        ("0", 0.0),
        ("366d", 366 * 86400.0),
        (60, 60.0),
        (0.25, 0.25),
        (0.00001, 0.00001),
    ],
)
def test_durations_are_read_as_people_write_them(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "s", "1y", "-1", "-1s", "1,5s", "1 5s", "5x3s", "1.5.5s", "1e3", "nan", "inf", "٣s"),
        *(True, None, float("nan"), float("inf"), -1.0, "9" * 1_000_000),
    ],
)
def test_anything_else_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="a duration such as 500ms, 60s, 2m or 1h30m"):
        parse_duration(text)


def test_a_duration_has_an_end() -> None:
    with pytest.raises(ValueError, match="at most 366d"):
        parse_duration("366d1ms")


@given(st.floats(min_value=0, max_value=366 * 86400))
def test_a_duration_written_and_read_is_the_same(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (0.5, "500ms"),
        (0.0015, "1.5ms"),
        (1.0, "1s"),
        (60.0, "60s"),
        (90.0, "90s"),
        (100.0, "100s"),
        (120.0, "2m"),
        (3600.0, "1h"),
        (5400.0, "1h30m"),
        (5400.1, "1h30m0.1s"),
        (36000.0, "10h"),
        (100 * 3600.0, "100h"),
    ],
)
def test_durations_are_written_readably(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


# --- Sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000", 1000),
        ("64KiB", 65536),
        ("1MiB", 1048576),
        ("1.5 MiB", 1572864),
        ("10MB", 10_000_000),
        ("10mb", 10_000_000),
        ("2kB", 2000),
        ("7B", 7),
        ("0", 0),
        ("1024TiB", 1 << 50),
        (4096, 4096),
        (4096.0, 4096),
    ],
)
def test_sizes_are_read_as_people_write_them(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "64M", "64Mi", "-1", "1 2", "0x10", "1e3", True, None])
def test_anything_else_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="a size such as 64KiB, 1MiB or 10MB"):
        parse_size(text)


def test_a_size_is_whole_and_has_an_end() -> None:
    with pytest.raises(ValueError, match="a whole number of bytes"):
        parse_size("0.3B")
    with pytest.raises(ValueError, match="at most 1024TiB"):
        parse_size((1 << 50) + 1)


@given(st.integers(0, 1 << 50) | st.integers(0, 1024).map(lambda mebi: mebi << 20))
def test_a_size_written_and_read_is_the_same(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (1, "1"),
        (1000, "1KB"),
        (1024, "1KiB"),
        (1536, "1536"),
        (65536, "64KiB"),
        (10_000_000, "10MB"),
        (3 << 30, "3GiB"),
        (1 << 50, "1024TiB"),
    ],
)
def test_sizes_are_written_readably(size: int, text: str) -> None:
    assert format_size(size) == text
