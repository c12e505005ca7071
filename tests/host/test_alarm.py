"""An alarm goes off at whatever may change what a path shows, and at nothing else.

Each save is made by another process, as an editor is one, and each is looked for once, right after
that process has ended: nothing here waits for an event.
"""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from provider.host import alarm as module
from provider.host.alarm import TELLING, Alarm

LAYOUT = """
mkdir -p a/b empty mounted/v1 mounted/v2
for each in a/b mounted/v1 mounted/v2; do echo 1 > $each/file.py; done
ln a/b/file.py same.py
ln -s v1 mounted/..data
ln -s ..data/file.py mounted/file.py
ln -s a/b through
ln -s "$PWD/a/b" from_the_root
"""
MMAP = f"""{sys.executable} -c "
import mmap
with open('a/b/file.py', 'r+b') as file, mmap.mmap(file.fileno(), 0) as seen: seen[0] = 50
" """
SAVES = [
    ("a/b/file.py", "echo 2 >> a/b/file.py"),
    ("a/b/file.py", "echo 2 > a/b/file.py"),
    ("a/b/file.py", "echo 2 >> same.py"),
    ("a/b/file.py", "echo 2 | dd of=a/b/file.py conv=notrunc"),
    ("a/b/file.py", "truncate -s 0 a/b/file.py"),
    ("a/b/file.py", "truncate -s 9 a/b/file.py"),
    ("a/b/file.py", "sed -i s/1/2/ a/b/file.py"),
    ("a/b/file.py", "echo 2 > new; mv new a/b/file.py"),
    ("a/b/file.py", "mv a/b/file.py file.py~; cp file.py~ a/b/file.py"),
    ("a/b/file.py", "mv a/b/file.py a/b/other.py"),
    ("a/b/file.py", "rm a/b/file.py"),
    ("a/b/file.py", "exec 3< a/b/file.py; rm a/b/file.py"),
    ("a/b/file.py", "ln a/b/file.py one_more"),
    ("a/b/file.py", "touch -d 2020-02-02 a/b/file.py"),
    ("a/b/file.py", "chmod 600 a/b/file.py"),
    ("a/b/file.py", MMAP),
    ("a/b/file.py", "mv a/b a/c"),
    ("a/b/file.py", "mv a z"),
    ("a/b/file.py", "mv a z; cp -a z a"),
    (".//a/./b/file.py", "mv a/b a/c"),
    ("through/file.py", "ln -s empty new; mv -T new through"),
    ("through/file.py", "ln -sfn empty through"),
    ("through/file.py", "rm through"),
    ("through/file.py", "mv through z"),
    ("through/file.py", "mv a z"),
    ("through/file.py", "echo 2 >> a/b/file.py"),
    ("from_the_root/file.py", "rm from_the_root"),
    ("from_the_root/file.py", "mv a z"),
    ("mounted/file.py", "ln -s v2 mounted/..new; mv -T mounted/..new mounted/..data"),
    ("mounted/file.py", "ln -s v2/file.py new; mv -T new mounted/file.py"),
    ("mounted/file.py", "mv mounted/v1 mounted/v3"),
    ("mounted/file.py", "echo 2 >> mounted/v1/file.py"),
    ("empty/../a/b/file.py", "rmdir empty"),
    ("empty/../a/b/file.py", "mv empty z"),
    ("through/../b/file.py", "mv a z"),
]
NO_SAVES = [
    "cat a/b/file.py mounted/file.py",
    "touch a/b/other.py; chmod 600 a/b/other.py; echo 2 > a/b/other.py; rm a/b/other.py",
    "mkdir a/b/__pycache__; touch a/b/__pycache__/file.pyc; mv a/b/__pycache__ z",
    "ln -s v2 mounted/..new; mv -T mounted/..new mounted/..old",
    "echo 2 > mounted/v2/file.py; mv mounted/v2 mounted/v3",
    "touch . a a/b mounted/v1; chmod 711 a/b",
]


def tells(folder):
    """Whether the systems all folders of a path are in are known to tell, as df(1) has it."""
    folder = Path(folder).resolve()
    folders = [str(each) for each in [folder, *folder.parents][:-1]]
    told = subprocess.run(
        ["df", "--output=fstype", *folders], check=False, capture_output=True, text=True
    )
    return not told.returncode and set(told.stdout.split()[1:]) <= TELLING


PLACE = next(filter(tells, (tempfile.gettempdir(), "/dev/shm")), None)
pytestmark = pytest.mark.skipif(PLACE is None, reason="no file system here tells of all changes")


