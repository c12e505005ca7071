"""The permissions docs/security.md recommends do what it says they do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from provider.client import NoProvider, connect, connect_wasmbus, connected
from provider.connection import NatsOptions
from provider.errors import CallError
from provider.lattice.nkeys import KeyPair, Kind
from tests.conftest import NatsServer

DOCUMENT = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
CLUSTER = KeyPair.generate(Kind.CLUSTER)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A NATS server with the configuration of the document."""
    (configuration,) = re.findall(r"```conf\n(.*?)```", DOCUMENT, re.DOTALL)
    # The server takes passwords from its environment; here a name is its own password.
    configuration = re.sub(r"\$PASSWORD_OF_(\w+)", lambda found: found[1].lower(), configuration)
    folder = tmp_path_factory.mktemp("permissions")
    (folder / "nats.conf").write_text(configuration)
    server = NatsServer("-c", str(folder / "nats.conf"), "-sd", str(folder))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def provider(server, start_module_provider):
    return start_module_provider(
        None,
        *("--example", "factorial"),
        nats=server.url,
        NATS_USER="provider",
        NATS_PASSWORD="provider",
        PROVIDER_LATTICE="default",
        PROVIDER_NAME="python",
        PROVIDER_CLUSTER_ISSUERS=CLUSTER.public,
    )


def login(provider, user: str) -> NatsOptions:
    return NatsOptions(servers=(provider.url,), user=user, password=user)


async def test_a_caller_calls_what_was_exported_and_nothing_else(provider):
    async with connect(login(provider, "shop"), timeout=20) as python:
        assert await python.call_bytes("py.factorial", b"\x0a") == bytes.fromhex("1a00375f00")
        for refused in (python.call_bytes("reload"), python.call("py.factorial", 10)):
            with pytest.raises(NoProvider):
                await refused


async def test_a_caller_tells_the_provider_nothing(provider):
    async with connect_wasmbus(login(provider, "shop"), cluster=CLUSTER) as shop:
        for refused in (shop.link(), shop.health(), shop.shutdown(""), shop.call("py.hello", "A")):
            with pytest.raises(NoProvider):
                await refused


async def test_a_host_links_and_calls_long_arguments_too(provider):
    async with connect_wasmbus(login(provider, "host"), cluster=CLUSTER, timeout=20) as host:
        await host.link()
        assert (await host.health()).healthy
        assert await host.call("py.factorial", 10) == 3628800
        name = "x" * 1_000_000
        assert await host.call("py.hello", name) == f"Hello {name}!"


async def test_a_caller_overhears_nothing(provider):
    async with connected(login(provider, "shop")) as client:
        heard = await client.subscribe(">")
        await client.flush()
        async with connect(login(provider, "host"), timeout=20) as python:
            assert await python.call("py.factorial", 3) == 6
        await client.flush()
        assert heard.pending_msgs == 0


async def test_the_provider_may_publish_nothing_but_answers(provider):
    async with connect(login(provider, "provider"), timeout=1) as python:
        with pytest.raises(CallError):
            await python.call("py.factorial", 10)


def test_the_settings_it_names_exist():
    generated = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    for name in set(re.findall(r"\b(?:PROVIDER|NATS)_[A-Z_]+\b", DOCUMENT)):
        assert name in generated or name + "DEPTH" in generated, name


def test_the_tests_it_names_exist():
    named = re.findall(r"`([\w/]+)::(\w+)`", DOCUMENT)
    assert len(named) > 10
    for file, name in named:
        text = (Path(__file__).parents[1] / f"{file}.py").read_text("utf-8")
        assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), f"{file}::{name}"
