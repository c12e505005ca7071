"""What one picture may cost, and how a caller is told that it costs more or is none.

The rule of this file: a size is looked at before anything of that size is made.
"""

import os

from provider.dispatch import OperationError

MOST_PIXELS = int(os.environ.get("NEGATIVE_PIXELS", "16777216"))
"""Most pixels of a picture, as it comes and as it is answered: 16777216 are 4096 by 4096."""
MOST_BYTES = int(os.environ.get("NEGATIVE_BYTES", "67108864"))
"""Most bytes of a picture as it comes."""
MOST_ON_A_SIDE = 65535
"""Most pixels of a width or a height; a filter's table grows with the side, whatever the area."""


def invalid(reason):
    """The error for what is not as it should be."""
    return OperationError(reason, code=422)


def too_large(reason):
    """The error for what is over a limit; the reason names both sizes."""
    return OperationError(reason, code=413)


def check_size(width, height, what):
    """Refuse a picture of this size; `what` begins the sentence."""
    if width <= 0 or height <= 0:
        raise invalid(f"{what} is {width} by {height} pixels; each must be at least 1")
    if max(width, height) > MOST_ON_A_SIDE:
        raise too_large(
            f"{what} is {width} by {height} pixels; a side has at most {MOST_ON_A_SIDE}"
        )
    if width * height > MOST_PIXELS:
        raise too_large(
            f"{what} is {width} by {height} pixels, {width * height} in all; at most {MOST_PIXELS}"
        )
