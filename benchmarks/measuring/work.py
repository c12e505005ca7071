"""What every row of a run is asked to do, and what the right answer is.

The rule of this file: all rows get the same argument and owe the same result, so a number of one of
them means something beside that of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cbor2

from benchmarks.measuring.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FACTORIAL_PROGRAM = ROOT / "dispatch_examples" / "factorial" / "dispatch.py"
SAME_PROGRAM = "def handle(command, arg):\n    return arg\n"


@dataclass(frozen=True)
class Work:
    """One question.

    Attributes:
        operation: its name in the request.
        argument: of the call.
        result: what the right answer holds.
        program: the dispatch program that computes it.
    """

    operation: str
    argument: Any
    result: Any
    program: Path

    @property
    def request(self) -> bytes:
        """The native request, the same for all rows."""
        return cbor2.dumps({"operation": self.operation, "payload": self.argument})

    @property
    def answer(self) -> bytes:
        """The native answer."""
        return cbor2.dumps({"result": self.result})


FACTORIAL = Work("py.factorial", 10, 3_628_800, FACTORIAL_PROGRAM)


def same(size: int, folder: Path) -> Work:
    """So many bytes, there and back.

    Args:
        size: in bytes.
        folder: where the program is written.
    """
    program = folder / "same.py"
    program.write_text(SAME_PROGRAM, encoding="utf-8")
    data = some_bytes(size)
    return Work("py.same", data, data, program)


def some_bytes(size: int) -> bytes:
    """Bytes that are not all alike."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]
