"""A provider as a wasmCloud host launches it: one line on standard input, and nothing else."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nats
import pytest

from provider.lattice.nkeys import KeyPair, Kind
from tests.conftest import NatsServer, Provider, alive, until_gone, write
from tests.doors.conftest import ACTOR, CLUSTER, HOST, PROVIDER, Host
from tests.operator_mode import Operator

HANDLER = """
    import os

    def handle(command, arg):
        return sorted(os.environ) if command == "environment" else [command, arg]
"""
PYTHON = [sys.executable, "-m", "provider"]


def line(*, padded: bool = True, end: bytes = b"\n", **members) -> bytes:
    """Host data of the least an Elixir host sends; None takes a member away."""
    data = {
        "host_id": HOST.public,
        "lattice_rpc_prefix": "launched",
        "link_name": "default",
        "lattice_rpc_user_jwt": "",
        "lattice_rpc_user_seed": "",
        "lattice_rpc_url": "127.0.0.1:1",
        "lattice_rpc_tls": 0,
        "provider_key": PROVIDER.public,
        "invocation_seed": CLUSTER.seed,
        "env_values": {},
        "instance_id": "4c7d",
        "link_definitions": [],
        "cluster_issuers": [CLUSTER.public],
        "js_domain": None,
        "structured_logging": True,
        "log_level": "debug",
        **members,
    }
    data = {name: value for name, value in data.items() if value is not None}
    # As many spaces as make the padding we want to see, or to miss.
    text = json.dumps(data).encode()
    coded = base64.b64encode(text + b" " * ((1 - len(text)) % 3))
    assert coded.endswith(b"==")
    return (coded if padded else coded.rstrip(b"=")) + end


def secrets_in(text: str, *logins) -> list[str]:
    """What of the seeds and tokens stands in a text, plain or as part of the line."""
    secrets = [CLUSTER.seed]
    for login in logins:
        secrets += [login.key.seed, login.jwt]
    pieces = [secret[4:40] for secret in secrets]
    # Base64 of the same, wherever in a group of three bytes it begins.
    for piece in list(pieces):
        pieces += [base64.b64encode(piece[skip:33].encode()).decode()[:36] for skip in range(3)]
    return [piece for piece in pieces if piece in text]


# --- Served --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def operator():
    return Operator()


@pytest.fixture(scope="module")
def guarded_nats(operator, tmp_path_factory):
    """A NATS server that lets in nobody without a JWT."""
    path = tmp_path_factory.mktemp("nats") / "server.conf"
    path.write_text(operator.configuration)
    server = NatsServer("-c", str(path))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return write(tmp_path_factory.mktemp("served") / "dispatch.py", HANDLER)


class Launched(Provider):
    """A provider a host started, and the host's end of its standard input."""

    def __init__(self, folder: Path, said: bytes, *arguments: str, **environment: str) -> None:
        reading, self.host_end = os.pipe()
        os.write(self.host_end, said)
        super().__init__([*PYTHON, *arguments], environment, folder, stdin=reading)
        os.close(reading)

    def hang_up(self) -> None:
        """Close the host's end."""
        if self.host_end >= 0:
            os.close(self.host_end)
            self.host_end = -1

    def close(self) -> None:
        self.hang_up()
        super().close()


@pytest.fixture(scope="module")
def login(operator):
    return operator.user()


@pytest.fixture(scope="module")
def launched(guarded_nats, login, program, tmp_path_factory):
    """By an Elixir host, with a JWT, without any environment; standard input stays open."""
    folder = tmp_path_factory.mktemp("host")
    write(folder / ".env", "PROVIDER_NAME=stranger\n")
    link = {
        "id": "only Elixir sends it",
        "actor_id": ACTOR.public,
        "provider_id": PROVIDER.public,
        "link_name": "default",
        "contract_id": "wasmcloud:example:python",
        "values": {},
    }
    provider = Launched(
        folder,
        line(
            padded=False,
            lattice_rpc_url=guarded_nats.url.removeprefix("nats://"),
            lattice_rpc_user_jwt=login.jwt,
            lattice_rpc_user_seed=login.key.seed,
            link_definitions=[link],
            config_json=json.dumps({"python_dispatch": str(program), "max_threads": 12}),
            otel_config={"traces_exporter": None},
        ),
    )
    provider.wait_for("ready")
    yield provider
    provider.close()


async def connected(server: NatsServer, login):
    from provider.connection import NatsOptions, connect

    return await connect(
        NatsOptions((server.url,), login=login),
        name="test",
        wait=False,
        client=nats.aio.client.Client(),
    )


async def test_it_answers_on_the_lattice_of_the_host(launched, guarded_nats, operator):
    ready = launched.wait_for("ready")
    assert ready["subject"] == f"wasmbus.rpc.launched.{PROVIDER.public}.default"
    assert ready["servers"] == guarded_nats.url
    # Not the name in the .env of the host's working directory.
    assert ready["operations"] == "provider.launched.python.>"
    client = await connected(guarded_nats, operator.user())
    try:
        answer = await Host(client, "launched").invoke("py.echo", b"\x7f\x0a")
        assert answer["msg"] == bytes.fromhex("82 67 70792e6563686f 0a")
        # Which needs nothing of the environment, but does get what Python makes of none.
        answer = await client.request("provider.launched.python.environment", b"\xf6", timeout=20)
        assert b"HOME" not in answer.data
        assert b"PATH" not in answer.data
    finally:
        await client.close()


