"""The negative example makes negatives of whatever pictures there are, within its limits."""

from __future__ import annotations

import io
import pickle
import struct
import zlib

import pytest
from PIL import Image, ImageCms, ImageOps

from provider.dispatch import OperationError
from provider.errors import InvalidArgument
from tests.negative.conftest import (
    ANSWERED_AS,
    MODES,
    NAME,
    file_of,
    nothing_is_done,
    opened,
    picture,
)

SIXTEEN = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def negative_of(example, asked: Image.Image) -> Image.Image:
    """The answer to a picture, in the size it has."""
    answer = pickle.loads(example.ask(pickle.dumps(asked), *asked.size))
    assert type(answer) is Image.Image
    assert (answer.mode, answer.size) == (ANSWERED_AS.get(asked.mode, asked.mode), asked.size)
    return answer


def numbers(image: Image.Image) -> list:
    return [image.getpixel((x, y)) for y in range(image.height) for x in range(image.width)]


# --- modes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "F"])
def test_every_value_is_taken_from_255(example, mode):
    asked = picture(mode)
    expected = ImageOps.invert(asked) if mode != "F" else asked.point(lambda v: 255 - v)
    assert negative_of(example, asked).tobytes() == expected.tobytes()


@pytest.mark.parametrize("mode", ["LA", "RGBA", "RGBX"])
def test_alpha_stays(example, mode):
    asked = picture(mode)
    for before, after in zip(numbers(asked), numbers(negative_of(example, asked)), strict=True):
        assert after[-1] == before[-1]
        assert [255 - value for value in after[:-1]] == list(before[:-1])


@pytest.mark.parametrize("mode", SIXTEEN)
def test_sixteen_bits_are_taken_from_65535(example, mode):
    asked = picture(mode)
    expected = [65535 - value for value in numbers(asked)]
    assert numbers(negative_of(example, asked)) == expected


@pytest.mark.parametrize("mode", ["P", "PA"])
def test_of_a_palette_the_colours_are_reversed(example, mode):
    asked = picture(mode)
    answer = negative_of(example, asked)
    assert answer.getchannel(0).tobytes() == asked.getchannel(0).tobytes()
    before, after = asked.convert("RGB"), answer.convert("RGB")
    assert after.tobytes() == ImageOps.invert(before).tobytes()
    if mode == "PA":
        assert answer.getchannel("A").tobytes() == asked.getchannel("A").tobytes()


@pytest.mark.parametrize("palette", [None, [], [10, 20, 30]])
def test_colours_beyond_the_end_of_a_palette_are_reversed_too(example, palette):
    asked = Image.frombytes("P", (4, 1), bytes([0, 1, 2, 200]))
    if palette:
        asked.putpalette(palette)
    expected = ImageOps.invert(asked.convert("RGB")).tobytes()
    state = [{}, "P", (4, 1), palette, asked.tobytes()]
    answer = pickle.loads(example.ask(pickled(state), 4, 1))
    assert answer.convert("RGB").tobytes() == expected


@pytest.mark.parametrize("mode", ["CMYK", "HSV"])
def test_other_ways_to_say_a_colour_go_through_rgb(example, mode):
    asked = picture(mode)
    expected = ImageOps.invert(asked.convert("RGB")).convert(mode)
    assert negative_of(example, asked).tobytes() == expected.tobytes()


@pytest.mark.parametrize("mode", ["CMYK", "HSV", "YCbCr", "LAB", "La", "RGBa"])
@pytest.mark.parametrize("light", [0, 128, 255])
def test_grey_becomes_the_opposite_grey(example, mode, light):
    grey = {"La": "LA", "RGBa": "RGBA"}.get(mode, "RGB")
    if mode == "LAB":
        # Grey is where both colours are neutral; Pillow shows them as signed bytes.
        asked = Image.frombytes("LAB", (2, 2), bytes([light, 128, 128] * 4))
        assert negative_of(example, asked).tobytes() == bytes([255 - light, 128, 128] * 4)
        return
    asked = Image.new("L", (2, 2), light).convert(grey).convert(mode)
    shown = negative_of(example, asked).convert(grey).convert("L")
    assert numbers(shown) == [255 - light] * 4


