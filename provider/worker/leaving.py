"""The end of the process at once, from whichever thread.

The rule of this file: of all threads that want the process to end, one ends it and the others wait
for that. `os._exit` may be more than a system call: what measures the coverage of a program wraps
it and saves what it has, and two threads that did so at once crashed the interpreter, so that the
host was told of a signal and not of the exit code.
"""

from __future__ import annotations

import os
import threading
from typing import NoReturn

_first = threading.Lock()


def leave_at_once(code: int) -> NoReturn:
    """End the process without waiting for anything: no handlers of exit run, no thread is joined.

    Not for a forked child, in which the thread that came first does not exist.

    Args:
        code: the exit code; that of the first who asks counts.
    """
    with _first:
        os._exit(code)
