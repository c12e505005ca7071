"""The negative example: pictures in another size and with their colours reversed, over gRPC.

It answers the service of image_transform.proto, and anybody who calls it by name. A picture is a
PNG, JPEG or WebP file, or what the clients of the original service send: a pickle of a picture of
Pillow's, which is read here and never unpickled. The answer is what the question was.

The variable NEGATIVE_LIKE_THE_ORIGINAL, when it is `on`, brings back what the original did wrong;
NEGATIVE_PIXELS and NEGATIVE_BYTES are limits.
"""

import os
from typing import TypedDict

import encoded
import pickled
from limits import MOST_BYTES, check_size, invalid, too_large
from negatives import like_the_original, negative, prepared, resized

from provider.dispatch import operation

LIKE_THE_ORIGINAL = os.environ.get("NEGATIVE_LIKE_THE_ORIGINAL", "off") == "on"


class TransformedImage(TypedDict):
    """The answer."""

    image: bytes


@operation(name="flavienbwk.EncodeService.GetEncode")
def get_encode(image: bytes = b"", width: int = 0, height: int = 0) -> TransformedImage:
    """The negative of a picture, in this size; answered in the format in which it came."""
    check_size(width, height, "the size asked for")
    if len(image) > MOST_BYTES:
        raise too_large(f"the picture has {len(image)} bytes; at most {MOST_BYTES}")
    if kind := encoded.kind_of(image):
        picture = encoded.read(image, kind)
        return {"image": encoded.write(transformed(picture, width, height), kind)}
    if image.startswith(pickled.FIRST_BYTE):
        picture, protocol = pickled.read(image)
        return {"image": pickled.write(transformed(picture, width, height), protocol)}
    raise invalid("this is no PNG, JPEG or WebP file, and no pickle of a picture of Pillow's")


def transformed(picture, width, height):
    """Resized first, and then negated, as in the original."""
    if LIKE_THE_ORIGINAL and len(picture.getbands()) >= 3:
        picture.info = {}
        return like_the_original(resized(picture, width, height))
    return negative(resized(prepared(picture), width, height))
