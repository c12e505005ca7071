"""However the provider ends, nothing it started is left: no worker, no server, no child."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provider.errors import Unavailable
from tests.conftest import PATIENCE, alive, clean_environment, write
from tests.host.groups import GROUPS, needs_groups

STARTING = """
    import os
    import subprocess
    import sys
    import threading
    import time

    def handle(command, arg):
        if command == "child":
            return subprocess.Popen(["sleep", "1000"]).pid
        if command == "shell":
            shell = subprocess.Popen("sleep 1000 & echo $!; wait", shell=True, stdout=-1)
            return [shell.pid, int(shell.stdout.readline())]
        if command == "stubborn":
            text = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: None); "
            text += "signal.signal(signal.SIGINT, lambda *_: None); print('up'); time.sleep(1000)"
            child = subprocess.Popen([sys.executable, "-u", "-c", text], stdout=-1)
            child.stdout.readline()
            return child.pid
        if command == "thread":
            threading.Thread(target=time.sleep, args=(1000,), daemon=arg).start()
        if command == "sleep":
            print("sleeping")
            time.sleep(arg)
        return os.getpid()
"""


def start(start_provider, *, threads_give_up: bool = True):
    """A provider with a NATS server of its own and children of all kinds; all their ids."""
    provider = start_provider(
        STARTING, "--embedded-nats", "--embedded-port", "0", nats="", ready=False
    )
    ready = provider.wait_for("embedded_nats_ready")
    provider.wait_for("ready")
    provider.environment["NATS_URL"] = ready["url"]
    worker = provider.worker_pid
    assert provider.call("thread", threads_give_up) == worker
    children = [provider.call("child"), *provider.call("shell"), provider.call("stubborn")]
    return provider, {"worker": worker, "server": ready["pid"], **dict(enumerate(children))}


@pytest.fixture
def left(processes):
    """Which of these processes are still there when there has been time to go."""

    def left(pids: dict) -> list:
        assert len(set(pids.values())) == len(pids)
        return [name for name, pid in pids.items() if not processes.until_gone(pid)]

    return left


def test_ctrl_c_leaves_no_process(start_provider, left, tmp_path):
    provider, pids = start(start_provider)
    # What a terminal does: every process of the foreground group is told.
    os.killpg(provider.pid, signal.SIGINT)
    assert provider.wait() == 0
    assert left(pids) == []
    assert provider.events("drained")
    assert not provider.events("worker_lost")
    assert [path.name for path in tmp_path.iterdir()] == ["dispatch.py"]


def test_a_second_ctrl_c_ends_calls_and_threads_that_do_not_end(start_provider, left):
    provider, pids = start(start_provider, threads_give_up=False)

    async def work():
        async with provider.connect() as python:
            call = asyncio.create_task(python.call("sleep", 1000))
            await asyncio.to_thread(provider.wait_for, "printed", text="sleeping")
            os.killpg(provider.pid, signal.SIGINT)
            await asyncio.to_thread(provider.wait_for, "draining")
            os.killpg(provider.pid, signal.SIGINT)
            with pytest.raises(Unavailable, match="told to stop at once"):
                await call

    asyncio.run(work())
    assert provider.wait() == 0
    assert left(pids) == []


def test_a_provider_that_is_killed_takes_all_along(start_provider, left):
    provider, pids = start(start_provider)
    provider.signal(signal.SIGKILL)
    assert provider.wait() == -signal.SIGKILL
    assert left(pids) == []


BUSY = """
    import ctypes
    import os
    import subprocess

    def handle(command, arg):
        shell = subprocess.Popen("sleep 1000 & echo $!; wait", shell=True, stdout=-1)
        started = [shell.pid, int(shell.stdout.readline())]
        if arg:
            started.append(subprocess.Popen(["sleep", "1000"], start_new_session=True).pid)
        print("busy", *started)
        ctypes.PyDLL(None).sleep(1000)  # with the lock of the interpreter: nothing else runs
"""


@pytest.mark.parametrize("sessions", [pytest.param(True, marks=needs_groups), pytest.param(False)])
def test_nothing_outlives_a_killed_provider_by_a_second(start_provider, sessions):
    # Where there are control groups, not even what has made a session of its own.
    provider = start_provider(BUSY, PROVIDER_WORKER_CGROUP="on" if sessions else "off")
    worker = provider.worker_pid

    async def work():
        async with provider.connect() as python:
            call = asyncio.create_task(python.call("busy", sessions))
            said = await asyncio.to_thread(provider.wait_for, "printed")
            started = set(map(int, said["text"].split()[1:]))
            family = descendants(provider.pid)
            assert family >= started | {worker}
            assert len(started) == 2 + sessions
            ends = [os.pidfd_open(pid) for pid in family]
            provider.signal(signal.SIGKILL)
            since = time.monotonic()
            for end in ends:
                await asyncio.to_thread(select.select, [end], [], [], PATIENCE)
                os.close(end)
            took = time.monotonic() - since
            call.cancel()
            return family, took

    family, took = asyncio.run(work())
    assert not any(map(alive, family))
    assert took < 1.0
    assert provider.wait() == -signal.SIGKILL


def groups(pid: int) -> list[str]:
    """The control groups that a host has made."""
    found = [] if GROUPS is None else GROUPS.folder.glob(f"provider-worker-{pid}-*")
    return [path.name for path in found]


def until_no_groups(pids: list[int]) -> bool:
    """Wait until none of these hosts has a control group."""
    end = time.monotonic() + PATIENCE
    while any(map(groups, pids)):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


KILLED = """
import os, runpy, signal, sys
from provider.host.survivors import survivors

