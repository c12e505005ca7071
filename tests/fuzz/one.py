"""Fuzz one target in this process: `python -m tests.fuzz.one NAME REPORT [flags of libFuzzer]`.

The rule of this file: it says nothing but what libFuzzer says. How long the slowest input took is
in the file REPORT, which is written whenever there is a slower one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["provider", "python_multipart"]):
    from tests.fuzz import target
    from tests.fuzz.quiet import quiet


def main() -> None:
    """Fuzz until libFuzzer has had enough, which ends the process."""
    _, name, report, *flags = sys.argv
    with atheris.instrument_imports(include=["provider", "python_multipart"]):
        each = target.named(name)
    slowest = -1.0

    def one(data: bytes) -> None:
        nonlocal slowest
        took = target.bounded(each, data)
        if took > slowest:
            slowest = took
            Path(report).write_text(f"{took:.6f}", encoding="ascii")

    with quiet():
        atheris.Setup([sys.argv[0], *flags], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
