"""Pictures in files: PNG, JPEG and WebP, told apart by their first bytes.

The rule of this file: the size a file claims is looked at before a pixel of it is decoded, and what
Pillow raises about a file is the fault of whoever sent it.
"""

import io

from limits import check_size, invalid
from PIL import Image, ImageOps

from provider.dispatch import OperationError

# Pillow measures pictures, too, and would warn about some; here each is measured beforehand.
Image.MAX_IMAGE_PIXELS = None

QUALITY = 90
"""Of JPEG and WebP answers."""
MOST_ON_A_SIDE = {"JPEG": 65500, "WEBP": 16383}
"""What the formats, or Pillow's encoders, allow."""


def kind_of(data):
    """What kind of file this is, None for no kind we know."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def read(data, kind):
    """The picture in a file, turned as its camera said; of several, the first.

    Raises:
        OperationError: with the code 422, this is no such file, or with 413, it claims a size over
            the limits.
    """
    try:
        if kind == "WEBP":
            # Pillow's decoder makes room for all of the picture when it opens the file.
            check_size(*webp_size(data), "the WEBP picture")
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            check_size(*image.size, f"the {kind} picture")
            return ImageOps.exif_transpose(image)
    except OperationError:
        raise
    except Exception as error:  # noqa: BLE001  decoders raise anything about hostile bytes
        raise invalid(f"this is no {kind} picture that can be read: {named(error)}") from None


def write(image, kind):
    """The picture as such a file."""
    if max(image.size) > MOST_ON_A_SIDE.get(kind, max(image.size)):
        raise invalid(f"a side of a {kind} picture has at most {MOST_ON_A_SIDE[kind]} pixels")
    file = io.BytesIO()
    try:
        image.save(file, kind, quality=QUALITY, icc_profile=image.info.get("icc_profile"))
    except Exception as error:  # noqa: BLE001  of what came with the picture, such as its profile
        raise invalid(f"no {kind} picture can be made of this one: {named(error)}") from None
    return file.getvalue()


def named(error):
    """What an exception says, in a line."""
    return f"{type(error).__name__}: {str(error)!a:.200}"


def webp_size(data):
    """The size at the beginning of a WebP file, in whichever of its three ways."""
    chunk, head = data[12:16], data[20:30].ljust(10, b"\0")
    if chunk == b"VP8X":
        return number(head[4:7]) + 1, number(head[7:10]) + 1
    if chunk == b"VP8L":
        bits = number(head[1:5])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk != b"VP8 ":
        raise invalid("this is no WEBP picture: it does not begin with one of its three chunks")
    return number(head[6:8]) & 0x3FFF, number(head[8:10]) & 0x3FFF


def number(octets):
    """A number of WebP's."""
    return int.from_bytes(octets, "little")
