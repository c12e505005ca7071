"""An archive from start to end: packed, unpacked as a host does, started from nothing, called."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from provider import client
from provider.lattice import archive
from tests.conftest import PATIENCE, alive, clean_environment, write

DISPATCH = """
    import os
    import sys

    import prices


    def handle(command, arg):
        match command:
            case "py.factorial":
                product = 1
                for factor in range(2, arg + 1):
                    product *= factor
                return product
            case "price":
                return prices.CENTS
            case "where":
                return {
                    "python": sys.executable,
                    "program": __file__,
                    "parent": os.getppid(),
                    "environment": sorted(os.environ),
                }
"""


class Host:
    """What a wasmCloud host up to 0.82 does with an archive, by its own reading of the format.

    Args:
        file: the archive.
        folder: where it keeps what it unpacked.
    """

    def __init__(self, file: Path, folder: Path) -> None:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(file.read_bytes()))) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
        body = members.pop("claims.jwt").split(b".")[1]
        self.claims = json.loads(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)))
        wascap, target = self.claims["wascap"], archive.this_target()
        (executable,) = members.values()
        assert list(members) == [f"{target}.bin"]
        assert wascap["target_hashes"][target] == sha256(executable).hexdigest().upper()
        contract = "".join(c if c.isalnum() else "_" for c in wascap["capid"])
        self.path = folder.joinpath(
            "wasmcloudcache", self.claims["sub"], str(wascap["rev"]), f"{contract}_default"
        )
        self.path.parent.mkdir(parents=True)
        self.path.write_bytes(executable)
        self.path.chmod(0o755)

    def line(self, lattice: str, url: str, **more) -> bytes:
        """The host data: one line of base64."""
        data = {
            "host_id": "N" + "A" * 55,
            "lattice_rpc_prefix": lattice,
            "link_name": "default",
            "lattice_rpc_user_jwt": "",
            "lattice_rpc_user_seed": "",
            "lattice_rpc_url": url,
            "provider_key": self.claims["sub"],
            "invocation_seed": "SCAACAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAKOFQ",
            "env_values": {},
            "instance_id": "1",
            "link_definitions": [],
            "cluster_issuers": ["CCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVZKMI"],
            "structured_logging": True,
            **more,
        }
        return base64.b64encode(json.dumps(data).encode()) + b"\r\n"


class Launched:
    """A provider a host started: no arguments, no environment, its data on standard input."""

    def __init__(self, host: Host, folder: Path, lattice: str, url: str, **more) -> None:
        self.key, self.lattice, self.url = host.claims["sub"], lattice, url
        self.process = subprocess.Popen(
            [host.path],
            env={},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(host.line(lattice, url, **more))
        self.process.stdin.close()
        self.lines: list[dict | str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(PATIENCE * 2) or not self.events("ready"):
            self.close()
            raise AssertionError(f"it did not get ready: {self.lines}")

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.lines.append(line.decode())
            if self.events("ready"):
                self._ready.set()
        self._ready.set()

    def events(self, event: str) -> list[dict]:
        return [
            line for line in self.lines if isinstance(line, dict) and line.get("event") == event
        ]

    def call(self, operation: str, *argument):
        with client.connect_sync(
            self.url, lattice=self.lattice, key=self.key, timeout=10
        ) as python:
            return python.call(operation, *argument)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(PATIENCE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # whatever stood in between
        self._reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def pack(folder: Path, *arguments: object) -> Host:
    """An archive made by the command, unpacked by a host."""
    done = subprocess.run(
        [sys.executable, "-m", "provider", "pack", *map(str, arguments), "-o", "x.par.gz"],
        env=clean_environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    return Host(folder / "x.par.gz", folder / "tmp")


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    write(folder / "shop" / "dispatch.py", DISPATCH)
    write(folder / "shop" / "prices.py", "CENTS = 1250")
    return pack(folder, "shop", "--set", "PROVIDER_NAME=shop")


@pytest.fixture(scope="module")
def launched(host, shared_nats, tmp_path_factory):
    """The provider of the archive, and nothing in reach that it was made from."""
    provider = Launched(
        host, tmp_path_factory.mktemp("host"), f"archive{os.getpid()}", shared_nats.url
    )
    yield provider
    provider.close()


def test_the_program_in_the_archive_is_called(launched):
    assert launched.call("py.factorial", 10) == 3628800
    assert launched.call("price") == 1250


def test_nothing_stands_between_the_host_and_the_provider(launched, host):
    told = launched.call("where")
    assert told["parent"] == launched.process.pid
    command = Path(f"/proc/{launched.process.pid}/cmdline").read_text().split("\0")
    assert command[:7] == [sys.executable, "-P", "-m", "provider", "run", "--host-data", "-"]


def test_the_code_that_runs_is_the_archives(launched, host):
    told = launched.call("where")
    assert told["python"] == sys.executable
    assert Path(told["program"]).is_relative_to(host.path.parent)
    assert not {"PATH", "HOME", "VIRTUAL_ENV"} & set(told["environment"])


def test_what_the_host_says_outranks_what_was_packed(host, shared_nats, tmp_path):
    write(tmp_path / "other.py", "def handle(command, arg): return 'other'")
    config = json.dumps({"python_dispatch": str(tmp_path / "other.py")})
    provider = Launched(
        host, tmp_path, f"archive{os.getpid()}b", shared_nats.url, config_json=config
    )
    try:
        assert provider.call("where") == "other"
        (ready,) = provider.events("worker_ready")
        assert alive(ready["worker"])
        provider.process.terminate()
        assert provider.process.wait(PATIENCE) == 0
        assert not alive(ready["worker"])
    finally:
        provider.close()
