"""What ends the rest when the host was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from provider.host import sentinel
from provider.host.survivors import Survivors
from tests.conftest import PATIENCE, alive, until_gone
from tests.host.groups import GROUPS, needs_groups


@pytest.fixture
def family():
    """Starts a leader of a process group and a child of it: `family()`; their numbers."""
    started = []

    def start():
        process = subprocess.Popen(
            ["sh", "-c", "sleep 1000 & echo $!; wait"], stdout=-1, start_new_session=True
        )
        started.append(process)
        return process.pid, int(process.stdout.readline())

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ignores(pid, number):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    ignored = next(line for line in lines if line.startswith("SigIgn"))
    return int(ignored.split()[1], 16) >> number - 1 & 1


class Apart:
    """A sentinel, told by us."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", sentinel.__file__], stdin=subprocess.PIPE
        )

    def tell(self, line):
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(PATIENCE) == 0


def test_when_the_pipe_ends_the_groups_end_that_are_left(family):
    left, gone, beside = family(), family(), family()
    apart = Apart()
    apart.tell(f"+{left[0]} \n+{gone[0]} \n")
    apart.tell(f"-{gone[0]}\n")
    assert all(map(alive, left))
    apart.end()
    assert all(map(until_gone, left))
    assert all(map(alive, gone + beside))
    for pid in gone[1], beside[1]:
        os.kill(pid, signal.SIGKILL)


@needs_groups
def test_control_groups_are_ended_and_removed():
    group = GROUPS.make()
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        group.enter(process.pid)
        apart = Apart()
        # The process group of another, so that only the control group can be what ends it.
        apart.tell(f"+{apart.process.pid} {group.folder}\n")
        (group.folder / "own").mkdir()  # as its processes may
        apart.process.stdin.close()
        assert process.wait(PATIENCE) == -signal.SIGKILL
    apart.process.wait(PATIENCE)
    assert not group.folder.exists()


def test_what_is_gone_already_is_no_error():
    with subprocess.Popen(["true"], start_new_session=True) as process:
        pass
    sentinel.end({process.pid: ("", "/nowhere"), 2**22: ("", "")})


def test_a_stranger_who_has_got_the_number_of_a_worker_is_left_alone(family):
    stranger, worker = family(), family()
    since = sentinel.began(worker[0])
    assert since
    assert int(since) >= int(sentinel.began(stranger[0]))
    sentinel.end({stranger[0]: ("1", ""), worker[0]: (since, "")})
    assert all(map(until_gone, worker))
    assert all(map(alive, stranger))


def test_signals_that_ask_to_end_do_not_end_it(family):
    left = family()
    apart = Apart()
    apart.tell(f"+{left[0]} \n")
    apart.tell("-1\n" * 100)
    while not ignores(apart.process.pid, signal.SIGTERM):
        assert apart.process.poll() is None
    for number in signal.SIGHUP, signal.SIGINT, signal.SIGTERM:
        apart.process.send_signal(number)
    apart.end()
    assert all(map(until_gone, left))


def test_lines_are_read_to_their_end():
    ours, theirs = os.pipe()
    us, nobody = os.getpid(), 2**22
    os.write(theirs, b"+%d /folder with blanks\n+6 \n+%d /a\n-6\n-9\n" % (us, nobody))
    os.close(theirs)
    assert sentinel.follow(ours) == {
        us: (sentinel.began(us), "/folder with blanks"),
        nobody: ("", "/a"),
    }


def test_one_that_is_lost_is_replaced_and_told_everything(family):
    first, second = family(), family()
    survivors = Survivors()
    assert survivors.sentinel == 0
    survivors.add(first[0], "")
    lost = survivors.sentinel
    os.kill(lost, signal.SIGKILL)
    assert until_gone(lost)
    survivors.remove(2**22)
    survivors.add(second[0], "")
    assert survivors.sentinel != lost
    survivors.close()
    assert all(map(until_gone, first + second))
    survivors.close()  # again is no harm


def test_it_holds_nothing_of_ours_open(family):
    survivors = Survivors()
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    survivors.add(family()[0], "")
    folder = f"/proc/{survivors.sentinel}"
    # Which is what an interpreter opens in passing, too.
    assert {os.readlink(f"{folder}/fd/{number}") for number in (1, 2)} == {os.devnull}
    assert os.readlink(f"{folder}/cwd") == "/"
    os.close(theirs)
    assert os.read(ours, 1) == b""
    os.close(ours)
    survivors.close()


def test_no_room_for_one_is_no_error(family, monkeypatch):
    survivors = Survivors()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    pid, child = family()
    survivors.add(pid, "")
    assert survivors.sentinel == 0
    survivors.remove(pid)
    survivors.close()
    os.kill(child, signal.SIGKILL)
