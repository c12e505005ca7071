"""The life of the host: starting, stopping in order or at once, and what signals do."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import httpx
import pytest

from provider.errors import BadRequest, HandlerError, Unauthorized, Unavailable
from tests.conftest import PATIENCE
from tests.test_connection import free_port

HANDLER = """
    import time

    loaded = time.monotonic_ns()

    def handle(command, arg):
        if command == "sleep":
            time.sleep(arg)
        return loaded
"""


async def begun(python, count: int = 1) -> None:
    """Wait until the provider has so many calls in the house."""
    while (await python.status())["open"] < count:
        pass


async def test_a_second_signal_does_not_wait_for_calls(start_provider, processes):
    provider = start_provider(HANDLER)
    async with provider.connect() as python:
        calls = [asyncio.create_task(python.call("sleep", 3600)) for _ in range(3)]
        await begun(python, 3)
        provider.signal(signal.SIGTERM)
        await asyncio.to_thread(provider.wait_for, "draining")
        provider.signal(signal.SIGTERM)
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, Unavailable)
            assert "told to stop at once" in outcome.message
    assert provider.wait() == 0
    assert processes.until_gone(provider.worker_pid)


async def test_calls_that_outlast_the_grace_are_answered_and_left(start_provider):
    provider = start_provider(HANDLER, "--stop-timeout", "300ms")
    async with provider.connect() as python:
        call = asyncio.create_task(python.call("sleep", 3600))
        await begun(python)
        began = time.monotonic()
        provider.signal(signal.SIGTERM)
        with pytest.raises(Unavailable, match="PROVIDER_STOP_TIMEOUT"):
            await call
        assert time.monotonic() - began > 0.2
    # The worker that will not leave is given its time, and then none.
    assert provider.wait() == 0


async def test_a_hangup_loads_the_code_again(start_provider):
    provider = start_provider(HANDLER)
    async with provider.connect() as python:
        before = await python.call("x")
        provider.signal(signal.SIGHUP)
        await asyncio.to_thread(provider.wait_for, "reloaded")
        assert await python.call("x") > before


async def test_where_reloading_is_off_nothing_reloads(start_provider, tmp_path):
    provider = start_provider(HANDLER, PROVIDER_RELOAD="off")
    async with provider.connect() as python:
        before = await python.call("x")
        for _ in range(2):
            with pytest.raises(Unauthorized, match="PROVIDER_RELOAD=off"):
                await python.reload()
        (tmp_path / "dispatch.py").write_text("def handle(command, arg): return 'new'\n")
        provider.signal(signal.SIGHUP)
        said = await asyncio.to_thread(provider.wait_for, "reload_refused")
        assert said["by"] == "SIGHUP"
        assert "PROVIDER_RELOAD" in said["reason"]
        assert await python.call("x") == before


async def test_the_operation_reload_says_what_is_wrong(start_provider, tmp_path):
    provider = start_provider(HANDLER)
    async with provider.connect() as python:
        before = await python.call("x")
        (tmp_path / "dispatch.py").write_text("def handle(command, arg):\n  return nonsense(\n")
        with pytest.raises(HandlerError, match="line 2"):
            await python.reload()
        assert await python.call("x") == before
        status = await python.status()
        assert status["ready"]
        assert "line 2" in status["reload_error"]


def test_stopping_while_the_code_loads_is_no_failure(start_provider, processes):
    provider = start_provider(
        "import time\nprint('loading', flush=True)\ntime.sleep(3600)\n", ready=False
    )
    pid = int(provider.wait_for("printed", text="loading")["worker"])
    provider.signal(signal.SIGINT)
    assert provider.wait() == 0
    assert processes.until_gone(pid)
    assert "Traceback" not in provider.text


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def handle(command arg): pass\n", "line 1"),
        ("import nothing_of_that_name\n", "nothing_of_that_name"),
        ("x = 1\n", "handle"),
        ("def handle(): pass\n", "handle"),
    ],
)
def test_code_that_does_not_load_ends_the_start(start_provider, source, says):
    provider = start_provider(source, ready=False)
    assert provider.wait() == 3
    errors = [line for line in provider.lines if str(line).startswith("error: ")]
    assert len(errors) == 1
    assert says in provider.text


async def test_every_setting_of_the_address_is_heard(start_provider):
    provider = start_provider(
        HANDLER,
        *("--lattice", f"l{os.getpid()}", "--key", "k", "--link-name", "n", "--name", "shop"),
    )
    lattice = f"l{os.getpid()}"
    options = {"lattice": lattice, "key": "k", "link_name": "n", "name": "shop"}
    async with provider.connect(**options) as python:
        assert await python.call("x") == await python.call("x")
        assert await python.call_bytes("x")
        assert (await python.status())["ready"]
    assert provider.events("ready", subject=f"wasmbus.rpc.{lattice}.k.n")


async def test_limits_of_values_are_those_of_the_settings(start_provider):
    provider = start_provider(HANDLER, PROVIDER_MAX_DEPTH="3")
    async with provider.connect() as python:
        assert await python.call("x", [[1]])
        with pytest.raises(BadRequest, match="level"):
            await python.call("x", [[[[1]]]])


def test_a_crash_loop_is_a_failure_also_while_nats_is_away(start_provider):
    provider = start_provider(
        """
        import os, threading, time
        threading.Timer(0.1, os._exit, (7,)).start()
        def handle(command, arg): return 1
        """,
        ready=False,
        nats=f"nats://127.0.0.1:{free_port()}",
        PROVIDER_CRASH_LIMIT="2",
    )
    provider.wait_for("nats_unreachable")
    provider.wait_for("crash_loop")
    assert provider.wait() == 1


async def test_stopping_answers_what_came_over_http_while_nats_is_away(start_provider):
    nobody = f"nats://127.0.0.1:{free_port()}"
    source = HANDLER.replace("time.sleep(arg)", "print('begun', flush=True); time.sleep(arg)")
    provider = start_provider(source, "--http", "127.0.0.1:0", ready=False, nats=nobody)
    url = (await asyncio.to_thread(provider.wait_for, "http_open"))["url"]
    await asyncio.to_thread(provider.wait_for, "nats_unreachable")
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        call = asyncio.create_task(client.post("/call/sleep", json=2))
        await asyncio.to_thread(provider.wait_for, "printed")
        provider.signal(signal.SIGTERM)
        assert (await call).status_code == 200
    assert provider.wait() == 0