survivors.add = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
sys.argv = ["provider", "run"]
runpy.run_module("provider", run_name="__main__")
"""


@needs_groups
def test_a_provider_killed_before_anybody_knows_of_its_worker_leaves_no_group(tmp_path):
    write(tmp_path / "dispatch.py", "def handle(command, arg):\n    return arg\n")
    environment = clean_environment(PYTHON_DISPATCH=str(tmp_path / "dispatch.py"))
    with subprocess.Popen([sys.executable, "-c", KILLED], env=environment) as process:
        assert process.wait(PATIENCE) == -signal.SIGKILL
    assert groups(process.pid) == []


@pytest.mark.long
@needs_groups
def test_a_provider_killed_at_any_moment_of_its_start_leaves_no_group(start_provider):
    killed = []
    for moment in range(30):
        provider = start_provider(
            "def handle(command, arg):\n    return arg\n",
            ready=False,
            PROVIDER_WORKERS="2",
            PROVIDER_WORKER_CGROUP="on",
        )
        time.sleep(moment * 0.015)
        provider.signal(signal.SIGKILL)
        assert provider.wait() == -signal.SIGKILL
        killed.append(provider.pid)
    assert until_no_groups(killed)


def descendants(pid: int) -> set[int]:
    """The processes below one."""
    found = set(children(pid))
    for child in list(found):
        with contextlib.suppress(OSError):
            found |= descendants(child)
    return found


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def footprint(provider) -> dict[str, object]:
    """What the host has, and what it has made."""
    folder = Path(f"/proc/{provider.pid}")
    return {
        "descriptors": len(list((folder / "fd").iterdir())),
        "threads": len(list((folder / "task").iterdir())),
        "children": len(children(provider.pid)),
        "groups": len(groups(provider.pid)),
        "files": sorted(path.name for path in Path(provider.environment["TMPDIR"]).iterdir()),
    }


def resident(provider) -> int:
    lines = Path(f"/proc/{provider.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


@pytest.mark.parametrize(
    "restarts", [35, pytest.param(200, marks=pytest.mark.long)], ids=["35", "200"]
)
def test_restarts_leave_no_more_than_the_first_few(start_provider, tmp_path, restarts):
    (tmp_path / "temporary").mkdir()
    provider = start_provider(
        "import os\n\ndef handle(command, arg):\n    return os.getpid()\n",
        TMPDIR=str(tmp_path / "temporary"),
        PROVIDER_WORKERS="2",  # one starts while the other is killed
        PROVIDER_WORKER_CGROUP="on",
    )

    async def restart(python, times):
        """Let so many workers more do something, and kill them."""
        wanted = len(killed) + times
        while len(killed) < wanted:
            ran = collections.Counter(
                await asyncio.gather(*(python.call("pid") for _ in range(10)))
            )
            assert not ran.keys() & killed
            for worker in [worker for worker, calls in ran.items() if calls > 1]:
                os.kill(worker, signal.SIGKILL)
                killed.add(worker)
        await asyncio.to_thread(provider.wait_for, "worker_ready", len(killed) + 2)
        return footprint(provider), resident(provider)

    async def work():
        async with provider.connect() as python:
            before, memory = await restart(python, 20)  # until every thread has been needed once
            after, memory_after = await restart(python, restarts - 20)
            return before, after, memory_after - memory

    killed: set[int] = set()
    before, after, grown = asyncio.run(work())
    # A pool of threads may still be growing, up to what the default of Python is.
    assert after.pop("threads") <= before.pop("threads") + (os.cpu_count() or 1) + 4
    assert after == before
    assert len(killed) >= restarts
    assert grown < 6 << 20  # 33 kilobytes of each of 200, where there is no more than noise
    assert provider.stop() == 0
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize("where", ["while loading", "while looking for a server"])
def test_ctrl_c_ends_a_provider_that_is_not_ready_yet(start_provider, left, where):
    if where == "while loading":
        source, nats = "import time\nprint('hanging')\ntime.sleep(1000)\n", None
    else:
        # Nobody listens on the discard port.
        source, nats = "def handle(command, arg): pass\n", "nats://127.0.0.1:9"
    provider = start_provider(source, ready=False, nats=nats)
    if where == "while loading":
        provider.wait_for("printed", text="hanging")
        (worker,) = {line["worker"] for line in provider.events("printed")}
    else:
        worker = provider.worker_pid
        provider.wait_for("nats_unreachable")
    os.killpg(provider.pid, signal.SIGINT)
    assert provider.wait() == 0
    assert left({"worker": worker}) == []
