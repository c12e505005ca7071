"""Several threads that want the process to end, and the one that ends it."""

from __future__ import annotations

import subprocess
import sys

LEAVING = """
import os, threading
from provider.worker.leaving import leave_at_once
leave = os._exit
other = threading.Thread(target=leave_at_once, args=(2,), daemon=True)
def saving(code):
    print("saving", code, flush=True)
    if code == 1:
        other.start()
        other.join(0.3)  # it does not end: it waits for the end of the process
    leave(code)
os._exit = saving
leave_at_once(1)
"""


def test_the_first_thread_ends_the_process_and_no_other_disturbs_it():
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"saving 1\n", b"")


def test_a_thread_may_end_the_process_while_the_main_thread_runs():
    program = "import threading, time\nfrom provider.worker.leaving import leave_at_once\n"
    program += "threading.Thread(target=leave_at_once, args=(7,)).start()\ntime.sleep(3600)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 7
