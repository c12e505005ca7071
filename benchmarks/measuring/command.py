"""How a command of this folder ends.

The rule of this file: whatever ends a run ends it in order, so that none of its processes is left.
"""

from __future__ import annotations

import functools
import signal
import sys
from typing import TYPE_CHECKING, ParamSpec

from benchmarks.measuring.said import Failed, say

if TYPE_CHECKING:
    from collections.abc import Callable

Arguments = ParamSpec("Arguments")


def command(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """Have the exit code of a command be 1 where its run is void, and 130 after Ctrl-C."""

    @functools.wraps(main)
    def carried_out(*words: Arguments.args, **options: Arguments.kwargs) -> int:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _: sys.exit(128 + received))
        try:
            return main(*words, **options)
        except Failed as failure:
            say(f"failed: {failure}")
            return 1
        except KeyboardInterrupt:
            return 130

    return carried_out
