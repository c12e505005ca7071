"""The admin subjects: off by default, and obeyed by every instance where they are on."""

from __future__ import annotations

import asyncio
import os

import pytest

from provider.client import NoProvider
from tests.conftest import PATIENCE

HANDLER = """
    import os
    runs = 0

    def handle(command, arg):
        global runs
        runs += 1
        return [os.getpid(), runs]
"""


async def test_nobody_obeys_unless_told_to(start_provider):
    provider = start_provider(HANDLER)
    async with provider.connect() as python:
        for command in ("reload", "drain", "status"):
            with pytest.raises(NoProvider, match=r"provider\.admin\.\S+; was .* --admin"):
                await python.admin(command)
        assert (await python.call("x"))[1] == 1


async def test_every_instance_obeys(start_provider):
    same = {"PROVIDER_LATTICE": f"admin{os.getpid()}", "PROVIDER_NAME": "admin"}
    providers = [start_provider(HANDLER, "--admin", **same) for _ in range(2)]
    workers = {provider.worker_pid for provider in providers}
    async with providers[0].connect() as python:
        told = await python.admin("status", timeout=PATIENCE, expect=2)
        assert {status["worker"]["pid"] for status in told} == workers
        assert all(status["ready"] for status in told)

        told = await python.admin("reload", timeout=PATIENCE, expect=2)
        assert told == [{"result": True}] * 2
        for provider in providers:
            provider.wait_for("reloaded")

        told = await python.admin("drain", timeout=PATIENCE, expect=2)
        assert told == [{"result": True}] * 2
        for provider in providers:
            assert await asyncio.to_thread(provider.wait) == 0
            assert provider.events("drained")
        with pytest.raises(NoProvider):
            await python.call("x")


async def test_a_reload_that_fails_says_why(start_provider, tmp_path):
    provider = start_provider(HANDLER, PROVIDER_ADMIN="on")
    async with provider.connect() as python:
        (tmp_path / "dispatch.py").write_text("def handle(command arg): pass\n")
        (answer,) = await python.admin("reload", timeout=PATIENCE, expect=1)
        assert answer["error"]["kind"] == "handler_error"
        assert "line 1" in answer["error"]["message"]
        # The old code serves on, and the status tells.
        assert (await python.call("x"))[1] == 1
        (status,) = await python.admin("status", timeout=PATIENCE, expect=1)
        assert status["ready"]
        assert "line 1" in status["reload_error"]


async def test_a_reload_is_refused_where_reloading_is_off(start_provider):
    provider = start_provider(HANDLER, PROVIDER_ADMIN="on", PROVIDER_RELOAD="off")
    async with provider.connect() as python:
        (answer,) = await python.admin("reload", timeout=PATIENCE, expect=1)
        assert answer["error"]["kind"] == "unauthorized"
