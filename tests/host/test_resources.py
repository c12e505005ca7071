"""Limits of the worker: each is reached by real code, and each that cannot be set is refused."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from pathlib import Path

import pytest

from provider.errors import HandlerError, StartError, WorkerLost
from provider.host.cgroup import Groups
from provider.host.resources import Resources
from provider.host.worker_user import WorkerUser
from tests.host.groups import GROUPS, needs_groups

MiB = 1 << 20
PROGRAM = """
    import os, resource, subprocess, sys, threading

    def handle(command, arg):
        if command == "fill":
            return len(bytearray(arg))
        if command == "open":
            return len([open(os.devnull) for _ in range(arg)])
        if command == "write":
            with open(os.path.join(os.path.dirname(__file__), "large"), "wb") as file:
                return file.write(b"x" * arg)
        if command == "spin":
            while True:
                pass
        if command == "limit":
            return resource.getrlimit(getattr(resource, "RLIMIT_" + arg))
        if command == "limit of a child":
            code = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[1])"
            return int(subprocess.check_output([sys.executable, "-I", "-c", code]))
        if command == "raise":
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limits[0], limits[1] + 1))
            except ValueError:
                return "refused"
            return "raised"
        return os.getpid()
"""
MOST_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
NOBODY = WorkerUser("nobody", 65534, 65534, (65534,), "/")


async def test_too_much_memory_is_an_error_of_the_function_and_the_worker_lives_on(house):
    await house.start(PROGRAM, resources=Resources(memory=128 * MiB))
    worker = await house.call("pid")
    assert await house.call("fill", 10 * MiB) == 10 * MiB
    with pytest.raises(HandlerError, match=r"^MemoryError"):
        await house.call("fill", 200 * MiB)
    assert await house.call("fill", 10 * MiB) == 10 * MiB
    assert await house.call("pid") == worker


async def test_files_are_counted_and_cut(house):
    limits = Resources(files=40, file_size=MiB)
    await house.start(PROGRAM, resources=limits)
    worker = await house.call("pid")
    assert await house.call("open", 10) == 10
    with pytest.raises(HandlerError, match="Too many open files"):
        await house.call("open", 40)
    assert await house.call("write", MiB) == MiB
    with pytest.raises(HandlerError, match="File too large"):
        await house.call("write", MiB + 1)
    assert await house.call("pid") == worker


async def test_who_has_used_its_processor_time_is_replaced_and_that_is_said(house):
    await house.start(PROGRAM, resources=Resources(cpu_time=0.9))
    worker = await house.call("pid")
    with pytest.raises(WorkerLost) as caught:
        await house.call("spin")
    assert caught.value.message == (
        f"the worker was killed by SIGXCPU (serving {house.setup.program}); it has used the "
        "processor time of PROVIDER_WORKER_CPU_TIME (900ms)"
    )
    assert await house.call("pid") != worker


async def test_limits_are_those_of_children_and_cannot_be_raised(house):
    await house.start(PROGRAM, resources=Resources(files=100))
    assert await house.call("limit of a child") == 100
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    may = int(status["CapEff"], 16) >> 24 & 1  # CAP_SYS_RESOURCE
    assert await house.call("raise") == ("raised" if may else "refused")


async def test_core_dumps_are_off_unless_asked_for(house, monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if before[1] == 0:
        pytest.skip("whoever started the tests allows none")
    resource.setrlimit(resource.RLIMIT_CORE, (4096, before[1]))
    try:
        await house.start(PROGRAM)
        assert await house.call("limit", "CORE") == [0, 0]
        assert Resources(core=True).words() == []
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


async def test_too_little_to_start_with_is_said(house):
    # Where a control group has a say, it may be the first to see it.
    with pytest.raises(
        StartError, match=r"(most likely it ran into|it ran over) PROVIDER_WORKER_M"
    ):
        await house.start(PROGRAM, resources=Resources(memory=4 * MiB))


@needs_groups
async def test_what_left_the_process_group_ends_with_the_worker(house, processes):
    source = """
        import os, subprocess

        def handle(command, arg):
            return subprocess.Popen(["sleep", "1000"], start_new_session=True).pid
    """
    await house.start(source)
    child = await house.call("child")
    assert processes.alive(child)
    house.kill_worker()
    assert await asyncio.to_thread(processes.until_gone, child)


@needs_groups
async def test_without_groups_it_goes_on(house):
    source = """
        import os, subprocess

        def handle(command, arg):
            child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
            return [child.pid, open("/proc/self/cgroup").read()]
    """
    await house.start(source, resources=Resources(group=False))
    child, groups = await house.call("child")
    assert "provider-worker" not in groups
    house.kill_worker()
    assert await house.call("child") != child
    os.kill(child, signal.SIGKILL)  # which fails if it were gone


def refusal(user=None, **limits):
    with pytest.raises(StartError) as caught:
        Resources(**limits).check(user)
    return str(caught.value)


@pytest.mark.skipif(MOST_FILES == resource.RLIM_INFINITY, reason="files have no limit here")
def test_more_than_the_provider_may_have_is_refused():
    assert refusal(files=MOST_FILES + 1) == (
        f"PROVIDER_WORKER_FILES asks for {MOST_FILES + 1}, and the provider itself may have no "
        f"more than {MOST_FILES} (ulimit -H); lower the one or raise the other"
    )


def test_what_only_a_group_can_limit_needs_one():
    assert (
        refusal(cpu=50, group=False) == "PROVIDER_WORKER_CPU needs PROVIDER_WORKER_CGROUP to be on"
    )
    if os.geteuid() == 0:
        said = refusal(cpu=50, processes=10, group=False)
        assert said.startswith("PROVIDER_WORKER_PROCESSES of a worker that runs as root and PROVID")
    if GROUPS is None or "cpu" not in (GROUPS.folder / "cgroup.controllers").read_text().split():
        assert refusal(cpu=50).startswith("PROVIDER_WORKER_CPU needs control groups of version 2 ")


def test_processes_of_other_users_than_root_are_counted_without_groups():
    assert Resources(processes=1000, group=False).check(NOBODY) is None


def test_words_are_what_the_worker_is_told():
    assert Resources(core=True).words() == []
    assert Resources(
        memory=1000, cpu=50, cpu_time=1.5, files=30, processes=20, file_size=10, core=True
    ).words() == [
        "PROVIDER_WORKER_MEMORY:DATA:1000:1000",
        "PROVIDER_WORKER_FILES:NOFILE:30:30",
        "PROVIDER_WORKER_PROCESSES:NPROC:20:20",
        "PROVIDER_WORKER_FILE_SIZE:FSIZE:10:10",
        "PROVIDER_WORKER_CPU_TIME:CPU:2:7",
    ]


def test_what_a_group_counts_is_not_counted_for_all_of_the_user(tmp_path):
    wanted = Resources(processes=20, core=True)
    counted = ["PROVIDER_WORKER_PROCESSES:NPROC:20:20"]
    assert wanted.words(Groups(tmp_path, {"pids.max": "20"})) == []
    assert wanted.words(Groups(tmp_path, {"cpu.max": "1000 100000"})) == counted
    assert wanted.words() == counted


def test_groups_get_the_limits_they_can_have(monkeypatch):
    asked = []

    def find(limits):
        asked.append(limits)

    monkeypatch.setattr("provider.host.resources.Groups.find", find)
    monkeypatch.setattr("provider.host.cgroup.Groups.find", find)
    Resources(memory=1000, processes=20).check(NOBODY)
    everything = {"memory.max": "1000", "pids.max": "20"}
    assert asked == [everything, {}]
    refusal(NOBODY, memory=1000, cpu=150)
    assert asked[2:] == [
        {"memory.max": "1000", "cpu.max": "150000 100000"},
        {"cpu.max": "150000 100000"},
    ]
