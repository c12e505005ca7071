"""Providers that leave their queue groups while nothing is loaded, as their callers live it."""

from __future__ import annotations

import asyncio
import os

import pytest

from provider.client import NoProvider
from provider.errors import ExitCode, Unavailable
from tests.conftest import PATIENCE, write

SOURCE = """
    import os
    def handle(command, arg):
        if command == "exit":
            os._exit(1)
        return {name!r}
"""
BROKEN = "def handle(command, arg: return"


class Pair:
    """Two providers of one queue group, each with a program of its own."""

    def __init__(self, start, folder, **environment: str) -> None:
        self.folder = folder
        lattice = f"pair{os.getpid()}-{folder.name}"
        self.first, self.second = (
            start(
                SOURCE.format(name=name),
                folder=folder / name,
                PROVIDER_LATTICE=lattice,
                **environment,
            )
            for name in ("first", "second")
        )

    def save(self, source: str) -> None:
        write(self.folder / "first" / "dispatch.py", source)


@pytest.fixture
def pair(start_provider, tmp_path):
    def made(**environment: str) -> Pair:
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
        return Pair(start_provider, tmp_path, **environment)

    return made


async def end_worker_of(provider) -> None:
    """Have the worker of one provider die, and nothing loaded after it."""
    os.kill(provider.worker_pid, 9)
    await asyncio.to_thread(provider.wait_for, "nothing_loaded")


def test_while_nothing_is_loaded_others_take_all_calls(pair):
    both = pair(PROVIDER_NOTHING_LOADED="leave")

    async def story():
        async with both.first.connect() as python:
            both.save(BROKEN)
            await end_worker_of(both.first)
            left = await asyncio.to_thread(both.first.wait_for, "queue_groups_left")
            assert "nothing is loaded" in left["reason"]
            assert {await python.call("name") for _ in range(60)} == {"second"}
            both.save(SOURCE.format(name="first"))
            await asyncio.to_thread(both.first.wait_for, "queue_groups_joined")
            async with asyncio.timeout(PATIENCE):
                while await python.call("name") != "first":
                    pass

    asyncio.run(story())
    assert both.first.stop() == ExitCode.OK


def test_without_the_setting_callers_are_told_why(pair):
    both = pair()

    async def story():
        async with both.first.connect() as python:
            both.save(BROKEN)
            await end_worker_of(both.first)
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(Unavailable, match="nothing is loaded"):
                    while True:  # until it comes to the first
                        await python.call("name")

    asyncio.run(story())


def test_alone_nobody_is_found_and_the_status_says_why(start_provider, tmp_path):
    provider = start_provider(
        SOURCE.format(name="alone"), PROVIDER_NOTHING_LOADED="leave", PROVIDER_ADMIN="on"
    )

    async def story():
        async with provider.connect() as python:
            write(tmp_path / "dispatch.py", BROKEN)
            await end_worker_of(provider)
            await asyncio.to_thread(provider.wait_for, "queue_groups_left")
            with pytest.raises(NoProvider):
                await python.call("name")
            status = await python.status()
            assert "nothing is loaded" in status["reason"]

    asyncio.run(story())
    assert provider.stop() == ExitCode.OK


def test_the_group_is_left_on_a_connection_that_comes_back_meanwhile(
    start_provider, tmp_path, nats_server
):
    provider = start_provider(
        SOURCE.format(name="alone"), nats=nats_server.url, PROVIDER_NOTHING_LOADED="leave"
    )

    async def story():
        nats_server.stop()
        await asyncio.to_thread(provider.wait_for, "nats_disconnected")
        write(tmp_path / "dispatch.py", BROKEN)
        await end_worker_of(provider)
        await asyncio.to_thread(provider.wait_for, "queue_groups_left")
        await asyncio.to_thread(nats_server.start)
        await asyncio.to_thread(provider.wait_for, "nats_reconnected")
        async with provider.connect() as python:
            with pytest.raises(NoProvider):
                await python.call("name")
            write(tmp_path / "dispatch.py", SOURCE.format(name="alone"))
            await asyncio.to_thread(provider.wait_for, "queue_groups_joined")
            assert await python.call("name") == "alone"

    asyncio.run(story())
