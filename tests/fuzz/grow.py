"""Take what fuzzing found into the corpus: `python -m tests.fuzz.grow [FOLDER]`, .fuzz without one.

The rule of this file: an input is taken when it leads through lines of ours in an order in which no
other one leads, and the shortest that does is taken. What has a name stays; what is taken is named
after what is in it.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.fuzz import target
from tests.fuzz.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fuzz.target import Target

OURS = str(Path(__file__).parents[2] / "provider")
LONGEST = 1024
"""Bytes of an input that is taken."""
MOST = 24
"""Inputs that are taken for one target."""

Step = tuple[str, int, int]
"""A file, and two lines that were run one after the other."""


def grow(each: Target, folder: Path) -> int:
    """Take what is new for one target; how many inputs.

    Args:
        each: the target.
        folder: of inputs that libFuzzer kept.
    """
    each.corpus.mkdir(parents=True, exist_ok=True)
    known: set[Step] = set()
    for path in each.corpus.iterdir():
        known |= steps(lambda data: target.bounded(each, data), path.read_bytes())
    taken = 0
    found = [path.read_bytes() for path in folder.iterdir()] if folder.is_dir() else []
    for data in sorted(found, key=lambda data: (len(data), data)):
        if taken >= MOST or len(data) > LONGEST:
            break
        new = steps(each.run, data)
        if not new <= known:
            known |= new
            taken += 1
            name = hashlib.sha256(data).hexdigest()[:12]
            (each.corpus / name).write_bytes(data)
    return taken


def steps(run: Callable[[bytes], object], data: bytes) -> set[Step]:
    """Which lines of ours are run one after the other."""
    seen: set[Step] = set()

    def enter(frame: Any, event: str, _argument: object) -> Any:
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(OURS):
            return None
        last = 0

        def line(frame: Any, event: str, _argument: object) -> Any:
            nonlocal last
            if event == "line":
                seen.add((file, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        run(data)
    finally:
        sys.settrace(before)
    return seen


def main() -> None:
    """Grow the corpus."""
    folder = Path(*(sys.argv[1:] or [".fuzz"]))
    targets = target.every()
    with quiet():
        for each in targets:
            print(f"{each.name:<22} {grow(each, folder / each.name / 'corpus'):>3}", flush=True)


if __name__ == "__main__":
    main()
