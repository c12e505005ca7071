"""The negative example keeps the limits it was told."""

from __future__ import annotations

import pickle

import pytest
from PIL import Image

from tests.negative.conftest import file_of, loaded, nothing_is_done, picture


@pytest.fixture
def narrow():
    """The example with small limits: 1000 pixels, and 5000 bytes."""
    with loaded(NEGATIVE_PIXELS="1000", NEGATIVE_BYTES="5000") as made:
        yield made


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((41, 25), "the size asked for is 41 by 25 pixels, 1025 in all; at most 1000"),
        ((2**31 - 1, 2**31 - 1), "a side has at most 65535"),
        ((65536, 1), "a side has at most 65535"),
    ],
)
def test_answers_have_limits(narrow, size, reason):
    code, message = narrow.refused(pickle.dumps(picture()), *size)
    assert code == 413
    assert reason in message


def test_a_side_may_be_as_long_as_it_says():
    with loaded() as example:
        wide = example.ask(pickle.dumps(Image.new("L", (1, 65535), 255)), 65535, 1)
    assert pickle.loads(wide).getextrema() == (0, 0)


def test_pictures_have_limits(narrow):
    fits, large = picture("L", (40, 25)), picture("L", (41, 25))
    assert narrow.ask(pickle.dumps(fits))
    for asked in (
        pickle.dumps(large),
        file_of(large, "PNG"),
        file_of(large, "WEBP", lossless=True),
    ):
        code, message = narrow.refused(asked)
        assert (code, "41 by 25 pixels, 1025 in all; at most 1000" in message) == (413, True)
    assert narrow.refused(b"x" * 5001) == (413, "the picture has 5001 bytes; at most 5000")
    assert narrow.refused(b"x" * 5000)[0] == 422


def test_no_step_between_is_larger_than_both_pictures():
    """From high to wide, Pillow would make all of a square on the way: 1.6 GB here."""
    with loaded(NEGATIVE_PIXELS="80000") as example:
        high = pickle.dumps(Image.new("L", (2, 40_000), 255))
        example.ask(pickle.dumps(picture()))  # whatever is imported late is imported now
        with nothing_is_done():
            answer = example.ask(high, 40_000, 2)
        answered = pickle.loads(answer)
        assert answered.size == (40_000, 2)
        assert answered.getextrema() == (0, 0)
