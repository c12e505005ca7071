"""What strangers send faster than it is answered takes little memory, and keeps no call waiting."""

from __future__ import annotations

import asyncio
import json
import os

import nats

from provider.doors.subscriptions import MOST_BYTES
from tests.conftest import PATIENCE

UNWELL = """
    from provider.dispatch import health, operation
    import os

    @health
    def well():
        return True

    @operation
    def gate(path: str):
        with open(path, "rb", buffering=0) as gate:
            gate.read(1)

    @operation
    def echo(arg):
        return arg
"""
MEGABYTE = bytes(1_000_000)


async def test_questions_that_pile_up_are_dropped_and_told_of(start_provider, tmp_path):
    os.mkfifo(tmp_path / "gate")
    provider = start_provider(UNWELL)
    name = provider.address["name"]
    subject = f"$SRV.STATS.{name}"
    async with provider.connect() as python:
        # Whoever asks for the figures while a call runs is kept waiting for the health check.
        running = asyncio.create_task(python.call("gate", str(tmp_path / "gate")))
        stranger = await nats.connect(provider.url)
        try:
            for _ in range(60):
                await stranger.publish(subject, MEGABYTE, reply="nobody.there")
            await stranger.flush(int(PATIENCE))
            told = await asyncio.to_thread(provider.wait_for, "nats_slow_consumer")
            assert told["subject"] == subject
            assert told["waiting_bytes"] <= MOST_BYTES
            with open(tmp_path / "gate", "wb") as gate:
                gate.write(b"x")
            await running
            assert await python.call("echo", 5) == 5
            answer = await stranger.request(subject, b"", timeout=PATIENCE)
            assert json.loads(answer.data)["name"] == name
        finally:
            await stranger.close()
