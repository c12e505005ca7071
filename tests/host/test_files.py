"""What is noted of the files a worker reads, and what no worker can make of it."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from provider.host import alarm as alarm_module
from provider.host import files as module
from provider.host.alarm import Alarm
from provider.host.files import ProgramFiles
from provider.wire.signature import signature
from tests.logged import PATIENCE


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "dispatch.py"
    path.write_text("old")
    return path


@pytest.fixture
def watched(path):
    """The same, where the system tells of changes, and an alarm may be armed at any time."""
    alarm = Alarm()
    armed = alarm.arm([str(path)])
    alarm.close()
    if not armed:
        pytest.skip("no file system that tells of all changes")
    return path


def if_possible():
    """For steps by chance: what is not there, or in the way, makes them do nothing."""
    return contextlib.suppress(OSError)


@pytest.fixture
def at_once(monkeypatch):
    """Nothing is waited for, and looks are for what the alarm cannot tell only."""
    monkeypatch.setattr(alarm_module, "PAUSE", 0.0)
    monkeypatch.setattr(alarm_module, "RETRY", 0.0)
    monkeypatch.setattr(module, "TRUSTED", math.inf)


@pytest.fixture
def looks(monkeypatch):
    """The paths that were looked at; what is to be done after the next look, if anything."""
    looks = Looks()
    monkeypatch.setattr(module, "_look", looks.look)  # looks, and counts
    return looks


class Looks(list):
    def __init__(self):
        super().__init__()
        self.afterwards = None
        self._look = module._look

    def look(self, path):
        self.append(path)
        seen = self._look(path)
        afterwards, self.afterwards = self.afterwards, None
        if afterwards is not None:
            afterwards()
        return seen


@pytest.fixture
def files():
    """Program files, that are let go of."""
    with contextlib.ExitStack() as stack:

        def made(*programs):
            files = ProgramFiles()
            stack.callback(files.close)
            files.take({"programs": [str(path) for path in programs]})
            return files

        yield made


def test_what_was_saved_is_seen_once(path, files):
    files = files(path)
    assert not files.changed()
    path.write_text("newer")
    assert files.outdated
    assert files.changed()
    assert not files.changed()


@pytest.mark.parametrize("told", [{"programs": ["/\0"]}, {"files": [["/\0", 1, 2, 3]]}])
def test_what_is_no_path_is_not_noted(tmp_path, told):
    files = ProgramFiles()
    files.take({"programs": [str(tmp_path)]})
    with pytest.raises(ValueError, match="null byte"):
        files.take(told)
    assert files.all == [str(tmp_path)]
    assert not files.changed()


def test_while_all_is_quiet_nothing_is_looked_at(watched, files, looks, at_once):
    other = watched.with_name("other.py")
    other.write_text("old")
    files = files(watched, other)
    assert not files.changed()
    assert not files.changed()
    looks.clear()
    for saved in (watched, other):
        for _ in range(5):
            assert not files.changed()
        assert not looks
        saved.write_text("newer")
        assert files.changed()
        assert looks == [str(watched), str(other)]
        looks.clear()


def test_what_the_watcher_tells_counts_though_all_is_quiet(watched, files, looks, at_once):
    files = files(watched)
    for _ in range(3):
        assert not files.changed()
    looks.clear()
    files.told_of_change = True
    assert files.changed()
    assert not files.changed()
    assert not looks


@pytest.mark.parametrize("told", [False, True])
def test_what_is_saved_right_after_a_look_is_not_lost(watched, files, looks, at_once, told):
    files = files(watched)
    if told:
        assert not files.changed()
        os.utime(watched, (1, 1))
        assert files.changed()
        os.chmod(watched, 0o600)
    looks.afterwards = lambda: watched.write_text("newer")
    assert not files.changed()
    assert looks.afterwards is None
    assert files.changed()


def test_every_so_often_it_looks_though_all_is_quiet(watched, files, looks, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)  # what is tested is a span of time
    files = files(watched)
    files.changed()
    files.changed()
    looks.clear()
    files.changed()
    assert not looks
    now += module.TRUSTED
    files.changed()
    assert looks
    looks.clear()
    files.changed()
    assert not looks


def test_calls_that_come_seldom_arm_no_alarm(watched, files, looks, at_once, monkeypatch):
    monkeypatch.setattr(module, "TRUSTED", 0.0)
    armed = []
    monkeypatch.setattr(Alarm, "arm", lambda *_: armed.append(1))  # nobody else tells of it
    files = files(watched)
    armed.clear()
    looks.clear()
    for _ in range(3):
        assert not files.changed()
        os.chmod(watched, 0o600)
    assert looks == [str(watched)] * 3
    assert not armed


@pytest.mark.parametrize("name", ["dispatch.py", "none.py"])
def test_nothing_is_opened_for_who_does_not_ask_nor_for_what_is_not_there(path, name):
    before = len(os.listdir("/proc/self/fd"))
    files = ProgramFiles(watching=name == "none.py")
    files.take({"programs": [str(path.with_name(name))]})
    assert len(os.listdir("/proc/self/fd")) == before


def test_another_program_is_watched_in_place_of_the_first(watched, files, looks, at_once):
    other = watched.with_name("other.py")
    other.write_text("old")
    files = files(watched)
    for _ in range(3):
        assert not files.changed()
    files.take({"programs": [str(other)]})
    for _ in range(3):
        assert not files.changed()
    other.write_text("newer")
    assert files.changed()
    for _ in range(3):
        assert not files.changed()
    looks.clear()
    watched.write_text("newer")
    assert not files.changed()
    assert not looks


@pytest.mark.parametrize("alone", [True, False])
def test_a_worker_that_read_it_before_the_save_is_behind(watched, files, at_once, alone):
    read = [str(watched), *signature(os.stat(watched))]
    files = files(watched)
    for _ in range(3):
        assert not files.changed()
    watched.write_text("newer")
    for _ in range(2):
        files.changed()
    assert not files.changed()
    files.join({"programs": [str(watched)], "files": [read]}, alone=alone)
    assert files.changed()
    assert not files.changed()


def test_closed_it_looks_and_leaves_nothing_open(watched, files, at_once):
    before = len(os.listdir("/proc/self/fd"))
    files = files(watched)
    for _ in range(3):
        assert not files.changed()
    assert len(os.listdir("/proc/self/fd")) == before + 1
    files.close()
    assert not files.changed()
    watched.write_text("newer")
    assert files.changed()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_calls_close_together_run_what_was_saved_before_them(watched, house, at_once):
    def inotifies():
        open_now = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        # One was open for the list only.
        return sum("inotify" in os.readlink(each) for each in open_now if os.path.exists(each))

    before = inotifies()
    await house.start("def handle(command, arg): return 0")
    for version in range(1, 20):
        for _ in range(3):
            assert await house.call("any") == version - 1
        house.save(f"def handle(command, arg): return {version}{' ' * version}")
    assert await house.call("any") == 19
    assert inotifies() == before + 1
    await house.fleet.stop(PATIENCE)
    assert inotifies() == before


MOUNTED = """
import os, subprocess, sys, time
from provider.host import alarm, files as module
from provider.host.files import ProgramFiles

