"""What a run says while it runs, and why it is void.

The rule of this file: results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import sys


class Failed(Exception):
    """The run is void; the text says why."""


def say(text: str) -> None:
    """Tell whoever watches."""
    print(text, file=sys.stderr, flush=True)
