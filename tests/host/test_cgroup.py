"""Control groups: real ones where the system has them, and what is written to which file."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading

import pytest

from provider.errors import StartError
from provider.host.cgroup import Group, Groups, groups_for
from tests.conftest import PATIENCE, until_gone
from tests.host.groups import GROUPS, needs_groups, needs_root


@pytest.fixture
def group():
    assert GROUPS is not None
    # Apart, for hosts that start meanwhile tidy up what lies empty beside them.
    apart = GROUPS.folder / f"tests-{os.getpid()}"
    apart.mkdir()
    made = Groups(apart, {}).make()
    yield made
    made.kill()
    assert asyncio.run(made.remove())
    assert not made.folder.exists()
    apart.rmdir()


@pytest.fixture
def sleeper():
    """A process that does nothing."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@needs_groups
def test_a_group_ends_all_that_is_in_it_whatever_session_it_is_in(group):
    shell = "echo; read go; sleep 1000 & echo $!; setsid sleep 1000 & wait"
    with subprocess.Popen(["sh", "-c", shell], stdin=-1, stdout=-1, text=True) as process:
        process.stdout.readline()
        group.enter(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        child = int(process.stdout.readline())
        while len(members := (group.folder / "cgroup.procs").read_text().split()) < 3:
            assert process.poll() is None
        assert not group.remove_empty()
        group.kill()
        assert process.wait(PATIENCE) == -signal.SIGKILL
    assert {process.pid, child} < {int(member) for member in members}
    assert all(until_gone(int(member)) for member in members)
    assert asyncio.run(group.remove())
    assert not group.folder.exists()


@needs_groups
def test_who_is_dead_already_is_no_error(group):
    process = subprocess.Popen(["true"])
    process.wait()
    group.enter(process.pid)
    assert group.folder.exists()
    assert not group.ran_out_of_memory


@needs_groups
def test_it_is_there_from_its_first_process_on_and_never_again(group):
    # So that somebody else can know of it before, see the sentinel.
    assert not group.folder.exists()
    assert group.remove_empty()
    group.enter(None)
    assert not group.folder.exists()


@needs_groups
def test_what_is_being_made_is_removed_by_who_asks_once_more(group, monkeypatch):
    # As where a start is given up while a thread waits for the kernel.
    begun, go = threading.Event(), threading.Event()
    fill = group._fill

    def wait(pid):
        begun.set()
        assert go.wait(PATIENCE)
        fill(pid)

    monkeypatch.setattr(group, "_fill", wait)
    entering = threading.Thread(target=group.enter, args=(None,))
    entering.start()
    assert begun.wait(PATIENCE)
    assert not group.remove_empty()
    go.set()
    entering.join()
    assert group.folder.exists()
    assert group.remove_empty()


@needs_groups
def test_groups_that_were_made_in_it_go_along(group, sleeper):
    group.enter(None)
    below = group.folder / "own" / "deeper"
    below.mkdir(parents=True)
    (below / "cgroup.procs").write_text(str(sleeper.pid))
    assert not group.remove_empty()
    assert below.exists()
    group.kill()
    assert sleeper.wait(PATIENCE) == -signal.SIGKILL
    assert asyncio.run(group.remove())
    assert not group.folder.exists()


@needs_groups
def test_one_that_could_not_be_removed_in_time_is_removed_later(group, sleeper, monkeypatch):
    monkeypatch.setattr("provider.host.cgroup.REMOVED_WITHIN", 0.0)
    group.enter(sleeper.pid)
    assert not asyncio.run(group.remove())
    sleeper.kill()
    sleeper.wait()
    assert group.folder.exists()
    GROUPS.make()
    assert not group.folder.exists()


@needs_groups
def test_empty_groups_of_a_host_that_was_killed_with_all_are_removed_by_the_next(sleeper):
    group = GROUPS.make()
    group.enter(sleeper.pid)
    below = group.folder / "below"
    below.mkdir()
    (below / "cgroup.procs").write_text(str(sleeper.pid))
    assert Groups.find({}) is not None
    assert below.exists()  # somebody lives in it
    sleeper.kill()
    sleeper.wait()
    assert Groups.find({}) is not None
    assert not group.folder.exists()


@needs_groups
@pytest.mark.parametrize("times", [1, 2, 3])
def test_who_loses_it_while_entering_makes_it_again(group, sleeper, monkeypatch, times):
    # To another host, which takes it for one that is left.
    fill, lost = group._fill, []

    def lose(pid):
        if len(lost) < times:
            lost.append(pid)
            group.folder.rmdir()
        fill(pid)

    monkeypatch.setattr(group, "_fill", lose)
    if times == 3:  # there is something else wrong
        with pytest.raises(FileNotFoundError):
            group.enter(sleeper.pid)
        assert not group.folder.exists()
    else:
        group.enter(sleeper.pid)
        assert (group.folder / "cgroup.procs").read_text().split() == [str(sleeper.pid)]


@needs_groups
def test_names_are_never_used_twice():
    other = Groups(GROUPS.folder, {})  # as of another process with our number
    assert len({groups.make().folder for groups in (GROUPS, GROUPS, other, other)}) == 4


@needs_groups
def test_a_limit_this_system_does_not_have_is_no_group():
    assert Groups.find({"nonsense.max": "1"}) is None
    with pytest.raises(StartError, match=r"^SOME_KNOB needs control groups .* with nonsense,"):
        groups_for({"nonsense.max": "1"}, "SOME_KNOB")


# What follows is written to plain files, since not every system lets a test have controllers.


@pytest.fixture
def system(tmp_path):
    """What a system with a delegated group tells: `/proc/self`, and the folder of the group."""
    proc = tmp_path / "proc"
    folder = tmp_path / "mounted" / "unit"
    folder.mkdir(parents=True)
    proc.mkdir()
    (proc / "cgroup").write_text("3:cpu:/other\n0::/unit\n")
    mounts = (
        "24 1 0:22 / /proc rw - proc proc rw\n30 23 0:26 / {} rw,nosuid shared:4 - cgroup2 x rw\n"
    )
    (proc / "mountinfo").write_text(mounts.format(folder.parent))
    for file in ("cgroup.procs", "cgroup.subtree_control"):
        (folder / file).write_text("")
    return proc, folder


def test_the_group_is_the_one_the_system_says_we_are_in(system):
    proc, folder = system
    assert Groups.find({}, proc).folder == folder
    (proc / "cgroup").write_text("0::/unit/provider-host\n")
    (folder / "provider-host").mkdir()
    (folder / "provider-host" / "cgroup.procs").write_text("")
    assert Groups.find({}, proc).folder == folder  # we have moved there ourselves


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("cgroup", "3:cpu:/\n"),
        ("cgroup", "0::/../outside\n"),
        ("cgroup", "0::/gone\n"),
        ("mountinfo", "24 1 0:22 / /proc rw - proc proc rw\n"),
    ],
)
def test_without_version_2_there_are_no_groups(system, file, text):
    proc, _ = system
    (proc / file).write_text(text)
    assert Groups.find({}, proc) is None
    (proc / file).unlink()
    assert Groups.find({}, proc) is None


