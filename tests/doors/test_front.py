"""HTTP and gRPC, opened and closed together."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import grpc.aio
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from provider.doors.front import Front
from provider.doors.grpc.options import GrpcOptions
from provider.doors.http.options import HttpOptions
from provider.errors import StartError
from tests.conftest import PATIENCE, clean_environment
from tests.doors.grpc.conftest import Backend


async def test_both_listen_and_both_end():
    front = Front(Backend(), HttpOptions(), GrpcOptions())
    assert front.addresses == {}
    await front.open()
    try:
        addresses = front.addresses
        assert set(addresses) == {"http", "grpc"}
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{addresses['http']}/call/echo", json=5)
            assert answer.json() == 5
        async with grpc.aio.insecure_channel(addresses["grpc"]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert (await stub.Check(health_pb2.HealthCheckRequest())).status == 1
        front.stop_listening()
        await front.settled()
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(addresses["http"])
    finally:
        await front.close()


async def test_what_has_begun_is_waited_for():
    backend = Backend()
    front = Front(backend, HttpOptions(), None)
    await front.open()
    try:
        async with asyncio.timeout(PATIENCE), httpx.AsyncClient(trust_env=False) as client:
            call = client.post(f"{front.addresses['http']}/call/Wait", json=5, timeout=PATIENCE)
            answering = asyncio.ensure_future(call)
            await backend.begun.wait()
            front.stop_listening()
            settling = asyncio.ensure_future(front.settled())
            done, _ = await asyncio.wait({settling}, timeout=0.1)
            assert not done
            backend.held.set()
            await settling
            assert (await answering).json() == 5
    finally:
        await front.close()


async def test_nobody_listens_who_is_not_wanted():
    front = Front(Backend(), None, None)
    await front.open()
    assert front.addresses == {}
    front.stop_listening()
    await front.settled()
    await front.close()


async def test_a_door_that_does_not_open_leaves_none_open(tmp_path):
    (tmp_path / "wrong.proto").write_text("wrong")
    front = Front(Backend(), HttpOptions(), GrpcOptions(protos=(tmp_path / "wrong.proto",)))
    with pytest.raises(StartError, match="cannot compile"):
        await front.open()
    url = front.addresses["http"]
    await front.close()
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


@pytest.mark.parametrize(
    ("missing", "options", "says"),
    [
        ("grpc", "None, GrpcOptions()", "pip install 'python-provider[grpc]'"),
        ("uvicorn", "HttpOptions(), None", "pip install 'python-provider[http]'"),
    ],
)
def test_what_is_missing_is_told_with_what_to_do(missing, options, says):
    program = (
        f"import asyncio, sys; sys.modules[{missing!r}] = None\n"
        "from provider.doors.front import Front\n"
        "from provider.doors.grpc.options import GrpcOptions\n"
        "from provider.doors.http.options import HttpOptions\n"
        "from provider.errors import StartError\n"
        "try:\n"
        f"    asyncio.run(Front(None, {options}).open())\n"
        "except StartError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean_environment(),
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    )
    assert says in done.stdout.decode()
