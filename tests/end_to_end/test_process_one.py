"""The provider as process 1, as in most containers: orphans are its own to reap."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provider.errors import ExitCode
from tests.conftest import PATIENCE, Provider, clean_environment, until_gone, write
from tests.end_to_end.test_nothing_left import children
from tests.host.groups import needs_groups

APART = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
pytestmark = pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run([*APART, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0,
    reason="no process namespace can be made here",
)
PROGRAM = """
    import os, subprocess

    def handle(command, arg):
        if command == "orphans":
            for _ in range(arg):
                subprocess.run("setsid sleep 0 & sleep 0 & true", shell=True)
        if command == "daemon":
            subprocess.run("setsid sleep 1000 & true", shell=True)
        return os.getpid()
"""


@pytest.fixture
def provider(tmp_path, shared_nats):
    program = write(tmp_path / "dispatch.py", PROGRAM)
    name = f"first{os.getpid()}"
    started = Provider(
        [*APART, sys.executable, "-m", "provider", "run"],
        clean_environment(
            NATS_URL=shared_nats.url,
            PROVIDER_LATTICE=name,
            PROVIDER_NAME=name,
            PROVIDER_LOG_FORMAT="json",
            PYTHON_DISPATCH=str(program),
        ),
        tmp_path,
    )
    started.wait_for("ready")
    yield started
    if started.process.poll() is None:
        started.process.kill()  # and with it, all of them
    started.close()


def first(provider) -> int:
    """What the host is called outside."""
    (found,) = children(provider.pid)
    assert Path(f"/proc/{found}/status").read_text().partition("NSpid:")[2].split()[:2][1] == "1"
    return found


def words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def until(true) -> None:
    """Wait until something is true that nobody tells of."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def worker(host: int) -> int:
    (found,) = [pid for pid in children(host) if "worker/__main__.py" in words(pid)]
    return found


def test_orphans_are_reaped_and_workers_replaced(provider):
    host = first(provider)
    before = provider.call("pid")
    provider.call("orphans", 20)
    until(lambda: all(state(pid) != "Z" and "sleep" not in words(pid) for pid in children(host)))
    assert len(children(host)) == 2  # a worker and the sentinel
    assert provider.call("pid") == before
    os.kill(worker(host), signal.SIGKILL)
    assert provider.call("pid") != before
    lost = provider.wait_for("worker_lost")
    assert (lost["worker"], lost["exit"]) == (before, "SIGKILL")  # its reaper was its own
    until(lambda: all(state(pid) != "Z" for pid in children(host)))


@needs_groups
def test_what_made_itself_a_daemon_ends_with_the_worker(provider):
    host = first(provider)
    provider.call("daemon")
    until(lambda: any("sleep 1000" in words(pid) for pid in children(host)))
    (daemon,) = [pid for pid in children(host) if "sleep 1000" in words(pid)]
    os.kill(worker(host), signal.SIGKILL)
    assert until_gone(daemon)
    until(lambda: daemon not in children(host))  # and it was reaped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_it_is_told(provider, number):
    host = first(provider)
    family = children(host)
    os.kill(host, number)
    assert provider.wait() == ExitCode.OK
    assert provider.events("drained")
    assert all(map(until_gone, family))


def test_it_ends_while_it_begins(tmp_path):
    # A process that is not the first ends of such a signal. This one has to see to it by itself.
    program = write(tmp_path / "dispatch.py", PROGRAM)
    started = subprocess.Popen(
        [*APART, sys.executable, "-v", "-m", "provider", "run"],
        env=clean_environment(PYTHON_DISPATCH=str(program)),
        stderr=subprocess.PIPE,
        text=True,
    )
    with started:
        # What it says of its imports tells how far it is.
        assert started.stderr is not None
        while "import 'provider.cli.form'" not in (line := started.stderr.readline()):
            assert line
        (host,) = children(started.pid)
        os.kill(host, signal.SIGTERM)
        started.stderr.close()
        try:
            assert started.wait(PATIENCE) == 128 + signal.SIGTERM
        finally:
            started.kill()
