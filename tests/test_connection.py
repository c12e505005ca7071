"""The connection to NATS: every way of being let in, refused or kept waiting; no secret told."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time

import nkeys
import pytest
from nats.aio.client import Client

from provider import connection
from provider.connection import NatsOptions
from provider.errors import StartError
from provider.lattice.host_data import Login
from provider.lattice.nkeys import KeyPair, Kind
from tests.conftest import PATIENCE
from tests.operator_mode import Operator, creds_file

SECRET = "hunter2-correct-horse"
HANDLER = "def handle(command, arg): return arg\n"


@pytest.fixture
def serve(nats_server, tmp_path):
    """Starts NATS servers with this configuration."""
    started = []

    def start(configuration: str):
        path = tmp_path / f"server{len(started)}.conf"
        path.write_text(configuration)
        started.append(type(nats_server)("-c", str(path)))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


async def let_in(options: NatsOptions) -> bool:
    """Whether a message goes there and back."""
    client = await connection.connect(options, name="test", wait=False, client=Client())
    try:
        subscription = await client.subscribe("there.and.back")
        await client.publish("there.and.back", b"x")
        return (await subscription.next_msg(PATIENCE)).data == b"x"
    finally:
        await client.close()


async def refused(options: NatsOptions) -> str:
    """What is said when it does not work."""
    began = time.monotonic()
    with pytest.raises(StartError) as raised:
        await connection.connect(options, name="test", wait=False, client=Client())
    assert time.monotonic() - began < PATIENCE
    assert SECRET not in f"{raised.value!r}{raised.value}{options!r}"
    assert raised.value.__cause__ is None
    return str(raised.value)


# --- who we are ----------------------------------------------------------------------------------


async def test_user_and_password(serve):
    server = serve(f"authorization {{ user: me, password: {SECRET} }}")
    assert await let_in(NatsOptions((server.url,), user="me", password=SECRET))
    assert await let_in(NatsOptions((f"nats://me:{SECRET}@127.0.0.1:{server.port}",)))
    for options in (
        NatsOptions((server.url,)),
        NatsOptions((server.url,), user="me", password=f"{SECRET}-not"),
        NatsOptions((f"nats://me:{SECRET}-not@127.0.0.1:{server.port}",)),
    ):
        text = await refused(options)
        assert f"NATS at {server.url} refused the connection" in text
        assert "NATS_USER, NATS_PASSWORD" in text


async def test_a_refusal_ends_the_waiting_too(serve):
    server = serve(f"authorization {{ token: {SECRET} }}")
    with pytest.raises(StartError, match="refused"):
        await connection.connect(
            NatsOptions((server.url,)), name="test", wait=True, client=Client()
        )


async def test_token(serve):
    server = serve(f"authorization {{ token: {SECRET} }}")
    assert await let_in(NatsOptions((server.url,), token=SECRET))
    assert await let_in(NatsOptions((f"nats://{SECRET}@127.0.0.1:{server.port}",)))
    assert "refused" in await refused(NatsOptions((server.url,), token=f"{SECRET}-not"))


def new_key(kind: int) -> nkeys.KeyPair:
    return nkeys.from_seed(nkeys.encode_seed(os.urandom(32), kind))


async def test_nkey(serve, tmp_path):
    pair, stranger = (new_key(nkeys.PREFIX_BYTE_USER) for _ in range(2))
    server = serve(f"authorization {{ users: [ {{ nkey: {pair.public_key.decode()} }} ] }}")
    seed, other, broken = (tmp_path / name for name in ("seed", "other", "broken"))
    seed.write_bytes(pair.seed)
    other.write_bytes(stranger.seed)
    broken.write_text(SECRET)
    assert await let_in(NatsOptions((server.url,), nkey=seed))
    assert "refused" in await refused(NatsOptions((server.url,), nkey=other))
    assert f"NATS_NKEY names {broken}" in await refused(NatsOptions((server.url,), nkey=broken))
    absent = tmp_path / "absent"
    assert f"NATS_NKEY names {absent}" in await refused(NatsOptions((server.url,), nkey=absent))


@pytest.fixture(scope="module")
def operator():
    return Operator()


async def test_credentials_file(serve, operator, tmp_path):
    server = serve(operator.configuration)
    creds = tmp_path / "me.creds"
    creds.write_text(creds_file(operator.user()))
    assert await let_in(NatsOptions((server.url,), creds=creds))
    assert "refused" in await refused(NatsOptions((server.url,)))
    whole = creds.read_text()
    for text in (SECRET, "", whole[: len(whole) // 2], whole.replace("\nSU", "\nSUA")):
        broken = tmp_path / "broken.creds"
        broken.write_text(text)
        said = await refused(NatsOptions((server.url,), creds=broken))
        assert f"NATS_CREDS names {broken}; it h" in said


async def test_a_login_that_is_given(serve, operator):
    server = serve(operator.configuration)
    login = operator.user()
    # What else would be a login does not count beside it.
    assert await let_in(NatsOptions((server.url,), login=login, user="me", password=SECRET))
    others = operator.user()
    for wrong in (
        Login(login.jwt, others.key),
        Login("", login.key),
        Login("no.j.w.t", login.key),
        Operator().user(),
    ):
        options = NatsOptions((server.url,), login=wrong, by_host=True)
        said = await refused(options)
        assert f"NATS at {server.url} refused the connection" in said
        assert "lattice_rpc_user_jwt and lattice_rpc_user_seed" in said
        for secret in (wrong.key.seed, wrong.jwt or wrong.key.seed):
            assert secret not in f"{said} {options!r} {options}"


async def test_a_login_that_is_a_key_alone(serve):
    login, stranger = (Login("", KeyPair.generate(Kind.USER)) for _ in range(2))
    server = serve(f"authorization {{ users: [ {{ nkey: {login.key.public} }} ] }}")
    assert await let_in(NatsOptions((server.url,), login=login))
    assert "refused" in await refused(NatsOptions((server.url,), login=stranger))


async def test_a_login_survives_a_new_connection(serve, operator):
    server = serve(operator.configuration)
    back = asyncio.Event()
    client = await connection.connect(
        NatsOptions((server.url,), login=operator.user()), name="test", wait=True, client=Client()
    )

    async def reconnected() -> None:
        back.set()

    client._reconnected_cb = reconnected
    try:
        server.stop()
        server.start()
        async with asyncio.timeout(20):
            await back.wait()
        await client.flush(10)
    finally:
        await client.close()


# --- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A folder with a certificate authority, and certificates of it for a server and a client."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make certificates")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=CA", "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-days", "2", "-CAcreateserial", "-extfile", "names", "-out", f"{name}.pem"),
        )
    return folder


async def test_tls(serve, authority):
    files = f"cert_file: '{authority}/server.pem', key_file: '{authority}/server.key'"
    server = serve(f"tls {{ {files} }}")
    ca = authority / "ca.pem"
    assert await let_in(NatsOptions((server.url,), ca=ca))
    assert await let_in(NatsOptions((f"tls://127.0.0.1:{server.port}",), ca=ca))
    text = await refused(NatsOptions((server.url,)))
    assert "is not trusted" in text
    assert "NATS_CA" in text


async def test_tls_beside_a_login_that_is_given(serve, authority, operator):
    files = f"cert_file: '{authority}/server.pem', key_file: '{authority}/server.key'"
    server = serve(f"tls {{ {files} }}\n{operator.configuration}")
    login = operator.user()
    assert await let_in(NatsOptions((server.url,), ca=authority / "ca.pem", login=login))
    assert "is not trusted" in await refused(NatsOptions((server.url,), login=login))


async def test_tls_with_a_client_certificate(serve, authority):
    files = f"cert_file: '{authority}/server.pem', key_file: '{authority}/server.key'"
    server = serve(f"tls {{ {files}, ca_file: '{authority}/ca.pem', verify: true }}")
    ca, cert, key = (authority / name for name in ("ca.pem", "client.pem", "client.key"))
    assert await let_in(NatsOptions((server.url,), ca=ca, cert=cert, key=key))
    await refused(NatsOptions((server.url,), ca=ca))


def test_tls_files_that_cannot_be_used(authority, tmp_path):
    ca, cert, key = (authority / name for name in ("ca.pem", "client.pem", "ca.key"))
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    for options, says in (
        (NatsOptions(ca=text), r"text.pem has no certificates in PEM \(NATS_CA\)"),
        (NatsOptions(cert=cert, key=key), r"\(NATS_CERT, NATS_KEY\): key values mismatch"),
        (NatsOptions(cert=text), r"text.pem is no certificate and its key in PEM \(NATS_CERT"),
        (NatsOptions(key=key), "NATS_KEY is of no use without its certificate, in NATS_CERT"),
        (NatsOptions(ca=tmp_path / "absent"), "NATS_CA names"),
        (NatsOptions(ca=ca, cert=tmp_path / "absent"), "NATS_CERT names"),
        (NatsOptions(ca=ca, cert=cert, key=tmp_path / "absent"), "NATS_KEY names"),
    ):
        with pytest.raises(StartError, match=says):
            options.as_arguments()


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(authority, tmp_path):
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", authority / "client.key", "-aes256"]
    done = subprocess.run(
        [*command, "-passout", "pass:secret", "-out", locked], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with pytest.raises(StartError, match="NATS_KEY has a password"):
        NatsOptions(cert=authority / "client.pem", key=locked).as_arguments()


# --- where ---------------------------------------------------------------------------------------


async def test_the_first_server_that_answers_is_taken(nats_server):
    nobody = f"127.0.0.1:{free_port()}"
    assert await let_in(NatsOptions((nobody, nats_server.url)))
    assert await let_in(NatsOptions((nats_server.url, nobody)))


async def test_nobody_there_says_where_it_looked():
    ports = free_port(), free_port()
    urls = tuple(f"nats://me:{SECRET}@127.0.0.1:{port}" for port in ports)
    text = await refused(NatsOptions(urls))
    for port in ports:
        assert f"nats://127.0.0.1:{port}" in text
    assert "NATS_URL" in text
    text = await refused(NatsOptions(urls, by_host=True))
    assert "NATS_URL" not in text
    assert "lattice_rpc_url" in text


async def test_something_else_on_the_port_is_no_server():
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    with listening:
        # It accepts and says nothing.
        assert f":{port}" in await refused(NatsOptions((f"nats://127.0.0.1:{port}",)))


def test_options_keep_their_secrets():
    options = NatsOptions(
        servers=(f"me:{SECRET}@host:4222", f"tls://{SECRET}@other"),
        user="me",
        password=SECRET,
        token=SECRET,
    )
    assert SECRET not in repr(options)
    assert options.shown == "nats://host:4222, tls://other"
    arguments = options.as_arguments()
    assert arguments["servers"] == [f"nats://me:{SECRET}@host:4222", f"tls://{SECRET}@other"]
    assert (arguments["user"], arguments["password"], arguments["token"]) == ("me", SECRET, SECRET)


# --- a provider that starts ----------------------------------------------------------------------


def test_a_provider_waits_for_its_server(start_provider, nats_server):
    nats_server.stop()
    provider = start_provider(HANDLER, nats=nats_server.url, ready=False)
    said = provider.wait_for("nats_unreachable")
    assert said["servers"] == nats_server.url
    assert "--no-wait" in said["next"]
    nats_server.start()
    provider.wait_for("ready")
    assert provider.call("x", 5) == 5
    assert provider.stop() == 0
    assert len(provider.events("nats_unreachable")) == 1


def test_a_provider_that_waits_for_its_server_can_be_stopped(start_provider):
    provider = start_provider(HANDLER, nats=f"nats://127.0.0.1:{free_port()}", ready=False)
    provider.wait_for("nats_unreachable")
    assert provider.stop() == 0


def test_a_provider_told_not_to_wait_ends(start_provider):
    url = f"nats://me:{SECRET}@127.0.0.1:{free_port()}"
    provider = start_provider(HANDLER, "--no-wait", nats=url, ready=False)
    assert provider.wait() == 3
    assert "error: no NATS server at nats://127.0.0.1:" in provider.text
    assert "--embedded-nats" in provider.text
    assert SECRET not in provider.text


def test_a_provider_that_is_refused_ends_and_keeps_the_secret(start_provider, serve):
    server = serve("authorization { user: me, password: other }")
    url = f"nats://me:{SECRET}@127.0.0.1:{server.port}"
    provider = start_provider(HANDLER, "--log-level", "debug", nats=url, ready=False)
    assert provider.wait() == 3
    assert f"error: NATS at {server.url} refused the connection" in provider.text
    assert SECRET not in provider.text
    assert "Traceback" not in provider.text


def test_a_url_with_a_password_is_never_printed(start_provider, serve):
    server = serve(f"authorization {{ user: me, password: {SECRET} }}")
    url = f"nats://me:{SECRET}@127.0.0.1:{server.port}"
    provider = start_provider(HANDLER, "--log-level", "debug", nats=url)
    assert provider.call("x", 1) == 1
    server.stop()
    provider.wait_for("nats_disconnected")
    server.start()
    provider.wait_for("nats_reconnected")
    assert provider.stop() == 0
    assert SECRET not in provider.text
    assert provider.process.stdout.read() == b""
