"""What a host tells a provider it launched: links at the start, shutdown, and test mode."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal

import cbor2
import msgspec
import pytest

from provider.lattice.nkeys import KeyPair, Kind
from provider.wire.wasmbus import WasmCloudEntity, encode_invocation
from tests.conftest import write
from tests.doors.conftest import ACTOR, CLUSTER, CONTRACT, HOST, PATIENCE, PROVIDER, Host

PROGRAM = """
    import pathlib, time

    def handle(command, arg):
        if command == "py.wait":
            pathlib.Path(arg).touch()
            time.sleep(60)
        return arg
"""
OURS = json.dumps({"host_id": HOST.public}).encode()


def launching(start, nats_url, folder):
    """A function that starts providers as a host does, but with the line in a file."""

    def launched(*flags, host_id=HOST.public, **members):
        lattice = f"launched-{folder.name}"
        write(folder / "dispatch.py", PROGRAM)
        data = {
            "host_id": host_id,
            "lattice_rpc_prefix": lattice,
            "link_name": "default",
            "lattice_rpc_url": nats_url.removeprefix("nats://"),
            "provider_key": PROVIDER.public,
            "invocation_seed": CLUSTER.seed,
            "env_values": {},
            "link_definitions": [
                {
                    "actor_id": ACTOR.public,
                    "provider_id": PROVIDER.public,
                    "link_name": "default",
                    "contract_id": CONTRACT,
                    "values": {},
                }
            ],
            "cluster_issuers": [CLUSTER.public],
            "structured_logging": True,
            "config_json": json.dumps({"python_dispatch": str(folder / "dispatch.py")}),
            **members,
        }
        line = folder / "host_data"
        line.write_bytes(base64.b64encode(json.dumps(data).encode()))
        provider = start(None, "--host-data", str(line), *flags)
        provider.lattice = lattice
        return provider

    return launched


@pytest.fixture
def launch(start_provider, shared_nats, tmp_path):
    return launching(start_provider, shared_nats.url, tmp_path)


@pytest.fixture(scope="module")
def launched(start_module_provider, shared_nats, tmp_path_factory):
    """One that all tests share which do not end it."""
    return launching(start_module_provider, shared_nats.url, tmp_path_factory.mktemp("shared"))()


async def host_of(provider, client_of):
    return Host(await client_of(provider.url), provider.lattice)


async def test_links_of_the_host_data_are_there_with_the_first_call(launched, client_of):
    host = await host_of(launched, client_of)
    assert (await host.invoke("py.echo"))["msg"] == b"\x0a"
    stranger = WasmCloudEntity(public_key=KeyPair.generate(Kind.MODULE).public, contract_id="")
    assert (await host.refusal(origin=stranger)).startswith("unlinked actor: ")


async def test_a_target_that_is_another_is_told_with_the_hosts_id(launched, client_of):
    host = await host_of(launched, client_of)
    target = WasmCloudEntity(public_key="VX", link_name="default", contract_id=CONTRACT)
    assert await host.refusal(target=target) == f"target key mismatch: VX != {HOST.public}"


@pytest.mark.parametrize("data", [OURS, b"", b"garbage"])
async def test_the_host_ends_it_and_hears_of_it_when_all_is_done(
    launch, client_of, processes, data
):
    provider = launch()
    worker = provider.worker_pid
    host = await host_of(provider, client_of)
    assert await host.ask("shutdown", data) == b"shutting down"
    # Hosts kill right after the word, so by then nothing may be left.
    assert not processes.alive(worker)
    assert await asyncio.to_thread(provider.wait) == 0


async def test_a_call_that_runs_does_not_keep_the_host_waiting(
    launch, client_of, processes, tmp_path
):
    provider = launch()
    worker = provider.worker_pid
    host = await host_of(provider, client_of)
    gate = tmp_path / "gate"
    call = asyncio.create_task(host.invoke("py.wait", b"\x7f" + cbor2.dumps(str(gate))))
    while not gate.exists():
        await asyncio.sleep(0.01)
    assert await host.ask("shutdown", OURS) == b"shutting down"
    assert not processes.alive(worker)
    assert (await call)["error"].startswith("unavailable: ")
    assert await asyncio.to_thread(provider.wait) == 0


@pytest.mark.parametrize("data", [b'{"host_id":"NX"}', b'{"host_id":"nope","more":1}'])
async def test_another_hosts_shutdown_is_not_for_us(launched, client_of, data):
    host = await host_of(launched, client_of)
    inbox = host.client.new_inbox()
    answers = await host.client.subscribe(inbox)
    await host.client.publish(f"{host.subject}.shutdown", data, reply=inbox)
    # Without a reply subject nobody is told to leave, whoever says it.
    await host.client.publish(f"{host.subject}.shutdown", OURS)
    await host.heard()
    assert (await host.invoke("py.echo"))["msg"] == b"\x0a"
    assert answers.pending_msgs == 0
    assert not launched.events("draining")


async def test_strict_a_shutdown_has_to_name_the_host(launch, client_of):
    provider = launch("--strict")
    host = await host_of(provider, client_of)
    await host.client.publish(f"{host.subject}.shutdown", b"{}", reply=host.client.new_inbox())
    await host.heard()
    assert (await host.invoke("py.echo"))["msg"] == b"\x0a"
    assert await host.ask("shutdown", OURS) == b"shutting down"
    assert await asyncio.to_thread(provider.wait) == 0


async def test_in_test_mode_links_and_health_are_json(launch, client_of):
    provider = launch(host_id="_TEST_")
    host = await host_of(provider, client_of)
    assert json.loads(await host.ask("health", b"{}")) == {"healthy": True}
    actor = KeyPair.generate(Kind.MODULE).public
    origin = WasmCloudEntity(public_key=actor, contract_id="")
    link = msgspec.json.encode(host.definition(actor))
    await host.client.publish(f"{host.subject}.linkdefs.put", link)
    await host.heard()
    # Invocations are MessagePack all the same, signed by a key of the host's.
    assert (await host.invoke(origin=origin))["msg"] == b"\x0a"
    await host.client.publish(f"{host.subject}.linkdefs.del", link)
    await host.heard()
    assert await host.refusal(origin=origin) == f"unlinked actor: '{actor}'"
    assert await host.ask("shutdown", b'{"host_id":"_TEST_"}') == b"shutting down"
    assert await asyncio.to_thread(provider.wait) == 0


async def test_native_calls_reach_a_launched_provider_too(launched, client_of):
    host = await host_of(launched, client_of)
    request = cbor2.dumps({"operation": "py.echo", "payload": 1})
    answer = await host.client.request(host.subject, request, timeout=PATIENCE)
    assert cbor2.loads(answer.data) == {"result": 1}


async def test_code_that_does_not_load_any_more_is_unhealthy(launch, client_of, tmp_path):
    provider = launch()
    host = await host_of(provider, client_of)
    worker = provider.worker_pid
    write(tmp_path / "dispatch.py", "def handle(command, arg:")
    os.kill(worker, signal.SIGKILL)
    while True:
        told = msgspec.msgpack.decode(await host.ask("health"))
        if not told["healthy"] and told["message"] != "no worker is ready":
            break
    assert "dispatch.py" in told["message"]
    invocation = host.invocation("py.echo")
    answer = await host.send(encode_invocation(invocation))
    assert answer["error"].startswith("unavailable: ")
