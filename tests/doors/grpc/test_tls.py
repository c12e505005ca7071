"""TLS and certificates of clients, with certificates made here."""

from __future__ import annotations

import subprocess

import grpc.aio
import pytest

from provider.errors import StartError
from tests.conftest import PATIENCE
from tests.doors.grpc.conftest import TEXT, fails


def openssl(*arguments) -> None:
    subprocess.run(
        ["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=2 * PATIENCE
    )


def authority(folder, name):
    """A certificate that signs others, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-days", 2, "-subj", f"/CN={name}", "-keyout", key, "-out", cert),
    )
    return cert, key


def signed(folder, name, by):
    """A certificate for localhost, signed by an authority, and its key."""
    cert, key, request = (folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
    more = folder / "more"
    more.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    openssl(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-subj", f"/CN={name}", "-keyout", key, "-out", request),
    )
    openssl(
        *("x509", "-req", "-in", request, "-CA", by[0], "-CAkey", by[1], "-CAcreateserial"),
        *("-days", 2, "-extfile", more, "-out", cert),
    )
    return cert, key


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    ours = authority(folder, "ours")
    others = authority(folder, "others")
    return {
        "ca": ours,
        "server": signed(folder, "server", ours),
        "client": signed(folder, "client", ours),
        "stranger": signed(folder, "stranger", others),
    }


def channel(door, certificates, client=None):
    chain, key = certificates[client] if client else (None, None)
    credentials = grpc.ssl_channel_credentials(
        certificates["ca"][0].read_bytes(), key and key.read_bytes(), chain and chain.read_bytes()
    )
    return grpc.aio.secure_channel(door.server.address, credentials)


async def called(channel) -> bytes:
    return await channel.unary_unary(f"/{TEXT}/Call")(b"hello")


async def test_with_a_certificate_tls_is_spoken_and_nothing_else(open_door, certificates, capfd):
    cert, key = certificates["server"]
    door = await open_door(cert=cert, key=key)
    async with channel(door, certificates) as secure:
        assert await called(secure) == b"hello"
    async with fails("UNAVAILABLE"):
        await door.unary()(b"hello")


async def test_clients_have_to_show_a_certificate_of_ours(open_door, certificates):
    cert, key = certificates["server"]
    door = await open_door(cert=cert, key=key, client_ca=certificates["ca"][0])
    async with channel(door, certificates, "client") as ours:
        assert await called(ours) == b"hello"
    for client in (None, "stranger"):
        async with channel(door, certificates, client) as refused, fails("UNAVAILABLE"):
            await called(refused)
    assert len(door.backend.calls) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cert": "server.0"}, "set both PROVIDER_GRPC_CERT and PROVIDER_GRPC_KEY"),
        ({"key": "server.1"}, "set both PROVIDER_GRPC_CERT and PROVIDER_GRPC_KEY"),
        ({"client_ca": "ca.0"}, "PROVIDER_GRPC_CLIENT_CA asks clients"),
        ({"cert": "server.0", "key": "client.1"}, "key values mismatch"),
        ({"cert": "server.1", "key": "server.1"}, "are no certificate and its key in PEM"),
        (
            {"cert": "server.0", "key": "server.1", "client_ca": "ca.1"},
            "has no certificates in PEM",
        ),
    ],
)
async def test_files_of_no_use_are_told_when_it_starts(open_door, certificates, options, says):
    files = {}
    for name, text in options.items():
        which, _, part = text.partition(".")
        files[name] = certificates[which][int(part)]
    with pytest.raises(StartError, match=says):
        await open_door(**files)


async def test_a_key_with_a_password_is_refused_and_nobody_is_asked(
    open_door, certificates, tmp_path
):
    cert, key = certificates["server"]
    locked = tmp_path / "locked.key"
    openssl("ec", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked)
    with pytest.raises(StartError, match="PROVIDER_GRPC_KEY has a password"):
        await open_door(cert=cert, key=locked)


async def test_a_file_that_is_gone(open_door, certificates, tmp_path):
    with pytest.raises(StartError, match="No such file"):
        await open_door(cert=certificates["server"][0], key=tmp_path / "nothing")