def test_in_lab_colours_become_their_opposites(example):
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    red = Image.new("RGB", (2, 2), (200, 60, 60))
    asked = ImageCms.profileToProfile(red, srgb, lab, outputMode="LAB")
    answer = negative_of(example, asked)
    (light, a, b), (other, c, d) = asked.tobytes()[:3], answer.tobytes()[:3]
    assert (light + other, a + c, b + d) == (255, 256, 256)


@pytest.mark.parametrize(
    ("mode", "before", "after"),
    [
        ("YCbCr", [16, 0, 255], [239, 255, 1]),
        ("YCbCr", [0, 1, 129], [255, 255, 127]),
        # As Pillow writes them: 128 is neutral, and there is no opposite of the smallest.
        ("LAB", [16, 0, 255], [239, 255, 1]),
        ("LAB", [0, 1, 129], [255, 255, 127]),
    ],
)
def test_colours_change_sides(example, mode, before, after):
    asked = Image.frombytes(mode, (1, 1), bytes(before))
    assert list(negative_of(example, asked).tobytes()) == after


@pytest.mark.parametrize("value", [0, 1, 65535])
def test_the_mode_i_has_sixteen_bits(example, value):
    asked = Image.new("I", (4, 3), value)
    assert negative_of(example, asked).getextrema() == (65535 - value, 65535 - value)


def test_the_mode_i_has_no_more(example):
    for strange in (-1, 65536):
        asked = Image.new("I", (4, 3), 7)
        asked.putpixel((3, 2), strange)
        code, message = example.refused(pickle.dumps(asked))
        assert (code, "outside of 0 to 65535" in message) == (422, True)


def test_every_mode_is_answered_in_its_mode_and_in_the_size_asked_for(example):
    for mode in MODES:
        for size in ((3, 5), (20, 1)):
            answer = pickle.loads(example.ask(pickle.dumps(picture(mode, (9, 7))), *size))
            assert (answer.mode, answer.size) == (ANSWERED_AS.get(mode, mode), size)


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "filter_of_mode"),
    [
        ("RGB", Image.Resampling.BICUBIC),
        ("I;16", Image.Resampling.BICUBIC),
        ("1", Image.Resampling.NEAREST),
        ("P", Image.Resampling.NEAREST),
        ("PA", Image.Resampling.NEAREST),
    ],
)
def test_the_filter_is_always_the_same(example, mode, filter_of_mode):
    asked = picture(mode, (40, 30))
    resized = asked.resize((16, 9), filter_of_mode)
    answer = pickle.loads(example.ask(pickle.dumps(asked), 16, 9))
    again = pickle.loads(example.ask(pickle.dumps(resized), 16, 9))
    assert answer.tobytes() == again.tobytes()


@pytest.mark.parametrize(("width", "height"), [(0, 3), (3, 0), (-1, 3), (0, 0), (3, -(2**31))])
def test_there_is_no_picture_without_pixels(example, width, height):
    code, message = example.refused(pickle.dumps(picture()), width, height)
    assert code == 422
    assert f"is {width} by {height} pixels; each must be at least 1" in message


def test_size_and_picture_must_be_said(example):
    for asked in ({}, {"image": pickle.dumps(picture())}):
        with pytest.raises(Exception, match="is 0 by 0 pixels") as raised:
            example.dispatch.call(NAME, asked)
        assert raised.value.code == 422
    assert example.refused(b"")[0] == 422
    for wrong in ({"width": "4"}, {"image": 5}, {"depth": 1}):
        with pytest.raises(InvalidArgument):
            example.dispatch.call(NAME, {"width": 4, "height": 3, **wrong})


