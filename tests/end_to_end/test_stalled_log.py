"""A log that nobody reads does not stop the host."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

from provider import client
from tests.conftest import PATIENCE

CHATTY = """
    def handle(command, arg):
        for _ in range(arg or 0):
            print("x" * 1000)
        return command
"""


async def test_calls_are_answered_while_nobody_reads_the_log(start_provider, tmp_path):
    # Only for its folder, program and addresses; the one that is tested has an unread pipe.
    first = start_provider(CHATTY)
    environment = {**first.environment, "PROVIDER_LATTICE": "stalled", "PROVIDER_NAME": "stalled"}
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "provider", "run"], env=environment, stderr=writing, cwd=tmp_path
    )
    os.close(writing)
    try:
        async with client.connect(
            environment["NATS_URL"], lattice="stalled", name="stalled", timeout=PATIENCE
        ) as python:
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        await python.status()
                        break
                    except client.NoProvider:
                        await asyncio.sleep(0.05)  # what it would say is what is not read here
            assert await python.call("loud", 12_000) == "loud"
            assert await python.call("after") == "after"
            assert (await python.status())["ready"]
        process.send_signal(signal.SIGTERM)
        # It waits a moment for the reader, not for ever.
        assert await asyncio.to_thread(process.wait, PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reading)
