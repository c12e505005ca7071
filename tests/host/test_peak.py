"""How much memory a process has had."""

from __future__ import annotations

import os
import subprocess
import sys

from provider.host.peak import Peak, resident

MiB = 1 << 20


def test_what_a_process_has_and_has_had():
    before, _ = resident("self")
    data = b"x" * (64 * MiB)
    now, most = resident(os.getpid())
    assert now - before > 60 * MiB
    del data
    # The kernel adds up what it counts for each processor now and then.
    assert resident("self")[1] > most - 8 * MiB
    assert most > 60 * MiB


def test_of_who_is_gone_nothing_is_known():
    assert resident(2**22 + 1) == (0, 0)
    assert Peak().look(2**22 + 1) == 0
    assert Peak().of(0) is None


def test_only_a_figure_above_ours_is_that_of_the_other():
    peak = Peak()
    ours = resident("self")[1] // 1024
    assert peak.of(ours + 10_000) == (ours + 10_000) * 1024
    assert peak.of(ours - 1) is None


def test_looks_are_remembered():
    code = "data = b'x' * (30 << 20); print(flush=True); input()"
    peak = Peak()
    with subprocess.Popen([sys.executable, "-I", "-c", code], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        now = peak.look(process.pid)
        process.communicate()
    assert now > 30 * MiB
    assert peak.look(process.pid) == 0
    assert peak.of(0) >= now
