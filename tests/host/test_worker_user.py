"""Workers of another user: who that may be, and that it is he who runs the code."""

from __future__ import annotations

import dataclasses
import functools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import aiosched
import cbor2
import neotasker
import pytest

from provider.errors import CallTimeout, HandlerError, StartError
from provider.host.contract import resolve
from provider.host.worker_user import WorkerUser
from tests.host.groups import needs_root

PROGRAM = """
    import os, subprocess, time

    def handle(command, arg):
        if command == "who":
            names = [os.environ[name] for name in ("HOME", "USER", "LOGNAME")]
            return [os.getresuid(), os.getresgid(), sorted(os.getgroups()), names]
        if command == "read":
            with open(arg, "rb") as file:
                return len(file.read())
        if command == "child":
            child = subprocess.Popen(["sleep", "1000"])
            return [os.getpid(), child.pid]
        if command == "sleep":
            print("sleeping")
            time.sleep(1000)
"""


def refusal(text):
    with pytest.raises(StartError) as caught:
        WorkerUser.find(text)
    return str(caught.value)


def test_who_is_not_there_is_named():
    assert refusal("no-such-user") == (
        "PROVIDER_WORKER_USER names the user 'no-such-user', whom this system does not know"
    )
    assert refusal("root:no-such-group") == (
        "PROVIDER_WORKER_USER names the group 'no-such-group', which this system does not know"
    )
    assert refusal("54321") == (
        "PROVIDER_WORKER_USER names the user number 54321, whom this system does not know; say "
        "his group, too, as in 54321:54321"
    )


def test_only_root_becomes_another(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert refusal("54321:1") == (
        "PROVIDER_WORKER_USER names 54321:1, and only root may run a worker as another user; "
        "start the provider as root, or as that user without this setting"
    )
    monkeypatch.setattr(os, "getegid", lambda: 5)
    assert WorkerUser.find("1234:5") is None  # who is himself already


@needs_root
def test_a_user_is_found_by_name_and_by_number():
    known = pwd.getpwnam("nobody")
    found = WorkerUser.find("nobody")
    assert found == WorkerUser.find(str(known.pw_uid))
    assert dataclasses.astuple(found)[:3] == ("nobody", known.pw_uid, known.pw_gid)
    assert known.pw_gid in found.groups
    assert WorkerUser.find("54321:0") == WorkerUser("54321", 54321, 0, (0,), "/")
    environment = found.environment({"HOME": "/root", "USER": "root", "A": "b"})
    assert environment == {"HOME": known.pw_dir, "USER": "nobody", "LOGNAME": "nobody", "A": "b"}


@pytest.fixture
def place():
    """A folder that everybody can reach."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "owner", "group", "closed"),
    [
        (0o644, 0o755, 0, 0, ""),
        (0o640, 0o755, 0, 0, "file"),
        (0o640, 0o755, 0, 700, ""),
        (0o640, 0o755, 0, 701, ""),
        (0o604, 0o755, 0, 700, "file"),
        (0o400, 0o755, 500, 0, ""),
        (0o044, 0o755, 500, 0, "file"),
        (0o644, 0o744, 0, 0, "folder"),
        (0o644, 0o711, 0, 0, ""),
    ],
)
@needs_root
def test_what_is_closed_to_him_is_named(place, file_mode, folder_mode, owner, group, closed):
    user = WorkerUser("guest", 500, 700, (700, 701), "/")
    (place / "folder").mkdir()
    file = place / "folder" / "file"
    file.touch()
    os.chown(file, owner, group)
    file.chmod(file_mode)
    (place / "folder").chmod(folder_mode)
    (place / "link").symlink_to(file)
    if not closed:
        user.check(str(file), [str(place / "link"), str(place / "not there")])
        return
    named = {"file": file, "folder": place / "folder"}[closed]
    with pytest.raises(StartError) as caught:
        user.check("/", [str(place / "link")])
    assert str(caught.value) == (
        f"PROVIDER_WORKER_USER is guest, who may not read {place}/link: {named} is closed to him"
    )
    # And so says the system.
    asked = subprocess.run(["cat", file], user=500, group=700, extra_groups=[700, 701], check=False)
    assert asked.returncode == 1


@functools.cache
def open_python():
    """An interpreter of our version that everybody may run, None when there is none."""
    name = "python{}.{}".format(*sys.version_info[:2])
    for python in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        try:
            WorkerUser.find("nobody").check(python, [str(Path(cbor2.__file__).parent)])
        except StartError:
            continue
        if os.access(python, os.X_OK):
            return python
    return None


@pytest.fixture
def served(place, start_provider):
    """A provider whose worker is nobody's: `served(**environment)`."""
    if open_python() is None:
        pytest.skip("no interpreter here that everybody may run")
    subprocess.run([open_python(), "-m", "venv", "--without-pip", place / "env"], check=True)
    (packages,) = (place / "env" / "lib").glob("python*/site-packages")
    for module in (aiosched, cbor2, neotasker):
        source = Path(module.__file__).parent
        shutil.copytree(source, packages / source.name)

    def start(**environment):
        return start_provider(
            PROGRAM,
            folder=place,
            VENV_PATH=str(place / "env"),
            PROVIDER_WORKER_USER="nobody",
            **environment,
        )

    return start


@needs_root
def test_the_code_runs_as_him(served, processes, place):
    provider = served(PROVIDER_WORKER_FILES="64", PROVIDER_WORKER_PROCESSES="200")
    known = pwd.getpwnam("nobody")
    groups = sorted(set(os.getgrouplist("nobody", known.pw_gid)))
    assert provider.call("who") == [
        [known.pw_uid] * 3,
        [known.pw_gid] * 3,
        groups,
        [known.pw_dir, "nobody", "nobody"],
    ]
    secret = place / "secret"
    secret.write_text("hidden")
    secret.chmod(0o600)
    for path in (secret, f"/proc/{provider.pid}/environ"):
        with pytest.raises(HandlerError, match="Permission denied"):
            provider.call("read", str(path))
    # He is ended like any other, with what he left.
    worker, child = provider.call("child")
    with pytest.raises(CallTimeout):
        provider.call("sleep", timeout=0.5)
    assert processes.until_gone(worker)
    assert processes.until_gone(child)
    assert provider.call("who")[0] == [known.pw_uid] * 3
    assert provider.stop() == 0


@needs_root
def test_he_ends_with_the_host(served, processes):
    provider = served()
    worker, child = provider.call("child")
    provider.signal(signal.SIGKILL)
    assert processes.until_gone(worker)
    assert processes.until_gone(child)


@needs_root
def test_a_program_that_is_closed_to_him_is_refused_before_anything_starts(place):
    program = place / "dispatch.py"
    program.write_text("def handle(command, arg): pass\n")
    program.chmod(0o600)
    with pytest.raises(StartError, match=r"who may not read .*: .* is closed to him$"):
        resolve(venv=None, main=None, dispatch=str(program), user="nobody")
