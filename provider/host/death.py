"""Why a worker died: which of its limits it ran into, as far as can be told.

The rule of this file: what the system says is told as it is, what is concluded is called likely.
"""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from provider.host import resources as knobs
from provider.units import format_duration, format_size

if TYPE_CHECKING:
    import resource
    from collections.abc import Sequence

    from provider.host.resources import Resources

_SIGNS = (
    ("MemoryError", knobs.MEMORY),
    ("Cannot allocate memory", knobs.MEMORY),
    ("failed to map segment", knobs.MEMORY),  # of a library
    ("can't start new thread", knobs.MEMORY),  # whose stack is memory
    ("can't start new thread", knobs.PROCESSES),
    ("Resource temporarily unavailable", knobs.PROCESSES),
    ("Too many open files", knobs.FILES),
)
"""What last words say of the limit that was reached."""


class Circumstances:
    """What is known of a death beside its exit code. Made when the process is started."""

    def __init__(self) -> None:
        self.usage: resource.struct_rusage | None = None
        """What it had used."""
        self.group_ran_out = False
        """Whether the system killed a process of its control group, which had no memory left."""
        self._killed_before = _killed_for_memory()

    def cause(self, code: int, resources: Resources, last_words: Sequence[str]) -> str:
        """Why it most likely died, as the end of a sentence; empty when nothing can be told.

        Args:
            code: its exit code, or minus the number of a signal.
            resources: what it was allowed.
            last_words: last lines of its standard error.
        """
        memory = f"{knobs.MEMORY} ({format_size(resources.memory)})"
        if self.group_ran_out and -code == signal.SIGKILL:
            return f"; together with its children it ran over {memory}"
        if -code in (signal.SIGXCPU, signal.SIGKILL) and self._used_up(resources):
            allowed = format_duration(resources.cpu_time)
            return f"; it has used the processor time of {knobs.CPU_TIME} ({allowed})"
        if -code == signal.SIGKILL and _killed_for_memory() > self._killed_before:
            return "; most likely by the system, which ran out of memory meanwhile"
        if code > 0 or -code == signal.SIGABRT:
            words = "\n".join(last_words)
            reached = {knob for sign, knob in _SIGNS if sign in words} & set(resources.limits())
            if reached:
                return f"; most likely it ran into {' or '.join(sorted(reached))}"
        if self.group_ran_out:
            return f"; before, a child of it was killed: together they ran over {memory}"
        return ""

    def _used_up(self, resources: Resources) -> bool:
        if not resources.cpu_time or self.usage is None:
            return False
        # The system looks at it a few times a second.
        return self.usage.ru_utime + self.usage.ru_stime > resources.cpu_time - 0.5


def signal_name(number: int) -> str:
    """The name of a signal, or its number if it has none."""
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _killed_for_memory() -> int:
    """How many processes the system has killed for want of memory; 0 where it does not tell."""
    with contextlib.suppress(OSError, ValueError):
        words = Path("/proc/vmstat").read_text().split()
        return int(words[words.index("oom_kill") + 1])
    return 0
