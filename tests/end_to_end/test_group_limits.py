"""Limits of control groups, reached by real code: memory, processes and processors of a worker.

They need the controllers memory, pids and cpu in version 2, which not every machine gives to it:
docs/testing.md says how to have a small one that does.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from provider.errors import HandlerError, WorkerLost
from tests.conftest import PATIENCE
from tests.end_to_end.test_nothing_left import descendants, groups, until_no_groups
from tests.host.groups import needs_controllers

pytestmark = needs_controllers

MiB = 1 << 20
PROGRAM = """
    import mmap
    import os
    import subprocess
    import sys
    import time

    KEPT = []

    def here():
        path = open("/proc/self/cgroup").read().rpartition("0::")[2].strip()
        mounts = [line.split() for line in open("/proc/self/mountinfo") if " - cgroup2 " in line]
        return os.path.join(mounts[0][4], path.lstrip("/"))

    def handle(command, arg):
        if command == "fill":
            # Shared memory: no limit of a process counts it.
            KEPT.append(mmap.mmap(-1, arg))
            for start in range(0, arg, 4096):
                KEPT[-1][start] = 1
        if command == "child fills":
            code = f"kept = bytearray(b'x') * {arg}; print(flush=True); input()"
            KEPT.append(subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1))
            return KEPT[-1].stdout.read(1).decode()
        if command == "child":
            return KEPT[arg].wait()
        if command == "exit":
            os._exit(arg)
        if command == "fork":
            while True:
                if os.fork() == 0:
                    time.sleep(1000)
        if command == "bomb":
            code = "import os\\nwhile True:\\n try: os.fork()\\n except OSError: pass"
            KEPT.append(subprocess.Popen([sys.executable, "-I", "-S", "-c", code]))
        if command == "spin":
            # More than one processor's worth, and in children, too.
            code = "while True: pass"
            KEPT.extend(subprocess.Popen([sys.executable, "-c", code]) for _ in range(2))
            end = time.monotonic() + arg
            before = usage()
            while time.monotonic() < end:
                pass
            return usage() - before
        if command == "read":
            return open(os.path.join(here(), arg)).read()
        if command == "group":
            return here()
        return os.getpid()

    def usage():
        return int(open(os.path.join(here(), "cpu.stat")).read().split()[1])
"""


def start(start_provider, **environment):
    return start_provider(PROGRAM, PROVIDER_WORKER_CGROUP="on", **environment)


def test_more_memory_than_the_group_may_have_kills_the_worker_and_that_is_said(start_provider):
    provider = start(start_provider, PROVIDER_WORKER_MEMORY="96MiB")
    worker = provider.call("pid")
    assert provider.call("read", "memory.max").strip() == str(96 * MiB)
    provider.call("fill", 10 * MiB)
    with pytest.raises(WorkerLost) as caught:
        provider.call("fill", 100 * MiB)
    said = "together with its children it ran over PROVIDER_WORKER_MEMORY (96MiB)"
    assert "killed by SIGKILL" in caught.value.message
    assert said in caught.value.message
    assert said in provider.wait_for("worker_lost", worker=worker)["account"]
    assert provider.call("pid") != worker
    assert provider.process.poll() is None
    assert provider.stop() == 0
    assert groups(provider.pid) == []


def test_a_child_that_is_killed_for_memory_is_not_what_ended_the_worker(start_provider):
    provider = start(start_provider, PROVIDER_WORKER_MEMORY="128MiB")
    worker = provider.call("pid")
    assert provider.call("child fills", 50 * MiB) == "\n"
    assert provider.call("child fills", 100 * MiB) == ""
    assert provider.call("child", 1) == -signal.SIGKILL
    assert provider.call("pid") == worker
    with pytest.raises(WorkerLost) as caught:
        provider.call("exit", 3)
    assert "left with exit code 3" in caught.value.message
    assert "before, a child of it was killed" in caught.value.message


def test_processes_are_counted_together(start_provider):
    provider = start(start_provider, PROVIDER_WORKER_PROCESSES="30")
    worker = provider.call("pid")
    with pytest.raises(HandlerError, match="Resource temporarily unavailable"):
        provider.call("fork")
    assert int(provider.call("read", "pids.current")) == 30
    assert provider.call("pid") == worker
    family = descendants(provider.pid)
    assert len(family) > 25
    os.kill(worker, signal.SIGKILL)
    assert provider.call("pid") != worker
    assert provider.stop() == 0
    assert groups(provider.pid) == []


def test_a_fork_bomb_stays_in_its_group(start_provider, processes):
    provider = start(start_provider, PROVIDER_WORKER_PROCESSES="40", PROVIDER_WORKER_CPU="50")
    worker = provider.call("pid")
    folder = Path(provider.call("group"))
    provider.call("bomb")
    end = time.monotonic() + PATIENCE
    while (folder / "pids.events").read_text().split() == ["max", "0"]:
        assert time.monotonic() < end
    assert int((folder / "pids.current").read_text()) <= 40
    members = [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    assert len(members) > 30
    assert provider.call("pid") == worker  # the host and its worker live with it
    os.kill(worker, signal.SIGKILL)
    assert provider.call("pid") != worker
    assert all(map(processes.until_gone, members))
    assert not folder.exists()
    assert provider.stop() == 0
    assert groups(provider.pid) == []


def test_the_share_of_the_processors_is_kept_to(start_provider):
    provider = start(start_provider, PROVIDER_WORKER_CPU="50")
    assert provider.call("read", "cpu.max").split() == ["50000", "100000"]
    since = time.monotonic()
    used = provider.call("spin", 3.0) / 1_000_000
    assert 0.0 < used < (time.monotonic() - since) * 0.6  # of a processor, where there is one
    assert provider.stop() == 0
    assert groups(provider.pid) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_limited_groups_go_with_the_host(start_provider, processes, number):
    provider = start(
        start_provider,
        PROVIDER_WORKER_MEMORY="128MiB",
        PROVIDER_WORKER_PROCESSES="50",
        PROVIDER_WORKER_CPU="150",
        PROVIDER_WORKERS="2",
    )
    provider.call("child fills", MiB)
    family = descendants(provider.pid)
    assert len(groups(provider.pid)) == 2
    provider.signal(number)
    provider.wait()
    assert all(map(processes.until_gone, family))
    assert until_no_groups([provider.pid])
