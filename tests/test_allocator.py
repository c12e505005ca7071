"""Memory that is kept for the next large value."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from tests.conftest import clean_environment

PAGES = """
import resource
{before}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def large():  # several at once, as a value has on its way
    return [bytes(10_000_000) + b"x" for _ in range(3)]
large()
began = faults()
for _ in range(10):
    large()
print(faults() - began)
"""


def faults_of(before: str, **environment: str) -> int:
    """Pages fetched from the system for thirty times ten megabytes."""
    done = subprocess.run(
        [sys.executable, "-c", PAGES.format(before=before)],
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


KEEP = "from provider.allocator import keep_memory; keep_memory()"


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc, whose memory could be kept"
)
def test_memory_is_fetched_once_and_kept_unless_the_environment_has_a_wish():
    usual, kept = faults_of(""), faults_of(KEEP)
    assert usual > 10_000
    assert kept < usual / 5
    assert faults_of(KEEP, MALLOC_TRIM_THRESHOLD_="1000") > 5 * kept
