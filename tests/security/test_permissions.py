"""deploy/nats-server.conf: callers can call, and what is denied is denied."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import cbor2
import httpx
import nats
import pytest

from provider.client import connect
from provider.connection import NatsOptions
from provider.errors import StartError
from tests.conftest import PATIENCE, Provider, clean_environment

FILE = Path(__file__).parents[2] / "deploy" / "nats-server.conf"
WITNESS = '    { user: witness, password: witness, permissions: { publish: { deny: ">" } } }\n'
NATIVE = "wasmbus.rpc.default.python.default"
PROGRAM = """
    def handle(command, arg):
        if command == "py.many":
            return (number for number in range(arg))
        return arg
"""


@pytest.fixture(scope="module")
def server(serve):
    """A server with the configuration, and one user more who hears everything."""
    # The server takes passwords from its environment; here a name is its own password.
    text = re.sub(r"\$PASSWORD_OF_(\w+)", lambda found: found[1].lower(), FILE.read_text())
    head, tail = text.split("  ]\n}\n")
    return serve(f"{head}{WITNESS}  ]\n}}\n{tail}")


@pytest.fixture(scope="module")
def provider(server, start_module_provider):
    return start_module_provider(
        PROGRAM, nats=server.url, PROVIDER_ADMIN="on", **as_user("provider")
    )


def as_user(name: str) -> dict[str, str]:
    return {
        "NATS_USER": name,
        "NATS_PASSWORD": name,
        "NATS_INBOX_PREFIX": f"_INBOX.{name}",
        "PROVIDER_LATTICE": "default",
        "PROVIDER_NAME": "python",
    }


def login(provider, name: str) -> NatsOptions:
    return NatsOptions((provider.url,), user=name, password=name, inbox_prefix=f"_INBOX.{name}")


class Tried:
    """A plain NATS client of one user, and what it was denied."""

    def __init__(self, client, denied: asyncio.Queue[str]) -> None:
        self.client = client
        self._denied = denied

    async def denied(self, count: int) -> list[str]:
        """What the server denied, that many times; and it did not deny more."""
        async with asyncio.timeout(PATIENCE):
            said = [await self._denied.get() for _ in range(count)]
            await self.client.flush(PATIENCE)
            await self.client.flush(PATIENCE)
        assert self._denied.empty()
        return said


@pytest.fixture
async def plain(provider):
    """Connects as a user."""
    clients = []

    async def to(user: str) -> Tried:
        denied: asyncio.Queue[str] = asyncio.Queue()

        async def on_error(error):
            denied.put_nowait(str(error))

        client = await nats.connect(
            provider.url,
            user=user,
            password=user,
            inbox_prefix=f"_INBOX.{user}",
            error_cb=on_error,
        )
        clients.append(client)
        return Tried(client, denied)

    yield to
    for client in clients:
        await client.close()


# --- what is allowed ------------------------------------------------------------------------------


async def test_a_caller_calls_by_subject(provider):
    async with connect(login(provider, "shop"), timeout=PATIENCE) as python:
        assert await python.call_bytes("py.echo", b"\x05") == b"\x05"


async def test_a_caller_reads_a_long_stream_by_subject(plain):
    shop = await plain("shop")
    inbox = shop.client.new_inbox()
    heard = await shop.client.subscribe(inbox)
    await shop.client.publish(
        "provider.default.python.py.many",
        cbor2.dumps(5),
        reply=inbox,
        headers={"Provider-Stream": "true", "Provider-Flow": "false"},
    )
    answers = [cbor2.loads((await heard.next_msg(PATIENCE)).data) for _ in range(6)]
    assert [answer["chunk"] for answer in answers[:5]] == list(range(5))
    assert answers[5] == {"end": 5}
    await shop.denied(0)


async def test_the_native_way_is_for_the_gateway(provider):
    async with connect(login(provider, "gateway"), timeout=PATIENCE) as python:
        assert await python.call("py.echo", 5) == 5
        assert [item async for item in python.stream("py.many", 3000)] == list(range(3000))
        assert (await python.status())["ready"]


def test_the_commands_and_a_gateway_work_so(provider, provider_command, tmp_path):
    base = {"NATS_URL": provider.url}
    done = provider_command("call", "py.echo", "5", **base, **as_user("gateway"))
    assert (done.returncode, done.stdout) == (0, b"5\n"), done.stderr
    assert provider_command("probe", **base, **as_user("gateway")).stdout == b"healthy\n"
    done = provider_command("reload", "--all", **base, **as_user("operator"))
    assert (done.returncode, done.stderr) == (0, b"reloaded: 1 of 1\n")
    done = provider_command("call", "py.echo", "5", **base, **as_user("shop"))
    assert done.returncode == 1
    assert f"let this user publish on {NATIVE}".encode() in done.stderr


def test_a_gateway_answers_over_http(provider, tmp_path):
    environment = clean_environment(
        NATS_URL=provider.url, PROVIDER_LOG_FORMAT="json", **as_user("gateway")
    )
    command = [sys.executable, "-m", "provider", "gateway", "--http", "0"]
    gateway = Provider(command, environment, tmp_path)
    try:
        url = gateway.wait_for("ready")["http"]
        with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
            assert client.post(f"{url}/call/py.echo", json=5).json() == 5
            assert client.get(f"{url}/openapi.json").status_code == 200
    finally:
        gateway.close()
    assert gateway.events("nats_error") == []


async def test_an_operator_asks_every_instance(provider, plain):
    operator = await plain("operator")
    answer = await operator.client.request("provider.admin.default.python.status", timeout=PATIENCE)
    assert json.loads(answer.data)["ready"]
    assert (await operator.client.request("$SRV.PING", timeout=PATIENCE)).data
    await operator.denied(0)


# --- what is denied -------------------------------------------------------------------------------

ALLOWED = {
    "shop": {"provider.default.python.py.echo"},
    "gateway": {
        NATIVE,
        "provider.default.python.reload",
        "provider.describe.default.python.operations",
    },
}
OF_OTHERS = [
    NATIVE,
    "provider.default.python.reload",
    "provider.default.other.py.echo",
    "provider.other.python.py.echo",
    "provider.describe.default.python.operations",
    "provider.admin.default.python.reload",
    "provider.admin.default.python.drain",
    "provider.admin.default.python.status",
    f"{NATIVE}.linkdefs.put",
    f"{NATIVE}.linkdefs.del",
    f"{NATIVE}.shutdown",
    f"{NATIVE}.health",
    "wasmbus.rpc.default.other.default",
    "wasmbus.evt.default",
    "$SRV.PING",
    "$SRV.INFO.python",
    "$SRV.STATS.other",
    "$JS.API.STREAM.LIST",
    "$KV.a.b",
    "$O.default.C.x",
    "$SYS.REQ.SERVER.PING",
    "_INBOX.gateway.anything",
    "_INBOX.anything",
    "orders.delete",
]


@pytest.mark.parametrize("user", ["shop", "gateway"])
async def test_callers_publish_nothing_else(provider, plain, user):
    caller, witness = await plain(user), await plain("witness")
    heard = await witness.client.subscribe(">")
    await witness.client.flush(PATIENCE)
    subjects = [subject for subject in OF_OTHERS if subject not in ALLOWED[user]]
    before = len(provider.events("draining")), len(provider.events("reloaded"))
    for subject in subjects:
        await caller.client.publish(subject, b"mark of a caller", reply=f"_INBOX.{user}.x")
    denied = await caller.denied(len(subjects))
    for subject in subjects:
        assert any(f'publish to "{subject}"'.lower() in text.lower() for text in denied), subject
    await witness.client.flush(PATIENCE)
    came = [heard._pending_queue.get_nowait() for _ in range(heard._pending_queue.qsize())]
    assert [message.subject for message in came if b"mark of a caller" in message.data] == []
    assert (len(provider.events("draining")), len(provider.events("reloaded"))) == before


@pytest.mark.parametrize("user", ["shop", "gateway", "operator"])
@pytest.mark.parametrize(
    "subject",
    [
        *(">", "*", "_INBOX.>", "_INBOX.*.>", "_INBOX.provider.>", "_INBOX.witness.>"),
        *("provider.>", "provider.default.python.py.>", "provider.default.python.py.echo"),
        *("wasmbus.>", NATIVE, "$SRV.>", "$SRV.PING", "$JS.>", "$SYS.>", "_PROVIDER.>"),
    ],
)
async def test_callers_hear_nobody_else(plain, user, subject):
    caller = await plain(user)
    # With the queue group of the provider, too: a caller would be given the calls of others.
    for queue in ("", "q", "rpc"):
        await caller.client.subscribe(subject, queue=queue)
        (denied,) = await caller.denied(1)
        assert "permissions violation for subscription" in denied.lower()


@pytest.mark.parametrize(
    "subject", ["orders.delete", "provider.admin.default.python.drain", NATIVE]
)
async def test_no_answer_goes_where_its_caller_may_not_publish(provider, plain, subject):
    shop, witness = await plain("shop"), await plain("witness")
    heard = await witness.client.subscribe(subject)
    await witness.client.flush(PATIENCE)
    await shop.client.publish("provider.default.python.py.echo", b"\x05", reply=subject)
    answer = await shop.client.request("provider.default.python.py.echo", b"\x06", timeout=PATIENCE)
    assert answer.data == b"\x06"
    await witness.client.flush(PATIENCE)
    assert heard._pending_queue.qsize() == 0
    assert provider.events("draining") == []


async def test_nobody_comes_in_without_a_name(server):
    for name, word in ((None, None), ("shop", "gateway"), ("nobody", "nobody")):
        options = NatsOptions((server.url,), user=name, password=word)
        with pytest.raises(StartError, match="refused the connection"):
            async with connect(options):
                pass


async def test_the_provider_may_publish_on_inboxes_and_nowhere_else(plain):
    provider = await plain("provider")
    await provider.client.publish("_INBOX.shop.x", b"")
    await provider.denied(0)
    for subject in ("orders.delete", NATIVE, "provider.admin.default.python.drain", "$JS.API.INFO"):
        await provider.client.publish(subject, b"")
        await provider.denied(1)


def test_it_has_no_secret_in_it():
    assert not re.search(r"password:(?!\s*\$)", FILE.read_text())


async def test_who_wants_answers_elsewhere_does_not_fill_the_log(provider, plain):
    tried = await plain("shop")
    for number in range(300):
        reply = f"elsewhere.{number}"
        await tried.client.publish("provider.default.python.py.echo", b"\x05", reply=reply)
    answer = await tried.client.request("provider.default.python.py.echo", b"\x06", PATIENCE)
    assert answer.data == b"\x06"
    provider.wait_for("nats_error", times=256)
    assert len(provider.events("nats_error")) < 20
