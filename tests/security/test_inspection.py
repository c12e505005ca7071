"""What user code finds of the provider's secrets when it looks for them: nothing."""

from __future__ import annotations

import secrets
import sys

import pytest

from provider.inspection import without_secrets
from tests.conftest import Provider, clean_environment, write

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked")
LOOKING = r"""
    import ctypes, glob, os

    def handle(command, arg):
        if command == "environment":
            return [f"{name}={value}" for name, value in os.environ.items() if arg in value]
        if command == "processes":
            return sorted(holders(arg))
        if command == "host":
            return {name: attempt(name, arg) for name in ("environ", "mem", "maps", "fd/2", "cwd")}
        if command == "descriptor":
            system = ctypes.CDLL(None, use_errno=True)
            return system.syscall(438, os.pidfd_open(arg), 2, 0)  # pidfd_getfd
        if command == "capabilities":
            with open("/proc/self/status") as status:
                return [line.split()[1] for line in status if line.startswith("CapEff")][0]

    def holders(mark):
        for place in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(place, "rb") as file:
                    if mark.encode() in file.read():
                        yield place
            except OSError:
                pass

    def attempt(name, pid):
        try:
            if name == "cwd":
                return os.readlink(f"/proc/{pid}/cwd")
            os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY if name != "fd/2" else os.O_WRONLY))
            return "open"
        except OSError as error:
            return type(error).__name__
"""
WITHOUT_CAPABILITIES = (
    "import ctypes, os, sys\n"
    "for number in range(64): ctypes.CDLL(None).prctl(24, number, 0, 0, 0)\n"
    "os.execv(sys.executable, [sys.executable, '-m', 'provider', *sys.argv[1:]])\n"
)
"""The suite may run as root, who may look everywhere; the provider then runs as root who may not,
as in a container."""


@pytest.fixture
def secretive(tmp_path, shared_nats):
    """Starts providers with a secret in every place where they may have one."""
    started = []

    def start(*flags: str, **environment: str) -> Provider:
        # Of its own for each test, because others may look at the same time.
        mark = secrets.token_hex(16)
        write(tmp_path / "dispatch.py", LOOKING)
        (tmp_path / ".env").write_text(f"NATS_PASSWORD={mark}-in-env-file\n")
        (tmp_path / "token").write_text(f"{mark}-in-file")
        variables = {
            "NATS_URL": f"nats://me:{mark}-in-url@127.0.0.1:{shared_nats.port}",
            "NATS_TOKEN": f"{mark}-token",
            "PROVIDER_HTTP": "0",
            "PROVIDER_HTTP_TOKEN": f"{mark}-http",
            "PROVIDER_HTTP_API_KEY_FILE": str(tmp_path / "token"),
            "PROVIDER_LOG_FORMAT": "json",
            "PROVIDER_LATTICE": tmp_path.name,
            "PROVIDER_NAME": tmp_path.name.replace(".", "-"),
            "A_SETTING_OF_MINE": "kept",
            **environment,
        }
        command = [sys.executable, "-c", WITHOUT_CAPABILITIES, "run", "dispatch.py", *flags]
        provider = Provider(command, clean_environment(**variables), tmp_path)
        provider.mark = mark
        started.append(provider)
        provider.wait_for("ready")
        return provider

    yield start
    for provider in started:
        provider.close()


@ON_LINUX
def test_code_of_the_same_user_finds_no_secret(secretive, tmp_path):
    text = 'syntax = "proto3"; message M {} service S { rpc Do(M) returns (M); }'
    proto = write(tmp_path / "one.proto", text)
    provider = secretive("--grpc", "0", "--proto", str(proto))
    assert provider.call("capabilities") == "0" * 16
    assert provider.call("environment", provider.mark) == []
    # Neither in the host nor in what the host has started.
    assert provider.call("processes", provider.mark) == []
    assert provider.call("descriptor", provider.pid) == -1
    assert provider.call("host", provider.pid) == dict.fromkeys(
        ("environ", "mem", "maps", "fd/2", "cwd"), "PermissionError"
    )
    assert provider.stop() == 0
    assert provider.mark not in provider.text


@ON_LINUX
def test_the_nats_server_of_our_own_is_given_none(secretive):
    provider = secretive("--embedded-nats", "--embedded-port", "0", NATS_URL="")
    provider.environment["NATS_URL"] = provider.wait_for("embedded_nats_ready")["url"]
    assert provider.call("processes", provider.mark) == []
    assert provider.call("environment", provider.mark) == []
    assert provider.stop() == 0


@ON_LINUX
def test_it_may_be_allowed_for_debuggers(secretive):
    provider = secretive(PROVIDER_INSPECTION="on")
    assert f"/proc/{provider.pid}/environ" in provider.call("processes", provider.mark)
    found = provider.call("host", provider.pid)
    assert (found["environ"], found["mem"]) == ("open", "open")
    # Given out it is not, all the same.
    assert provider.call("environment", provider.mark) == []
    assert provider.stop() == 0


def test_what_is_no_secret_is_inherited():
    assert without_secrets({"NATS_URL": "u", "PATH": "p", "NATS_STREAM": "s"}) == {
        "PATH": "p",
        "NATS_STREAM": "s",
    }
