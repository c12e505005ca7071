"""The process of a worker: what is told of its end, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from pathlib import Path

import pytest

from provider.errors import StartError
from provider.host.contract import resolve
from provider.host.peak import resident
from provider.host.process import WorkerProcess
from provider.host.resources import Resources
from provider.host.spawned import spawn
from provider.host.survivors import survivors
from tests.host.groups import GROUPS

MiB = 1 << 20


class Started:
    """A process in place of a worker: `source` runs where the worker's first file should."""

    def __init__(self, setup):
        self.setup = setup
        self.process = WorkerProcess(setup, lambda *_: None)
        self.spawned = None

    async def start(self):
        self.spawned = spawn(self.setup)
        self.spawned.taken = True
        self.link.settimeout(60)
        try:
            await self.process.attach(self.spawned)
        except BaseException:
            await self.process.abandon()
            raise

    @property
    def link(self):
        return self.spawned.link

    def heard(self):
        return self.link.recv(100)

    def close(self):
        if self.spawned is not None:
            self.link.close()
            self.spawned.progress.close()


@pytest.fixture
def prepare(fake_python, tmp_path):
    made = []

    def prepare(source, python=None, **more):
        program = tmp_path / "dispatch.py"
        program.write_text("def handle(command, arg): pass\n")
        setup = resolve(venv=None, main=None, dispatch=str(program), **more)
        setup = dataclasses.replace(setup, python=python or fake_python(source))
        started = Started(setup)
        made.append(started)
        return started

    yield prepare
    for started in made:
        started.close()
    assert groups() == []


def groups():
    """Control groups that we have not removed."""
    if GROUPS is None:
        return []
    return [each.name for each in GROUPS.folder.glob(f"provider-worker-{os.getpid()}-*")]


async def ended(source, prepare):
    started = prepare(source)
    await started.start()
    assert started.process.exit is None
    code = await started.process.ended()
    await started.process.hear_out(1.0)
    return code, started.process


async def test_an_exit_code_is_told(prepare):
    code, process = await ended("sys.exit(7)", prepare)
    assert (code, process.exit) == (7, 7)
    assert process.account(code, spoke=True).startswith("the worker left with exit code 7 (serving")
    assert process.account(code, spoke=False).endswith("; is it a Python interpreter?")
    assert process.memory == 0
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)  # it was reaped


async def test_a_signal_is_told_by_its_name(prepare):
    code, process = await ended("os.kill(os.getpid(), 11)", prepare)
    assert (code, process.exit) == (-11, "SIGSEGV")
    assert "killed by SIGSEGV (serving " in process.account(code, spoke=True)


async def test_what_a_large_worker_has_had_is_told_to_the_byte(prepare):
    _, ours = resident("self")
    source = f"data = b'x' * {ours + 50 * MiB}; del data; os.kill(os.getpid(), 9)"
    _, process = await ended(source, prepare)
    assert ours + 50 * MiB < process.peak_memory < ours + 150 * MiB


async def test_of_a_small_one_the_last_look_counts(prepare):
    started = prepare("data = b'x' * (20 << 20); del data; link.send(b'.'); time.sleep(1000)")
    await started.start()
    await asyncio.to_thread(started.heard)
    assert 0 < started.process.memory < 200 * MiB
    started.process.give_up("the test is over")
    assert await started.process.ended() == -signal.SIGKILL
    await started.process.hear_out(1.0)
    assert 20 * MiB < started.process.peak_memory
    # Not the figure of the system, which begins with ours.
    assert started.process.peak_memory < max(resident("self")[1], 60 * MiB)


async def test_of_a_small_one_nobody_looked_at_nothing_is_told(prepare):
    ballast = b"x" * (50 * MiB)
    _, process = await ended("", prepare)
    assert process.peak_memory is None
    del ballast


async def test_no_interpreter_leaves_nothing(prepare):
    started = prepare("", python="/nowhere/python")
    with pytest.raises(StartError, match=r"^cannot start /nowhere/python: .*No such file"):
        await started.start()
    assert started.process.pid == 0
    assert groups() == []


async def test_a_start_that_is_cancelled_leaves_no_process(prepare, processes):
    started = prepare("time.sleep(1000)")
    starting = asyncio.create_task(started.start())
    while not started.process.pid and not starting.done():
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait({starting})
    if not starting.cancelled():  # there was no more to wait for
        started.process.give_up("the test is over")
        await started.process.ended()
    assert not processes.alive(started.process.pid)
    assert started.process.exit == "SIGKILL"


@pytest.mark.parametrize("group", [True, False])
async def test_children_are_ended_and_forgotten(prepare, processes, group):
    source = """
        import subprocess
        child = subprocess.Popen(["sleep", "1000"])
        link.send(b"%d" % child.pid)
    """
    source = "\n".join(line.strip() for line in source.splitlines())
    started = prepare(source, resources=Resources(group=group))
    await started.start()
    await started.process.ended()
    child = int(started.heard())
    assert await asyncio.to_thread(processes.until_gone, child)
    await started.process.hear_out(1.0)
    assert started.process.pid not in survivors._workers


async def test_it_is_in_a_group_of_its_own(prepare):
    if GROUPS is None:
        pytest.skip("no control groups of version 2 that we may change")
    source = "link.recv(1); link.send(b'\\n'.join(open('/proc/self/cgroup', 'rb')))"
    started = prepare(source)
    await started.start()
    started.link.send(b"go")
    said = await asyncio.to_thread(started.link.recv, 10_000)
    await started.process.ended()
    await started.process.hear_out(1.0)
    assert b"provider-worker-%d-" % os.getpid() in said
    assert Path("/proc/self/cgroup").read_text().count("provider-worker") == 0
