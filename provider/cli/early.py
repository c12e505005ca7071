"""What a command does before it imports anything that takes time.

The rule of this file: it imports the standard library only. The kernel drops signals for which
process 1 has no handler, so a container that is told to stop while the command begins would be
waited for, and killed.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

if os.getpid() == 1:
    # As a process that is not the first ends of it; `run` has a handler of its own later on.
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(128 + signal.SIGTERM))


def write_whole() -> None:
    """Have all that is written go out, also with PYTHONUNBUFFERED, as containers have it.

    Python's streams then write once, and what a signal kept from going into a full pipe is lost.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        raw = getattr(stream, "buffer", None)
        if isinstance(raw, io.FileIO):
            buffered = open(raw.fileno(), "wb", closefd=False)  # noqa: SIM115  for good
            whole = io.TextIOWrapper(buffered, stream.encoding, stream.errors, line_buffering=True)
            setattr(sys, name, whole)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Import without looking for garbage, now or later: what is imported stays."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
