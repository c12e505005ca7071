"""However the provider ends, nothing it started is left: no worker, no server, no child."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from provider.errors import Unavailable

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


def test_a_provider_that_is_killed_takes_worker_and_server_along(start_provider, left):
    provider, pids = start(start_provider)
    provider.signal(signal.SIGKILL)
    assert provider.wait() == -signal.SIGKILL
    assert left({name: pids[name] for name in ("worker", "server")}) == []
    for name in set(pids) - {"worker", "server"}:
        os.kill(pids[name], signal.SIGKILL)


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