@pytest.fixture(autouse=True)
def folder(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.0)  # tests arm it over and over
    monkeypatch.setattr(module, "RETRY", 0.0)
    with tempfile.TemporaryDirectory(dir=PLACE) as place:
        monkeypatch.chdir(place)
        shell(LAYOUT)
        yield Path(place)


@pytest.fixture
def alarm():
    made = Alarm()
    yield made
    made.close()


@pytest.fixture
def clock(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(module, "monotonic", lambda: clock[0])  # pauses are what is tested
    monkeypatch.setattr(module, "PAUSE", 5.0)
    monkeypatch.setattr(module, "RETRY", 50.0)
    return clock


def shell(command):
    subprocess.run(["sh", "-ec", command], check=True, stderr=subprocess.DEVNULL)


def watched(alarm):
    """How many files the kernel watches for it."""
    about = Path(f"/proc/self/fdinfo/{alarm._inotify.descriptor}").read_text()
    return about.count("inotify wd:")


@pytest.mark.parametrize(("path", "save"), SAVES)
def test_a_save_sets_it_off_before_the_next_question(alarm, folder, path, save):
    assert alarm.arm([f"{folder}/{path}"])
    assert alarm.quiet
    shell(save)
    assert not alarm.quiet
    assert not alarm.quiet


def test_a_write_sets_it_off_though_the_file_stays_open(alarm, folder):
    with open(folder / "a/b/file.py", "ab", buffering=0) as file:
        assert alarm.arm([file.name])
        file.write(b"2")
        assert not alarm.quiet


@pytest.mark.parametrize("save", NO_SAVES)
def test_reading_and_neighbours_do_not_set_it_off(alarm, folder, save):
    assert alarm.arm([f"{folder}/{path}" for path in ("a/b/file.py", "mounted/file.py")])
    shell(save)
    assert alarm.quiet


def test_armed_again_it_watches_what_the_path_leads_to_now(alarm, folder):
    path = f"{folder}/mounted/file.py"
    assert alarm.arm([path])
    before = watched(alarm)
    shell("ln -s v2 mounted/..new; mv -T mounted/..new mounted/..data")
    assert alarm.arm([path])
    assert alarm.arm([path])  # what the first one gave up has been told
    assert alarm.quiet
    assert watched(alarm) == before
    shell("echo 2 >> mounted/v1/file.py")
    assert alarm.quiet
    shell("echo 2 >> mounted/v2/file.py")
    assert not alarm.quiet


def test_one_question_is_for_all_files(alarm, folder):
    paths = [
        f"{folder}/{path}" for path in ("a/b/file.py", "mounted/v1/file.py", "mounted/file.py")
    ]
    for path in paths:
        assert alarm.arm(paths)
        assert alarm.quiet
        shell(f"echo 2 >> {path}")
        assert not alarm.quiet


@pytest.mark.parametrize("swapped", ["the link", "the folder", "the target", "the file"])
@pytest.mark.parametrize("after", [False, True])
def test_what_is_swapped_while_it_is_armed_is_not_lost(folder, monkeypatch, swapped, after):
    """Before and after each step: it goes off, or what it watches is what is there now."""
    swap = {
        "the link": "ln -s v2 mounted/..new; mv -T mounted/..new mounted/..data",
        "the folder": "cp -a mounted other; mv mounted z; mv other mounted",
        "the target": "mv mounted/v1 z; mv mounted/v2 mounted/v1",
        "the file": "mv mounted/v2/file.py mounted/v1/file.py",
    }[swapped]
    path = f"{folder}/mounted/file.py"
    steps, swap_at = 0, 0
    add = module._Inotify.add

    def step(inotify, place, mask):
        nonlocal steps
        steps += 1
        if steps == swap_at and not after:
            shell(swap)
        try:
            return add(inotify, place, mask)
        finally:
            if steps == swap_at and after:
                shell(swap)

    monkeypatch.setattr(module._Inotify, "add", step)  # nobody can aim between two of them
    for swap_at in range(1, 100):
        steps = 0
        shell("rm -r ./*;" + LAYOUT)
        alarm = Alarm()
        armed = alarm.arm([path])
        if swap_at > steps:
            alarm.close()
            break
        if armed and alarm.quiet:
            shell(f"echo 2 >> {path}")
            assert not alarm.quiet
        alarm.close()
    assert swap_at > 6


@pytest.mark.parametrize(
    "path",
    [
        "a/b/none.py",
        "a/b",
        "a/b/file.py/none.py",
        "a/b/file.py/",
        "a/b/file.py/.",
        "round",
        "pipe",
        "a/" + "b" * 300,
        "/proc/self/status",
        "to_proc",
        "",
    ],
)
def test_where_it_is_not_certain_it_is_not_armed(alarm, folder, events, path):
    shell("ln -s round round; mkfifo pipe; ln -s /proc/self/status to_proc")
    good = f"{folder}/a/b/file.py"
    assert alarm.arm([good])
    for _ in range(2):
        assert not alarm.arm([good, os.path.join(folder, path)])
        assert not alarm.quiet
    assert not watched(alarm)
    (told,) = events.of("files_not_watched")
    assert told["level"] == "debug"
    assert told["reason"]
    assert alarm.arm([good])
    assert alarm.quiet


def test_it_is_armed_for_absolute_paths_only(alarm, folder, monkeypatch):
    monkeypatch.chdir("/")
    path = f"{folder}/a/b/file.py"
    assert not alarm.arm([path[1:]])
    assert not alarm.arm([])
    assert not alarm.quiet
    assert alarm.arm([path])


@pytest.mark.parametrize("save", ["rm -r a", "ln -sf /proc/self/status a/b/file.py"])
def test_what_is_not_certain_any_more_is_not_quiet(alarm, folder, save):
    path = f"{folder}/a/b/file.py"
    assert alarm.arm([path])
    shell(save)
    for _ in range(3):
        assert not alarm.arm([path])
        assert not alarm.quiet


def test_a_mount_that_is_not_listed_is_not_trusted(alarm, folder, monkeypatch):
    monkeypatch.setattr(module, "_mount", lambda _place: b"0")  # no such mount can be made
    assert not alarm.arm([f"{folder}/a/b/file.py"])


@pytest.mark.parametrize("lacking", ["ctypes", "inotify"])
def test_without_inotify_it_is_never_armed(alarm, folder, monkeypatch, lacking):
    if lacking == "ctypes":
        monkeypatch.setitem(sys.modules, "ctypes", None)  # as where Python was built without
    else:
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())  # as on another system
    assert not alarm.arm([f"{folder}/a/b/file.py"])
    assert not alarm.quiet
    alarm.close()


