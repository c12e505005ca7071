"""The end of a child: noticed while it still has its number, and then reaped."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from provider.host.reaping import reap, reap_group, until_dead
from tests.conftest import PATIENCE


def refuse(_pid):
    raise OSError


@pytest.fixture(params=["by descriptor", "by thread"])
def way(request, monkeypatch):
    if request.param == "by thread":
        monkeypatch.setattr(os, "pidfd_open", refuse)


def state(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


@pytest.mark.parametrize(("end", "code"), [("exit 3", 3), ("kill -9 $$", -signal.SIGKILL)])
async def test_it_is_dead_and_still_there(way, end, code):
    process = subprocess.Popen(["sh", "-c", f"read go; {end}"], stdin=-1)
    waiting = asyncio.create_task(until_dead(process.pid))
    await asyncio.sleep(0)
    assert not waiting.done()
    process.stdin.close()
    await asyncio.wait_for(waiting, PATIENCE)
    assert state(process.pid) == "Z"
    await until_dead(process.pid)  # who asks later is told as well
    told, usage = reap(process.pid)
    process.returncode = told
    assert told == code
    assert usage.ru_maxrss > 0
    assert not os.path.exists(f"/proc/{process.pid}")


async def test_who_waits_no_more_leaves_nothing(way):
    before = set(os.listdir("/proc/self/fd"))
    with subprocess.Popen(["sleep", "1000"]) as process:
        waiting = asyncio.create_task(until_dead(process.pid))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        process.kill()
    await asyncio.sleep(0)
    assert set(os.listdir("/proc/self/fd")) <= before


async def test_orphans_that_became_ours_are_reaped():
    # As where the host is the first process of a container.
    orphan = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    os.killpg(orphan.pid, signal.SIGKILL)
    await asyncio.wait_for(reap_group(orphan.pid), PATIENCE)
    orphan.returncode = -9
    assert not os.path.exists(f"/proc/{orphan.pid}")


async def test_where_there_are_none_nothing_is_waited_for():
    await asyncio.wait_for(reap_group(2**22), PATIENCE)


ADOPTING = """
import ctypes, os, subprocess, sys, threading, time
from provider.host.reaping import reap_orphans

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # as process 1: what is left becomes ours
ours = subprocess.Popen(["sh", "-c", "exit 7"], stdout=-1)
threading.Thread(target=reap_orphans, args=({ours.pid},), daemon=True).start()
left = [
    int(subprocess.run(["sh", "-c", "sleep 0 & echo $!"], stdout=-1).stdout) for _ in range(10)
]
while any(os.path.exists(f"/proc/{pid}") for pid in left):
    time.sleep(0.01)
sys.exit(ours.wait())
"""


def test_orphans_are_reaped_and_children_somebody_waits_for_are_not():
    done = subprocess.run([sys.executable, "-c", ADOPTING], timeout=PATIENCE, check=False)
    assert done.returncode == 7
