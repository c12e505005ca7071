"""grpc in a process that starts others all the time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import PATIENCE, clean_environment

PROGRAM = """
import asyncio, os
before = dict(os.environ)
import provider.doors.grpc
from tests.doors.grpc.conftest import Backend, Texts
from provider.doors.grpc.options import GrpcOptions
from provider.doors.grpc.server import GrpcServer
import grpc.aio, uvloop

async def main():
    backend = Backend()
    server = GrpcServer(backend, GrpcOptions())
    server.add(Texts(backend))
    await server.open()
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/t.Text/Call")

        async def calls():
            while True:
                await call(b"x")

        busy = [asyncio.create_task(calls()) for _ in range(5)]
        codes = set()
        for _ in range(100):
            process = await asyncio.create_subprocess_exec(
                "true", start_new_session=True, stdin=asyncio.subprocess.DEVNULL
            )
            codes.add(await process.wait())
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
    await server.close()
    print("ended with", codes, dict(os.environ) == before)

uvloop.run(main())
"""


@pytest.mark.long
def test_those_it_starts_live_and_nothing_is_written():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=clean_environment(),
        capture_output=True,
        check=False,
        timeout=4 * PATIENCE,
    )
    assert done.stdout.decode().splitlines()[-1:] == ["ended with {0} True"], done.stderr.decode()
    assert done.stderr == b""