def test_it_says_who_launched_it(launched, guarded_nats):
    said = launched.wait_for("launched_by_host")
    assert said["host"] == HOST.public
    url = guarded_nats.url.removeprefix("nats://")
    assert said["banner"] == (
        f"Starting capability provider {PROVIDER.public} instance 4c7d with nats url {url}"
    )
    (note,) = launched.events("host_data_left_out")
    assert "max_threads" in note["reason"]


def test_its_secrets_are_in_no_process_list_and_no_log(launched, login):
    worker = launched.worker_pid
    for pid in (launched.pid, worker):
        for place in ("cmdline", "environ"):
            text = Path(f"/proc/{pid}/{place}").read_bytes().decode()
            assert secrets_in(text, login) == []
    # And user code has nothing of the host's to read.
    assert os.readlink(f"/proc/{worker}/fd/0") == os.devnull
    assert secrets_in(launched.text, login) == []


async def test_the_end_of_standard_input_is_no_reason_to_stop(launched, guarded_nats, operator):
    launched.hang_up()
    client = await connected(guarded_nats, operator.user())
    try:
        answer = await Host(client, "launched").invoke("py.echo", b"\x7f\x0a")
        assert "error" not in answer
    finally:
        await client.close()
    assert launched.process.poll() is None
    assert launched.events("draining") == []


def test_it_leaves_when_told_by_the_system(launched, login):
    worker = launched.worker_pid
    launched.signal(signal.SIGTERM)
    assert launched.wait() == 0
    assert until_gone(worker)
    assert not alive(worker)
    with pytest.raises(ProcessLookupError):
        os.killpg(launched.pid, 0)
    assert launched.process.stdout.read() == b""
    assert secrets_in(launched.text, login) == []


async def test_the_line_of_a_rust_host_and_of_the_test_harness(shared_nats, program, tmp_path):
    said = line(
        end=b"\r\n",
        host_id="_TEST_",
        lattice_rpc_prefix=f"harness{os.getpid()}",
        lattice_rpc_url=shared_nats.url,
        cluster_issuers=[HOST.public],
        config_json="",
    )
    provider = Launched(
        tmp_path, said, "run", "--host-data", "-", PYTHON_DISPATCH=str(program), RUST_LOG="warn"
    )
    try:
        provider.hang_up()
        ready = provider.wait_for("ready")
        client = await nats.connect(shared_nats.url)
        try:
            answer = await client.request(f"{ready['subject']}.health", b"{}", timeout=20)
            assert json.loads(answer.data) == {"healthy": True}
        finally:
            await client.close()
        assert provider.stop() == 0
        assert secrets_in(provider.text) == []
    finally:
        provider.close()


# --- Not started ---------------------------------------------------------------------------------


def ended(said: bytes, *arguments: str, **environment: str) -> tuple[int, str]:
    """How a provider ended that was told this, and what it said."""
    done = subprocess.run(
        [*PYTHON, *arguments],
        env=environment,
        input=said,
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "stdin is empty - expecting host data configuration"),
        (line()[:-40], "host data"),
        (CLUSTER.seed.encode(), "host data"),
        (line(cluster_issuers=None), "missing field `cluster_issuers`"),
        (line(invocation_seed=None, config={}), "speaks the wasmbus protocol of hosts up to 0.82"),
        (line(), "config_json"),
        (line(lattice_rpc_prefix="", link_name="*"), "2 settings are wrong"),
    ],
)
def test_a_line_that_will_not_do(said, reason):
    code, text = ended(said)
    assert code == 3
    assert f"error: {'error loading host data: rpc: ' if 'host data' in reason else ''}" in text
    assert reason in text
    assert secrets_in(text) == []


def test_a_login_that_the_server_refuses(guarded_nats, operator, program):
    login, stranger = operator.user(), KeyPair.generate(Kind.USER)
    code, text = ended(
        line(
            lattice_rpc_url=guarded_nats.url,
            lattice_rpc_user_jwt=login.jwt,
            lattice_rpc_user_seed=stranger.seed,
            config_json=json.dumps({"python_dispatch": str(program)}),
        )
    )
    assert code == 3
    assert f"error: NATS at {guarded_nats.url} refused the connection" in text
    assert "lattice_rpc_user_jwt and lattice_rpc_user_seed" in text
    assert secrets_in(text, login) == []
    assert stranger.seed[4:40] not in text


def test_a_server_that_is_not_there_is_not_waited_for(program):
    config = json.dumps({"python_dispatch": str(program)})
    code, text = ended(line(config_json=config), "run", "--host-data", "-")
    assert code == 3
    assert "error: no NATS server at nats://127.0.0.1:1 " in text
    assert "lattice_rpc_url" in text


def test_config_shows_what_the_host_said_and_no_secret(tmp_path, operator):
    login = operator.user()
    file = tmp_path / "line"
    file.write_bytes(
        line(
            lattice_rpc_user_jwt=login.jwt,
            lattice_rpc_user_seed=login.key.seed,
            lattice_rpc_url=f"nats://me:{login.key.seed}@127.0.0.1:1",
            config_json='{"PROVIDER_CONCURRENCY": 4}',
        )
    )
    done = subprocess.run(
        [*PYTHON, "config", "--json", "--host-data", str(file)],
        env={},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    shown = json.loads(done.stdout)
    assert shown["PROVIDER_KEY"] == {
        "value": PROVIDER.public,
        "source": "host data provider_key",
    }
    assert shown["PROVIDER_CONCURRENCY"] == {"value": "4", "source": "host data config_json"}
    assert secrets_in(done.stdout + done.stderr, login) == []
