"""A worker ends with the host that started it, whenever that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import provider
from tests.conftest import PATIENCE, until_gone
from tests.worker.conftest import PACKAGE, SCRIPT

ROOT = str(Path(provider.__file__).parents[1])


def test_a_worker_whose_host_has_died_before_it_asked_leaves():
    # Of which we are not the child: whoever was its parent would have our number.
    done = subprocess.run(
        [sys.executable, "-I", SCRIPT, PACKAGE, "0", "0", str(os.getpid() + 1)],
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_a_process_that_holds_the_interpreter_dies_with_its_parent():
    busy = (
        "import ctypes, os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from provider.worker.parent import die_with\n"
        "print(die_with(os.getppid()), os.getpid(), flush=True)\n"
        "ctypes.PyDLL(None).pause()"  # which keeps the lock of the interpreter
    )
    parent = (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-I', '-c', sys.argv[1], sys.argv[2]])"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-c", parent, busy, ROOT], stdout=-1, text=True
    ) as process:
        alive, pid = process.stdout.readline().split()
        assert alive == "True"
        process.send_signal(signal.SIGKILL)
        assert until_gone(int(pid))
