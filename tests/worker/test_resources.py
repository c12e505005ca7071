"""The limits a worker sets itself before it runs anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import provider
from provider.worker.resources import limit

ROOT = str(Path(provider.__file__).parents[1])


def limited(*words, asked="RLIMIT_FSIZE"):
    """What a process says that has set these limits, and what they then are."""
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[1])\n"
        "from provider.worker.resources import limit\n"
        "print(limit(sys.argv[3:])); print(*resource.getrlimit(getattr(resource, sys.argv[2])))"
    )
    said = subprocess.check_output(
        [sys.executable, "-I", "-c", code, ROOT, asked, *words], text=True
    )
    return said.splitlines()


def test_no_words_cost_nothing():
    assert limit([]) == ""
    code = "import sys; from provider.worker import resources; print('resource' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT) == b"False\n"


def test_soft_and_hard():
    assert limited("KNOB:FSIZE:1000:2000") == ["", "1000 2000"]
    assert limited("A:NOFILE:30:30", "B:CORE:0:0", asked="RLIMIT_NOFILE") == ["", "30 30"]


def test_what_cannot_be_set_is_named():
    (said, _) = limited("KNOB:FSIZE:2000:1000")
    assert said.startswith("KNOB cannot be set here: RLIMIT_FSIZE of 2000: ")
    (said, _) = limited("KNOB:NONSENSE:1:1")
    assert said.startswith("KNOB cannot be set here: RLIMIT_NONSENSE of 1: ")
