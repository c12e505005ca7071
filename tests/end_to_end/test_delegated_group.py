"""A host in a control group that was given to it, as systemd does with Delegate=yes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from provider.errors import ExitCode
from tests.conftest import Provider, clean_environment, write
from tests.host.groups import GROUPS, needs_controllers

pytestmark = needs_controllers

PROGRAM = """
    def handle(command, arg):
        return open("/proc/self/cgroup").read().rpartition("0::")[2].strip()
"""
CONTROLLERS = {"cpu", "memory", "pids"}
_numbers = itertools.count()


@pytest.fixture
def unit():
    """The folder of a group for the host and nobody else."""
    control = GROUPS.folder / "cgroup.subtree_control"
    if not set(control.read_text().split()) >= CONTROLLERS:
        try:
            control.write_text("+cpu +memory +pids")
        except OSError as error:
            pytest.skip(f"the group of the tests has processes and no controllers: {error}")
    folder = GROUPS.folder / f"unit-{os.getpid()}-{next(_numbers)}"
    folder.mkdir()
    yield folder
    for below in folder.glob("*/"):
        below.rmdir()
    folder.rmdir()


@pytest.fixture
def start(tmp_path, shared_nats, unit):
    """Starts a provider in the group, with these settings."""
    program = write(tmp_path / "dispatch.py", PROGRAM)
    started = []

    def start(*flags, folder=unit, **settings):
        name = f"unit{os.getpid()}x{next(_numbers)}"
        into = f'echo $$ > {folder}/cgroup.procs && exec "$@"'
        provider = Provider(
            ["sh", "-c", into, "sh", sys.executable, "-m", "provider", "run", *flags],
            clean_environment(
                **{
                    "NATS_URL": shared_nats.url,
                    "PROVIDER_LATTICE": name,
                    "PROVIDER_NAME": name,
                    "PROVIDER_LOG_FORMAT": "json",
                    "PYTHON_DISPATCH": str(program),
                    **settings,
                }
            ),
            tmp_path,
        )
        started.append(provider)
        return provider

    yield start
    for provider in started:
        provider.close()


def group_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text().rpartition("0::")[2].strip()


def below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*/"))


@pytest.mark.parametrize(
    ("limits", "controllers"),
    [
        ({"PROVIDER_WORKER_CPU": "80"}, {"cpu"}),
        ({"PROVIDER_WORKER_PROCESSES": "50"}, {"pids"}),
        ({"PROVIDER_WORKER_CPU": "80", "PROVIDER_WORKER_MEMORY": "128MiB"}, {"cpu", "memory"}),
    ],
)
def test_it_goes_aside_and_its_workers_get_limits(start, unit, limits, controllers):
    provider = start(**limits)
    provider.wait_for("ready")
    assert Path(group_of(provider.pid)).name == "provider-host"
    worker = Path(provider.call("group"))
    assert worker.parent.name == unit.name
    assert set((unit / "cgroup.subtree_control").read_text().split()) == controllers
    assert provider.stop() == ExitCode.OK
    assert below(unit) == ["provider-host"]
    # And who comes back finds it as it is.
    again = start(folder=unit / "provider-host", **limits)
    again.wait_for("ready")
    assert below(unit) == ["provider-host", Path(again.call("group")).name]


def test_a_server_of_its_own_goes_aside_with_it(start, unit):
    provider = start(
        "--embedded-nats", "--embedded-port", "0", NATS_URL="", PROVIDER_WORKER_CPU="80"
    )
    server = provider.wait_for("embedded_nats_ready")["pid"]
    provider.wait_for("ready")
    assert group_of(server) == group_of(provider.pid)
    assert len(below(unit)) == 2
    assert provider.stop() == ExitCode.OK


def test_without_limits_it_stays_where_it_is(start, unit):
    provider = start()
    provider.wait_for("ready")
    assert Path(group_of(provider.pid)).name == unit.name
    assert below(unit) == [Path(provider.call("group")).name]
    assert provider.stop() == ExitCode.OK
    assert below(unit) == []


@pytest.mark.parametrize("wanted", [{"PROVIDER_WORKER_MEMORY": "128MiB"}, {}])
def test_where_it_is_not_alone_there_are_no_limits_and_nothing_is_changed(start, unit, wanted):
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            (unit / "cgroup.procs").write_text(str(other.pid))
            provider = start(PROVIDER_WORKER_CPU="80", **wanted)
            assert provider.wait() == ExitCode.NOT_STARTED
            assert "PROVIDER_WORKER_CPU needs control groups" in provider.text
            assert "no other process" in provider.text
            assert below(unit) == []
            assert (unit / "cgroup.subtree_control").read_text().strip() == ""
            assert (unit / "cgroup.type").read_text() == "domain\n"
            # What may be done without is done without.
            provider = start(PROVIDER_WORKER_MEMORY="128MiB")
            provider.wait_for("ready")
            assert below(unit) == [Path(provider.call("group")).name]
            assert provider.stop() == ExitCode.OK
        finally:
            other.kill()
