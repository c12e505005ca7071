"""What a command does before it imports anything that takes time.

The rule of this file: it imports the standard library only. The kernel drops signals for which
process 1 has no handler, so a container that is told to stop while the command begins would be
waited for, and killed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

if os.getpid() == 1:
    # As a process that is not the first ends of it; `run` has a handler of its own later on.
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(128 + signal.SIGTERM))


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
