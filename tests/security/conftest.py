"""What the tests of the threat model stand on: servers that ask who is there, and certificates."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.conftest import NatsServer
from tests.operator_mode import Operator


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Starts NATS servers with this configuration, shared by the tests of a module."""
    started: list[NatsServer] = []
    folder = tmp_path_factory.mktemp("servers")

    def start(configuration: str, *arguments: str) -> NatsServer:
        path = folder / f"server{len(started)}.conf"
        path.write_text(configuration)
        started.append(NatsServer("-c", str(path), *arguments))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def operator():
    return Operator()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A folder with a certificate authority, and certificates of it for a server and a client."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make certificates")
    folder = tmp_path_factory.mktemp("tls")
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "other"):
        openssl(
            *(*new, "-x509", "-days", "2", "-subj", f"/CN={name}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.pem"),
        )
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, signer in (("server", "ca"), ("client", "ca"), ("stranger", "other")):
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{signer}.pem"),
            *("-CAkey", f"{signer}.key", "-days", "2", "-CAcreateserial"),
            *("-extfile", "names", "-out", f"{name}.pem"),
        )
    return folder
