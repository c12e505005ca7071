"""A worker's process before anybody listens to it: it waits, can be taken, and leaves nothing."""

from __future__ import annotations

import dataclasses
import os
import select
import signal

import pytest

from provider.errors import StartError
from provider.host.contract import resolve
from provider.host.spawned import spawn
from provider.wire.frames import FrameReader, FrameType
from tests.conftest import PATIENCE

RAN = "import pathlib; pathlib.Path(__file__).with_name('ran').touch()\n"


@pytest.fixture
def program(tmp_path):
    program = tmp_path / "dispatch.py"
    program.write_text(RAN + "def handle(command, arg): pass\n")
    return program


@pytest.fixture
def setup(program):
    return resolve(venv=None, main=None, dispatch=str(program))


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


def test_it_says_hello_and_runs_nothing_of_the_users(setup, program, processes):
    spawned = spawn(setup)
    try:
        spawned.link.settimeout(PATIENCE)
        (kind, _, _), *more = FrameReader().feed(spawned.link.recv(4096))
        assert (kind, more) == (FrameType.HELLO, [])
        # It waits for what to load, and hears of nothing else.
        ready, _, _ = select.select([spawned.link], [], [], 0.2)
        assert not ready
    finally:
        spawned.end()
    assert not program.with_name("ran").exists()
    assert not processes.alive(spawned.process.pid)


def test_what_nobody_took_is_ended_and_nothing_is_left(setup, processes):
    before = descriptors()
    spawned = spawn(setup)
    spawned.end()
    assert spawned.process.returncode == -signal.SIGKILL
    assert not processes.alive(spawned.process.pid)
    assert descriptors() == before
    spawned.end()  # once more does no harm


def test_what_somebody_took_is_left_alone(setup, processes):
    spawned = spawn(setup)
    spawned.taken = True
    spawned.end()
    assert processes.alive(spawned.process.pid)
    spawned.taken = False
    spawned.end()


def test_no_interpreter_says_so_and_leaves_nothing(setup):
    before = descriptors()
    with pytest.raises(StartError, match=r"^cannot start /nowhere/python: .*No such file"):
        spawn(dataclasses.replace(setup, python="/nowhere/python"))
    assert descriptors() == before


async def test_a_worker_serves_from_a_process_that_has_begun_already(house, begin):
    spawned = begin()
    await house.fleet.start(spawned)
    assert house.fleet.link.pid == spawned.process.pid
    assert house.fleet.link.started == spawned.began
    assert await house.call("echo", 1) == 1
    spawned.end()  # as who began it does at last
    assert await house.call("echo", 2) == 2


async def test_a_process_that_died_meanwhile_is_accounted_for(house, begin):
    spawned = begin()
    os.kill(spawned.process.pid, signal.SIGSEGV)
    with pytest.raises(StartError, match=r"^the worker was killed by SIGSEGV"):
        await house.fleet.start(spawned)


@pytest.fixture
def begin(house):
    """Begins the process of the house's first worker."""
    house.build("def handle(command, arg): return arg\n")
    return lambda: spawn(house.setup)
