"""The end of the worker when the host ends.

The rule of this file: it is asked for before anything of the user's is imported, and it leaves no
moment in which the host may die unnoticed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1


def die_with(host: int) -> bool:
    """Ask the kernel to kill us when the host dies, which works even while the GIL is held.

    After a change of user, since that undoes it.

    Args:
        host: its process id.

    Returns:
        Whether the host is still there; one that died before sends no signal.
    """
    if sys.platform.startswith("linux"):
        # Some interpreters are built without ctypes; the attendant ends those.
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
    return os.getppid() == host
