"""Tracebacks go to callers where they are switched on, over every door, and nowhere else."""

from __future__ import annotations

import cbor2
import grpc
import httpx
import nats
import pytest

from provider.client import InvocationError, connect_wasmbus
from provider.lattice.nkeys import KeyPair, Kind
from tests.conftest import PATIENCE, write

CLUSTER = KeyPair.from_raw(Kind.CLUSTER, b"\5" * 32)
PROGRAM = """
    def handle(command, arg):
        a_line_of_the_code = 1
        raise ValueError("what callers may know")
"""
PROTO = """
    syntax = "proto3";
    message Empty {}
    service Failing { rpc Fail (Empty) returns (Empty); }
"""
SHOWN = b"a_line_of_the_code"


async def native(provider) -> bytes:
    client = await nats.connect(provider.url)
    address = provider.address
    subject = f"wasmbus.rpc.{address['lattice']}.{address['key']}.default"
    request = cbor2.dumps({"operation": "py.fail"})
    answer = await client.request(subject, request, timeout=PATIENCE)
    await client.close()
    return answer.data + str(answer.headers).encode()


async def streamed(provider) -> bytes:
    client = await nats.connect(provider.url)
    address = provider.address
    subject = f"provider.{address['lattice']}.{address['name']}.py.fail"
    answer = await client.request(
        subject, b"", timeout=PATIENCE, headers={"Provider-Stream": "true"}
    )
    await client.close()
    return answer.data + str(answer.headers).encode()


async def by_subject(provider) -> bytes:
    client = await nats.connect(provider.url)
    address = provider.address
    subject = f"provider.{address['lattice']}.{address['name']}.py.fail"
    answers = [
        await client.request(subject, b"", timeout=PATIENCE, headers=headers)
        for headers in (None, {"Content-Type": "application/json"})
    ]
    stats = await client.request(f"$SRV.STATS.{address['name']}", b"", timeout=PATIENCE)
    await client.close()
    assert b"what callers may know" in stats.data, "the last error is told"
    assert b"line_of_the_code" not in stats.data, "a traceback never"
    return b"".join(answer.data + str(answer.headers).encode() for answer in answers)


async def http(provider) -> bytes:
    url = provider.wait_for("http_open")["url"]
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        answer = await client.post(f"{url}/call/py.fail")
        events = await client.get(f"{url}/call/py.fail", headers={"Accept": "text/event-stream"})
    return answer.content + str(answer.headers).encode() + events.content


async def over_grpc(provider) -> bytes:
    address = provider.wait_for("ready")["grpc"]
    async with grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary("/Failing/Fail")(b"", timeout=PATIENCE)
    return f"{raised.value.details()} {raised.value.trailing_metadata()}".encode()


async def signed(provider) -> bytes:
    address = {name: provider.address[name] for name in ("lattice", "key")}
    async with connect_wasmbus(
        provider.url, cluster=CLUSTER, timeout=PATIENCE, **address
    ) as wasmbus:
        await wasmbus.link()
        with pytest.raises(InvocationError) as raised:
            await wasmbus.call("py.fail")
    return raised.value.message.encode()


DOORS = [native, by_subject, streamed, http, over_grpc, signed]


@pytest.fixture(scope="module")
def started(start_module_provider, tmp_path_factory):
    proto = write(tmp_path_factory.mktemp("proto") / "failing.proto", PROTO)

    def start(**environment: str):
        return start_module_provider(
            PROGRAM,
            *("--http", "0", "--grpc", "0", "--proto", str(proto)),
            PROVIDER_CLUSTER_ISSUERS=CLUSTER.public,
            PROVIDER_KEY=KeyPair.generate(Kind.SERVICE).public,
            **environment,
        )

    return {"off": start(), "on": start(PROVIDER_TRACEBACKS="on")}


@pytest.mark.parametrize("switch", ["off", "on"])
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
async def test_callers_are_sent_tracebacks_where_that_is_switched_on(door, switch, started):
    said = await door(started[switch])
    assert b"what callers may know" in said
    assert (SHOWN in said or b"Traceback" in said) is (switch == "on")


def test_the_log_has_them_either_way(started):
    for provider in started.values():
        line = provider.wait_for("call_failed")
        assert SHOWN.decode() in line["exception"] or "Traceback" in line["exception"]
