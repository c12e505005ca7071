"""Another size, and the negative of every pixel, whatever the mode of the picture.

The rule of this file: Pillow touches the pixels, in C; a loop of Python's takes a thousand times
as long.
"""

from limits import MOST_PIXELS, invalid
from PIL import Image

FILTER = Image.Resampling.BICUBIC
"""Said everywhere, because Pillow has changed its mind about the default."""
OF_NUMBERS = Image.Resampling.NEAREST
"""Between two numbers of a palette, or black and white, there is nothing."""
NUMBERED = ("1", "P", "PA")

SAME = list(range(256))
NEGATIVE = SAME[::-1]
MIRRORED = [min(255, 256 - value) for value in SAME]
"""Of colours around a neutral 128."""
OPPOSITE = [min(127, -value) % 256 for value in (*range(128), *range(-128, 0))]
"""Of colours around a neutral 0, as signed bytes."""
TABLES = {
    "1": NEGATIVE,
    "L": NEGATIVE,
    "LA": NEGATIVE + SAME,
    "RGB": 3 * NEGATIVE,
    "RGBA": 3 * NEGATIVE + SAME,
    "RGBX": 3 * NEGATIVE + SAME,
    "YCbCr": NEGATIVE + 2 * MIRRORED,
    "LAB": NEGATIVE + 2 * OPPOSITE,
}
"""By mode, what becomes of each value of each channel. Alpha stays."""
THROUGH = {
    "CMYK": "RGB",
    "HSV": "RGB",
    "La": "LA",
    "RGBa": "RGBA",
    "I": "I;16",
    "I;16B": "I",
    "I;16L": "I",
}
"""By mode, the one in which the negative is taken."""


def prepared(image):
    """The picture as it can be worked on: what is known of it is what its negative needs, too."""
    if image.mode == "I" and not 0 <= min(image.getextrema()) <= max(image.getextrema()) <= 65535:
        raise invalid("the picture has the mode I and values outside of 0 to 65535")
    info, image.info = image.info, {}
    profile, clear = info.get("icc_profile"), info.get("transparency")
    if is_clear(clear, image.mode):
        image.info["transparency"] = clear
        if image.mode != "P":
            # One colour that is clear would not survive the filter; an alpha channel does.
            image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    image.info = {key: image.info[key] for key in image.info if key == "transparency"}
    if type(profile) is bytes:
        image.info["icc_profile"] = profile
    return image


def is_clear(clear, mode):
    """Whether this says which colour of a picture, or how much of each, is clear."""
    match mode:
        case "P":
            return (type(clear) is bytes and len(clear) <= 256) or is_value(clear)
        case "1" | "L":
            return is_value(clear)
        case "RGB":
            return type(clear) is tuple and len(clear) == 3 and all(map(is_value, clear))
    return False


def is_value(value):
    """Whether this is the value of a channel."""
    return type(value) is int and 0 <= value <= 255


def resized(image, width, height):
    """The picture in this size."""
    if image.mode in NUMBERED:
        return image.resize((width, height), OF_NUMBERS)
    if width * image.height > MOST_PIXELS:
        # Pillow makes it wide first and low then. In the other order the step between is no larger
        # than the larger of the two pictures: one of the two always is so.
        image = image.resize((image.width, height), FILTER)
    return image.resize((width, height), FILTER)


def negative(image):
    """The picture with black where white was, and so on."""
    mode = image.mode
    if mode in THROUGH:
        return negative(image.convert(THROUGH[mode])).convert(mode)
    if mode in ("P", "PA"):
        return with_negative_palette(image)
    if mode == "I;16":
        return image.point(lambda value: 65535 - value)
    if mode == "F":
        return image.point(lambda value: 255 - value)
    return image.point(TABLES[mode])


def with_negative_palette(image):
    """The same numbers, of other colours."""
    palette = image.getpalette() or []
    count = max(image.getchannel(0).getextrema()[1] + 1, len(palette) // 3)
    # The colours as Pillow shows them, also those of numbers beyond a palette's end.
    colours = Image.frombytes("P", (count, 1), bytes(range(count)))
    if palette:
        colours.putpalette(palette)
    result = image.copy()
    result.putpalette([255 - part for part in colours.convert("RGB").tobytes()])
    return result


def like_the_original(image):
    """What the loop of the original makes of a picture of three channels or four.

    It ends one short of the last row and of the last column, negates the first three channels
    whatever they mean, and sets the fourth to 255.
    """
    result = image.point((3 * NEGATIVE + 256 * [255])[: 256 * len(image.getbands())])
    width, height = image.size
    for box in ((width - 1, 0, width, height), (0, height - 1, width, height)):
        result.paste(image.crop(box), box)
    return result
