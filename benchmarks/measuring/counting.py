"""Counts the instructions the interpreter runs in one thread, and the calls it makes into C.

The rule of this file: it imports nothing of ours, because it also runs in the worker. What is
counted does not depend on the clock or the machine: of one version of Python, the same work is the
same number every time.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType


class Counter:
    """Counts for the thread that starts it, from then on.

    Attributes:
        instructions: of Python's own machine, as `dis` lists them.
        calls: of functions that are written in C.
        files: instructions by the file they are written in.
    """

    def __init__(self) -> None:
        self.instructions = 0
        self.calls = 0
        self.files: dict[str, int] = {}

    def start(self) -> None:
        """Count what this thread runs, the functions it is in the middle of included."""
        frame: FrameType | None = sys._getframe()  # noqa: SLF001  there is no other way to them
        while frame is not None:
            self._begin(frame, "call", None)
            frame.f_trace = self._count
            frame = frame.f_back
        sys.setprofile(self._profile)
        sys.settrace(self._begin)

    def _begin(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._count

    def _count(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "opcode":
            self.instructions += 1
            name = frame.f_code.co_filename
            self.files[name] = self.files.get(name, 0) + 1
        return self._count

    def _profile(self, _frame: FrameType, event: str, _argument: Any) -> None:
        if event == "c_call":
            self.calls += 1