alarm.PAUSE = 0.0
module.TRUSTED = float(sys.argv[1])
folder = sys.argv[2]
files = ProgramFiles()
files.take({"programs": [folder + "/dispatch.py"]})
for _ in range(3):
    assert not files.changed()
subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
with open(folder + "/dispatch.py", "w") as file:
    file.write("another")
told = files.changed()
if not told:
    time.sleep(module.TRUSTED)  # nothing tells of a mount, so the time has to pass
    assert files.changed()
module.TRUSTED = float("inf")
for _ in range(3):
    assert not files.changed()
assert files._alarm.quiet
with open(folder + "/dispatch.py", "a") as file:
    file.write("newer")
assert files.changed()
subprocess.run(["umount", folder], check=True)
"""


def test_what_a_mount_hides_is_seen_before_long_and_told_from_then_on(watched):
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    with contextlib.suppress(FileNotFoundError):  # there is no unshare(1) here
        if not subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
            argv = [*alone, sys.executable, "-c", MOUNTED, "0.3", str(watched.parent)]
            subprocess.run(argv, check=True)
            return
    pytest.skip("nothing may be mounted here")


class Saving(RuleBasedStateMachine):
    """Saves of any kind: whatever a look would see, the next question must find."""

    FOLDERS = ("plain", "mounted", "mounted/v1", "mounted/v2")
    PROGRAMS = ("plain/dispatch.py", "mounted/dispatch.py")
    FILES = ("plain/dispatch.py", "mounted/v1/dispatch.py", "mounted/v2/dispatch.py")

    file = some.sampled_from(FILES + PROGRAMS)
    folder = some.sampled_from(FOLDERS)

    def __init__(self):
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.count = 0
        for folder in self.FOLDERS:
            os.mkdir(self.at(folder))
        for path in self.FILES:
            Path(self.at(path)).write_text("old")
        os.symlink("v1", self.at("mounted/..data"))
        os.symlink("..data/dispatch.py", self.at("mounted/dispatch.py"))
        self.programs = [self.at(path) for path in self.PROGRAMS]
        alarm = Alarm()
        self.tells = alarm.arm(self.programs)
        alarm.close()
        self.files = ProgramFiles()
        self.files.take({"programs": self.programs})
        self.seen = self.look()

    def at(self, path):
        return os.path.join(self.place.name, path)

    def look(self):
        looks = []
        for path in self.programs:
            try:
                looks.append(signature(os.stat(path)))
            except OSError:
                looks.append(None)
        return looks

    def text(self):
        self.count += 1
        return "x" * self.count

    @rule()
    def ask(self):
        now = self.look()
        assert self.files.changed() == (now != self.seen)
        self.seen = now

    @rule()
    def ask_until_quiet(self):
        self.ask()
        for _ in range(3):
            assert not self.files.changed()
        assert self.files._alarm.quiet == (self.tells and None not in self.seen)

    @rule(path=file, how=some.sampled_from(["w", "a", "x"]))
    def write(self, path, how):
        with if_possible(), open(self.at(path), how) as file:
            file.write(self.text())

    @rule(path=file)
    def write_in_place(self, path):
        with if_possible(), open(self.at(path), "r+") as file:
            file.write(self.text())

    @rule(path=file)
    def save_by_rename(self, path):
        with if_possible():
            Path(self.at("new")).write_text(self.text())
            os.rename(self.at("new"), self.at(path))

    @rule(path=file, time_ns=some.integers(0, 10))
    def touch(self, path, time_ns):
        with if_possible():
            os.utime(self.at(path), ns=(0, time_ns))

    @rule(path=file, mode=some.sampled_from([0o600, 0o644]))
    def change_mode(self, path, mode):
        with if_possible():
            os.chmod(self.at(path), mode)

    @rule(path=file)
    def delete(self, path):
        with if_possible():
            os.unlink(self.at(path))

    @rule(path=file, to=some.sampled_from(["..data/dispatch.py", "v2/dispatch.py", "v3"]))
    def link(self, path, to):
        with if_possible():
            os.symlink(to, self.at("new"))
            os.rename(self.at("new"), self.at(path))

    @rule(path=file, other=file)
    def give_another_name(self, path, other):
        with if_possible():
            os.link(self.at(path), self.at("new"))
            os.rename(self.at("new"), self.at(other))

    @rule(to=some.sampled_from(["v1", "v2", "v3", "../plain"]))
    def swap_the_link(self, to):
        with if_possible():
            os.symlink(to, self.at("mounted/..new"))
            os.rename(self.at("mounted/..new"), self.at("mounted/..data"))

    @rule(folder=folder)
    def move_away_or_back(self, folder):
        here, away = self.at(folder), self.at(folder) + "~"
        if os.path.exists(here):
            os.rename(here, away)
        elif os.path.exists(away):
            os.rename(away, here)

    @rule(folder=folder, other=folder)
    def swap_folders(self, folder, other):
        with if_possible():
            os.rename(self.at(folder), self.at("between"))
            os.rename(self.at(other), self.at(folder))
            os.rename(self.at("between"), self.at(other))

    def teardown(self):
        with self.place, contextlib.closing(self.files):
            self.ask()


def test_whatever_is_done_to_files_a_quiet_alarm_hides_no_change(at_once):
    run_state_machine_as_test(Saving, settings=settings(stateful_step_count=50))