# --- files ----------------------------------------------------------------------------------------

FILES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind in FILES for mode in FILES[kind]])
def test_a_file_is_answered_with_one_of_its_kind(example, kind, mode):
    colour = {"RGB": (200, 30, 10), "RGBA": (200, 30, 10, 250)}.get(mode, 0)
    asked = Image.new(mode, (40, 30), colour)
    if mode == "P":
        asked.putpalette([200, 30, 10])
    answer = opened(example.ask(file_of(asked, kind), 16, 9))
    assert (answer.format, answer.mode, answer.size) == (kind, mode, (16, 9))
    expected = ImageOps.invert(asked.convert("RGB")).getpixel((0, 0))
    if mode not in ("I;16", "LA"):
        seen = answer.convert("RGB").getpixel((8, 4))
        assert max(abs(a - b) for a, b in zip(seen, expected, strict=True)) <= 4
    elif mode == "I;16":
        assert answer.getextrema() == (65535, 65535)


def test_a_photograph_is_turned_as_its_camera_said(example):
    asked = Image.new("RGB", (20, 10), "white")
    asked.paste("black", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right: what is left is up
    answer = opened(example.ask(file_of(asked, "JPEG", exif=exif), 10, 20)).convert("L")
    assert answer.getpixel((5, 2)) > 200
    assert answer.getpixel((5, 17)) < 50
    assert not answer.getexif()


def test_a_colour_that_is_clear_becomes_clear_pixels(example):
    asked = Image.new("RGB", (4, 3), (1, 2, 3))
    asked.putpixel((0, 0), (9, 9, 9))
    answer = opened(example.ask(file_of(asked, "PNG", transparency=(1, 2, 3))))
    assert answer.mode == "RGBA"
    assert answer.getpixel((0, 0)) == (246, 246, 246, 255)
    assert answer.getpixel((1, 1))[3] == 0
    asked = Image.new("P", (4, 3), 1)
    asked.putpalette([0, 0, 0, 10, 20, 30])
    answer = opened(example.ask(file_of(asked, "PNG", transparency=1)))
    assert answer.convert("RGBA").getpixel((0, 0)) == (245, 235, 225, 0)


@pytest.mark.parametrize("clear", [0, 255])
def test_the_darkest_and_the_lightest_grey_may_be_clear(example, clear):
    asked = Image.new("L", (4, 3), clear)
    answer = opened(example.ask(file_of(asked, "PNG", transparency=clear)))
    assert (answer.mode, answer.getpixel((0, 0))[1]) == ("LA", 0)


def test_each_colour_of_a_palette_may_be_clear_in_its_way(example):
    asked = Image.frombytes("P", (256, 1), bytes(range(256)))
    asked.putpalette(bytes(range(256)) * 3)
    answer = opened(example.ask(file_of(asked, "PNG", transparency=bytes(range(256))), 256, 1))
    alpha = answer.convert("RGBA").getchannel("A")
    assert alpha.tobytes() == bytes(range(256))


@pytest.mark.parametrize("kind", FILES)
def test_the_colour_profile_stays(example, kind):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    asked = file_of(picture("RGB", (40, 30)), kind, icc_profile=profile)
    assert opened(example.ask(asked)).info["icc_profile"] == profile


# --- files that are none --------------------------------------------------------------------------


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, data: bytes, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def webp(name: bytes, data: bytes) -> bytes:
    body = b"WEBP" + name + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


ZEROS = zlib.compress(bytes(10_000_000), 9)
JPEG = file_of(picture("RGB", (8, 8)), "JPEG")
SIZE_OF_JPEG = JPEG.index(b"\xff\xc0") + 5
BOMBS = {
    "png claims much": png(60_000, 60_000, ZEROS),
    "png claims more": png(2**31 - 1, 2**31 - 1, ZEROS),
    "jpeg": JPEG[:SIZE_OF_JPEG] + b"\xff\xdc\xff\xdc" + JPEG[SIZE_OF_JPEG + 4 :],
    "webp extended": webp(b"VP8X", bytes(4) + b"\xfe\x3f\x00" * 2),
    "webp lossless": webp(b"VP8L", b"\x2f" + struct.pack("<I", 0x3FFF << 14 | 0x3FFF) + bytes(9)),
    "webp lossy": webp(b"VP8 ", b"\x10\x02\x00\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(9)),
}
TEXT = zlib.compress(bytes(1_000_000), 9)
TEXTS = [chunk(b"zTXt", b"a%d\0\0" % number + TEXT) for number in range(70)]
NO_FILES = {
    "png of nothing": b"\x89PNG\r\n\x1a\n",
    "png cut off": file_of(picture("RGB", (40, 30)), "PNG")[:-40],
    "png without pixels": png(0, 0, b""),
    "png with too few": png(100, 100, zlib.compress(b"x" * 50)),
    "png with a text bomb": png(4, 3, b"", *TEXTS),
    "jpeg of nothing": b"\xff\xd8\xff",
    "jpeg cut off": JPEG[: len(JPEG) // 2],
    "webp of nothing": b"RIFF\0\0\0\0WEBP",
    "webp of another chunk": webp(b"VP9 ", bytes(30)),
    "webp cut off": file_of(picture("RGB", (40, 30)), "WEBP")[:60],
    "gif": file_of(picture("P"), "GIF"),
    "text": b"picture",
    "nothing": b"",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_claims_much_is_refused_unseen(example, name):
    for kind in FILES:
        example.ask(file_of(picture(), kind))  # whatever is imported late is imported now
    with nothing_is_done():
        refusal = example.outcome(BOMBS[name])
    assert isinstance(refusal, OperationError)
    assert (refusal.code, "pixels" in refusal.message) == (413, True)


@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_picture_is_refused_with_the_reason(example, name):
    code, message = example.refused(NO_FILES[name])
    assert code == 422
    assert "this is no " in message


@pytest.mark.parametrize("size", [(1, 16383), (16383, 1), (8193, 3), (40, 30)])
def test_the_size_a_webp_claims_is_the_one_it_has(example, size):
    webp_size = example.dispatch.module.encoded.webp_size
    made = Image.new("RGB", size, (9, 9, 9))
    files = {
        b"VP8 ": file_of(made, "WEBP"),
        b"VP8L": file_of(made, "WEBP", lossless=True),
        b"VP8X": file_of(made, "WEBP", icc_profile=b"x"),
    }
    for chunk_name, data in files.items():
        assert data[12:16] == chunk_name
        assert webp_size(data) == size


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"RIFF\0\0\0\0AVI ", b"RAFF\0\0\0\0WEBP"])
def test_what_begins_like_nothing_we_know_is_not_tried(example, data):
    code, message = example.refused(data + bytes(30))
    assert (code, "this is no PNG, JPEG or WebP file, and no pickle" in message) == (422, True)


def test_a_side_may_be_too_long_for_a_format(example):
    asked = file_of(picture("RGB", (40, 30)), "WEBP")
    code, message = example.refused(asked, 16_384, 1)
    assert (code, message) == (422, "a side of a WEBP picture has at most 16383 pixels")


def test_a_profile_no_file_can_hold_is_the_callers_fault(example):
    asked = file_of(picture(), "WEBP", icc_profile=b"x" * 100)
    assert opened(example.ask(asked)).info["icc_profile"] == b"x" * 100
    huge = io.BytesIO()
    picture().save(huge, "PNG", icc_profile=bytes(500_000))
    assert example.ask(huge.getvalue())


def pickled(state: list) -> bytes:
    """A pickle of a picture with this state, whatever is in it."""
    body = pickle.dumps(state, 3)
    assert (body[:2], body[-1:]) == (b"\x80\x03", b".")
    return b"\x80\x03cPIL.Image\nImage\n)\x81" + body[2:-1] + b"b."
