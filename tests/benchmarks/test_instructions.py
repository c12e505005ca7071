"""A call takes no more instructions than it did. CI holds the cost with this, and no clock."""

from __future__ import annotations

import sys

import pytest

from benchmarks import instructions
from benchmarks.measuring.counting import Counter

WHAT_TO_DO = """
A call of the factorial example takes more of Python's instructions than it did (figures are for one
call):

{lines}

If you did not mean that, look at what the way of every call does now that it did not do before:
provider/doors/nats.py to provider/worker/runner.py (docs/architecture.md). If it is worth it, note
the new figures with

    .venv/bin/python -m benchmarks.instructions --write

and say in the commit what they buy.
"""


def test_a_call_takes_no_more_instructions_than_it_did():
    before = instructions.noted()
    if before is None:
        pytest.skip(f"nothing is noted for Python {instructions.VERSION}")
    found, _ = instructions.counts()
    lines = instructions.grown(found, before)
    assert not lines, WHAT_TO_DO.format(lines="\n".join(lines))


def test_what_grew_beyond_the_margin_is_named():
    before = {"host": {"instructions, 1 at a time": 1000.0, "calls into C, 1 at a time": 50.0}}
    found = {"host": {"instructions, 1 at a time": 1019.0, "calls into C, 1 at a time": 51.5}}
    assert instructions.grown(found, before) == ["host, calls into C, 1 at a time: 51.5, was 50.0"]


def test_what_is_noted_is_found_again_and_other_versions_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(instructions, "NOTES", tmp_path / "notes.json")  # ours are kept
    assert instructions.noted() is None
    instructions.note({"host": {"instructions, 1 at a time": 1.0}})
    monkeypatch.setattr(instructions, "VERSION", "3.99")
    assert instructions.noted() is None
    instructions.note({"host": {"instructions, 1 at a time": 2.0}})
    assert instructions.noted() == {"host": {"instructions, 1 at a time": 2.0}}
    monkeypatch.undo()
    monkeypatch.setattr(instructions, "NOTES", tmp_path / "notes.json")
    assert instructions.noted() == {"host": {"instructions, 1 at a time": 1.0}}


def test_files_are_shown_by_what_they_take():
    files = {"host": {"a.py": 12.4, "b.py": 1.0}, "worker": {"a.py": 30.0}}
    assert instructions.where(files).splitlines()[2:] == [
        "| a.py | worker | 30 |",
        "| a.py | host | 12 |",
    ]


@pytest.mark.skipif(sys.gettrace() is not None, reason="coverage or a debugger traces this thread")
def test_the_same_work_is_the_same_number():
    counted = [_count(10), _count(10), _count(11)]
    assert counted[0] == counted[1]
    assert counted[2][0] > counted[0][0]
    assert counted[2][1] == counted[0][1] + 1


def _count(steps: int) -> tuple[int, int]:
    """In a thread of its own, whose tracing ends with it."""
    import threading

    counter = Counter()
    found = []

    def work() -> None:
        counter.start()
        before = counter.instructions, counter.calls
        for step in range(steps):
            abs(step)
        found.append((counter.instructions - before[0], counter.calls - before[1]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]