def test_at_the_limit_of_descriptors_it_waits_for_one(alarm, folder):
    path = f"{folder}/a/b/file.py"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        assert not alarm.arm([path])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert alarm.arm([path])


def test_what_is_written_all_the_time_is_not_watched_all_the_time(alarm, folder, clock):
    paths = [f"{folder}/a/b/file.py"]
    assert alarm.arm(paths)
    shell("echo 2 >> a/b/file.py")
    clock[0] += 4.9
    assert not alarm.arm(paths)
    assert not alarm.quiet
    clock[0] += 0.2
    assert alarm.arm(paths)
    assert alarm.quiet


def test_what_could_not_be_watched_is_tried_again_later(alarm, folder, clock):
    paths = [f"{folder}/a/b/file.py"]
    shell("mv a z")
    assert not alarm.arm(paths)
    shell("mv z a")
    clock[0] += 49.9
    assert not alarm.arm(paths)
    clock[0] += 0.2
    assert alarm.arm(paths)


def test_more_events_than_are_thrown_away_at_once_only_set_it_off_again(alarm, folder):
    path = f"{folder}/a/b/file.py"
    assert alarm.arm([path])
    for mode in (0o600, 0o644) * 500:
        os.chmod(path, mode)
        os.truncate(path, mode)  # equal events in a row are one
    assert alarm.arm([path])
    assert not alarm.quiet
    assert alarm.arm([path])
    assert alarm.quiet


def test_disarmed_it_is_not_quiet(alarm, folder):
    assert alarm.arm([f"{folder}/a/b/file.py"])
    alarm.disarm()
    assert not alarm.quiet


def test_closed_it_is_never_armed_again_and_leaves_nothing_open(folder):
    before = len(os.listdir("/proc/self/fd"))
    paths = [f"{folder}/a/b/file.py"]
    alarm, other = Alarm(), Alarm()
    assert alarm.arm(paths)
    assert not os.get_inheritable(alarm._inotify.descriptor)
    alarm.close()
    assert len(os.listdir("/proc/self/fd")) == before
    # Which may get the same descriptor.
    assert other.arm(paths)
    assert not alarm.quiet
    assert not alarm.arm(paths)
    alarm.close()
    assert other.quiet
    other.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_forgotten_it_leaves_nothing_open(folder):
    before = len(os.listdir("/proc/self/fd"))
    alarm = Alarm()
    assert alarm.arm([f"{folder}/a/b/file.py"])
    del alarm
    assert len(os.listdir("/proc/self/fd")) == before
