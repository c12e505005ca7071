"""The admin subjects: nobody answers there unless that is switched on."""

from __future__ import annotations

import nats
import pytest
from nats.errors import NoRespondersError

from tests.conftest import PATIENCE

PROGRAM = "def handle(command, arg): return arg\n"
COMMANDS = ["reload", "drain", "status"]


async def asked(provider, command: str) -> bytes:
    client = await nats.connect(provider.url)
    try:
        address = provider.address
        subject = f"provider.admin.{address['lattice']}.{address['name']}.{command}"
        return (await client.request(subject, b"", timeout=PATIENCE)).data
    finally:
        await client.close()


async def test_nobody_is_there_by_default(start_provider):
    provider = start_provider(PROGRAM)
    worker = provider.worker_pid
    for command in [*COMMANDS, "anything"]:
        with pytest.raises(NoRespondersError):
            await asked(provider, command)
    async with provider.connect() as python:
        assert await python.call("py.echo", 5) == 5
        assert (await python.status())["reloads"] == 0
    assert provider.worker_pid == worker
    assert provider.events("draining") == []


async def test_switched_on_they_are_obeyed(start_provider):
    provider = start_provider(PROGRAM, PROVIDER_ADMIN="on")
    for command in ("status", "reload", "drain"):
        assert await asked(provider, command)
    with pytest.raises(NoRespondersError):
        await asked(provider, "anything")
    assert provider.wait() == 0