@pytest.mark.parametrize(
    ("mounted", "group"),
    [("/..", "/"), ("/../..", "/unit"), ("/", "/../unit"), ("/other", "/unit")],
)
def test_a_mount_that_does_not_show_our_group_is_none(system, mounted, group):
    # As in a container that was given the groups of the whole machine.
    proc, folder = system
    (folder.parent / "cgroup.procs").write_text("")
    (folder.parent / "cgroup.subtree_control").write_text("")
    mounts = (proc / "mountinfo").read_text()
    (proc / "mountinfo").write_text(mounts.replace("0:26 /", f"0:26 {mounted}"))
    (proc / "cgroup").write_text(f"0::{group}\n")
    assert Groups.find({}, proc) is None
    (proc / "mountinfo").write_text(f"{(proc / 'mountinfo').read_text()}{mounts}")
    (proc / "cgroup").write_text("0::/unit\n")
    assert Groups.find({}, proc).folder == folder  # another one does


def test_limits_are_written_to_the_files_of_the_group(system):
    proc, folder = system
    (folder / "cgroup.subtree_control").write_text("memory pids")
    groups = Groups.find({"memory.max": "1000", "pids.max": "5"}, proc)
    group = groups.make()
    group.enter(None)
    assert (group.folder / "memory.max").read_text() == "1000"
    assert (group.folder / "pids.max").read_text() == "5"
    assert group.limited


def test_controllers_are_asked_for(system):
    proc, folder = system
    (folder / "cgroup.subtree_control").write_text("pids")
    assert Groups.find({"memory.max": "1", "pids.max": "5", "cpu.max": "1 2"}, proc) is not None
    assert (folder / "cgroup.subtree_control").read_text() == "+cpu +memory"


def test_what_killed_for_memory_tells(tmp_path):
    group = Group(tmp_path / "one", {})
    assert not group.limited
    group.enter(None)
    events = group.folder / "memory.events"
    events.write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 0\noom_group_kill 0\n")
    assert not group.ran_out_of_memory
    events.write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n")
    assert group.ran_out_of_memory
    # The group above had none.
    events.write_text("low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\noom_group_kill 0\n")
    assert not group.ran_out_of_memory


def test_a_group_that_gets_no_limits_is_not_left(tmp_path):
    with pytest.raises(FileNotFoundError):
        Group(tmp_path / "one", {"no/such.max": "1"}).enter(None)
    assert not (tmp_path / "one").exists()


@needs_groups
@needs_root
@pytest.mark.parametrize("closed", ["cgroup.procs", "cgroup.subtree_control"])
def test_who_may_not_go_aside_leaves_nothing(group, closed):
    # As where a folder was given to a user, and not the files in it that he needs.
    group.enter(None)
    for name in {"", "cgroup.procs", "cgroup.subtree_control"} - {closed}:
        os.chown(group.folder / name, 65534, 65534)
    pid = os.fork()
    if pid == 0:
        found = True
        try:
            (group.folder / "cgroup.procs").write_text(str(os.getpid()))
            os.setresuid(65534, 65534, 65534)
            found = Groups.find({"cpu.max": "1000 100000"}) is not None
        finally:  # whatever comes, it must not go on with the tests
            os._exit(found)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [path for path in group.folder.iterdir() if path.is_dir()] == []
