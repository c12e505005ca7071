"""With its switch on, the negative example answers as the original did, pixel by pixel."""

from __future__ import annotations

import pickle

import pytest
from PIL import Image

from tests.negative.conftest import MODES, file_of, opened, picture

ANSWERED = ("RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
"""Modes with which the original did not fail."""


def as_described(image: Image.Image, width: int, height: int) -> Image.Image:
    """What the original does: every pixel but those of the last row and of the last column."""
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    negative = image.copy()
    for x in range(width - 1):
        for y in range(height - 1):
            red, green, blue, *_ = image.getpixel((x, y))
            negative.putpixel((x, y), (255 - red, 255 - green, 255 - blue))
    return negative


@pytest.mark.parametrize("size", [(32, 18), (64, 36), (9, 50), (1, 1), (1, 5), (5, 1), (2, 2)])
@pytest.mark.parametrize("mode", ANSWERED)
def test_the_answer_is_that_of_the_loop_byte_for_byte(original, mode, size):
    asked = picture(mode, (64, 36))
    expected = as_described(asked, *size)
    answer = pickle.loads(original.ask(pickle.dumps(asked), *size))
    assert (answer.mode, answer.size) == (mode, size)
    assert answer.tobytes() == expected.tobytes()


def test_the_last_row_and_column_keep_their_colours(original, example):
    asked = picture("RGB", (64, 36))
    resized = asked.resize((32, 18), Image.Resampling.BICUBIC)
    places = [(x, y) for x in range(32) for y in range(18)]
    kept = {}
    for name, made in (("original", original), ("example", example)):
        answer = pickle.loads(made.ask(pickle.dumps(asked), 32, 18))
        kept[name] = sum(answer.getpixel(at) == resized.getpixel(at) for at in places)
    assert kept == {"original": 32 + 18 - 1, "example": 0}


@pytest.mark.parametrize("mode", sorted(set(MODES) - set(ANSWERED)))
def test_what_the_original_could_not_answer_is_answered_right(original, example, mode):
    asked = pickle.dumps(picture(mode))
    assert original.ask(asked) == example.ask(asked)


def test_files_are_answered_like_the_original_too(original):
    asked = picture("RGB", (64, 36))
    answer = opened(original.ask(file_of(asked, "PNG", transparency=(1, 2, 3)), 32, 18))
    assert answer.mode == "RGB"
    assert answer.tobytes() == as_described(asked, 32, 18).tobytes()
