"""A load generator that is a process of its own, and told of one cell after the other.

The rule of this file: a cell and what was measured are a line of JSON each; a map with `failed` in
it says why the run is void.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Self

from benchmarks.measuring.processes import ROOT, clean_environment
from benchmarks.measuring.said import Failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import DataclassInstance


class Generator:
    """Our end of it. A context manager; a subclass says which module is run, and what a cell is."""

    module: ClassVar[str]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            cwd=ROOT,
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def ask(self, cell: DataclassInstance) -> dict[str, Any]:
        """What was measured of a cell.

        Raises:
            Failed: as the load generator found, or it died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        said = b""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(asdict(cell)).encode() + b"\n")
            self._process.stdin.flush()
            said = self._process.stdout.readline()
        if not said:
            raise Failed("the load generator died")
        outcome: dict[str, Any] = json.loads(said)
        if "failed" in outcome:
            raise Failed(outcome["failed"])
        return outcome

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):  # a cell that nobody read is still in it
                stream.close()


def answer(measure: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Its end: measure cells until there are no more.

    Args:
        measure: given a cell's fields, what was measured; it may raise `Failed`.
    """
    # Not `print`: with PYTHONUNBUFFERED a signal cuts short what does not fit into the pipe.
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        for line in sys.stdin:
            try:
                told = measure(json.loads(line))
            except Failed as failure:
                told = {"failed": str(failure)}
            out.write(json.dumps(told).encode() + b"\n")
            out.flush()
