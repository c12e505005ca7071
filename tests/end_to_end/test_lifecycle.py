"""The life of a dispatch module, as those see it who run and watch a provider."""

from __future__ import annotations

import asyncio
import os
import re

import cbor2
import pytest

from provider.client import connect_sync
from provider.errors import CallTimeout
from tests.conftest import PATIENCE, write

SHOP = """
    import os
    from provider.dispatch import adopt, health, operation, shutdown, startup

    FILE = os.path.join(os.path.dirname(__file__), "trouble")
    opened = []

    @adopt
    def take(previous):
        opened.extend(previous.opened)

    @startup
    def begin():
        opened.append(1)

    @shutdown
    def end():
        print("shop closed")

    count = 0

    @operation
    def checks():
        return count

    @health
    def well():
        global count
        count += 1
        if os.path.exists(FILE):
            text = open(FILE).read()
            if text == "hang":
                open(FILE + ".gate").read()
            raise RuntimeError(text)

    @operation
    def openings():
        return len(opened)

    @operation
    def hold(gate):
        open(gate, "rb", buffering=0).read(1)
        return "held"
"""


@pytest.fixture(scope="module")
def shop(serve):
    return serve(SHOP, "--admin")


@pytest.fixture
def trouble(shop):
    """Write what the module complains of; it is forgotten after the test."""
    path = shop.folder / "trouble"
    yield path
    path.unlink(missing_ok=True)


async def health(python, until):
    """Ask until the answer is the awaited one; answers are given again for a second."""
    async with asyncio.timeout(PATIENCE):
        while not until(status := await python.status(timeout=PATIENCE)):
            await asyncio.sleep(0.1)
    return status


async def test_health_is_asked_for_and_its_trouble_told(shop, trouble):
    async with shop.connect() as python:
        status = await health(python, lambda status: status["healthy"])
        assert status["health"]["state"] == "healthy"
        trouble.write_text("no bread")
        status = await health(python, lambda status: not status["healthy"])
        assert status["ready"] is True
        assert status["reason"] == "health well failed: RuntimeError: no bread"
        assert status["health"]["state"] == "unhealthy"
        assert await python.call("openings") == 1  # unwell is not away
        (told,) = await python.admin("status", timeout=PATIENCE, expect=1)
        assert told["healthy"] is False
        trouble.unlink()
        await health(python, lambda status: status["healthy"])


async def test_many_who_ask_are_told_the_same(shop):
    async with shop.connect() as python:
        before = await python.call("checks")
        await asyncio.gather(*(python.status(timeout=PATIENCE) for _ in range(50)))
        assert await python.call("checks") - before < 50


async def test_what_the_old_text_said_of_itself_is_forgotten(shop, trouble):
    async with shop.connect() as python:
        trouble.write_text("stale")
        await health(python, lambda status: not status["healthy"])
        trouble.unlink()
        await python.reload()
        assert (await python.status(timeout=PATIENCE))["healthy"]


async def test_a_running_call_keeps_nobody_from_hearing_of_it(shop, gate):
    async with shop.connect() as python:
        held = asyncio.create_task(python.call("hold", gate.path, timeout=PATIENCE))
        status = await health(
            python, lambda status: status["open"] and status["health"]["state"] == "busy"
        )
        assert status["healthy"]
        gate.open()
        assert await held == "held"
        await health(python, lambda status: status["health"]["state"] == "healthy")


def test_a_reload_adopts_and_closes_the_old_one(shop):
    with connect_sync(shop.url, timeout=PATIENCE, **shop.address) as python:
        before = python.call("openings")
        python.reload()
        assert python.call("openings") == before + 1
    shop.wait_for("printed", text="shop closed")


async def test_a_save_that_does_not_start_leaves_the_old_one(serve):
    provider = serve(SHOP)
    async with provider.connect() as python:
        write(provider.folder / "dispatch.py", SHOP.replace("opened.append(1)", "1 / 0"))
        assert await python.call("openings") == 1
        status = await health(python, lambda status: status["reload_error"])
        assert "startup begin failed: ZeroDivisionError" in status["reload_error"]
        assert status["healthy"]


async def test_a_check_that_hangs_is_ended_with_its_worker(serve, tmp_path):
    provider = serve(SHOP, PROVIDER_START_TIMEOUT="2s")
    os.mkfifo(provider.folder / "trouble.gate")
    (provider.folder / "trouble").write_text("hang")
    async with provider.connect() as python:
        await python.status(timeout=PATIENCE)
        lost = await asyncio.to_thread(provider.wait_for, "worker_lost")
        assert "health check took longer than 2 s" in lost["account"]
        (provider.folder / "trouble").unlink()
        assert await python.call("openings", timeout=PATIENCE) == 1


def test_leaving_closes_the_shop(serve):
    provider = serve(SHOP)
    assert provider.stop() == 0
    assert [line for line in provider.events("printed") if line["text"] == "shop closed"]


# --- what a call knows of itself ------------------------------------------------------------------

CURIOUS = """
    import threading
    from provider.dispatch import Context, operation

    @operation
    def headers(context: Context):
        return [context.id, dict(context.headers)]

    @operation
    def log(text, context: Context):
        def work():
            context.logger.info("100 %% %s", text)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return context.cancelled
"""


@pytest.fixture(scope="module")
def curious(serve):
    return serve(CURIOUS)


async def test_a_call_knows_its_id_and_its_headers(curious):
    async with curious.connect() as python:
        address = curious.address
        subject = f"provider.{address['lattice']}.{address['name']}.headers"
        given = {"X-Tenant": "acme", "Provider-Request-Id": "r7"}
        answer = await python._client.request(subject, b"", timeout=PATIENCE, headers=given)
        assert cbor2.loads(answer.data) == ["r7", given]
        answer = await python._client.request(subject, b"", timeout=PATIENCE)
        number, none = cbor2.loads(answer.data)
        assert number[0] == "#" and number[1:].isdigit()
        assert none == {}


async def test_a_call_is_named_in_the_lines_of_its_logger(curious):
    async with curious.connect() as python:
        assert await python.call("a%s.log", "done") is False
    line = await asyncio.to_thread(curious.wait_for, "printed", stream="stderr")
    assert re.fullmatch(r"INFO \[a%s\.log #\d+\] 100 % done", line["text"]), line


async def test_who_does_not_ask_is_not_told(serve):
    provider = serve("""
        from provider.dispatch import operation
        @operation
        def headers():
            from provider.dispatch import context
            return dict(context().headers)
    """)
    async with provider.connect() as python:
        address = provider.address
        subject = f"provider.{address['lattice']}.{address['name']}.headers"
        answer = await python._client.request(subject, b"", timeout=PATIENCE, headers={"X": "1"})
        assert cbor2.loads(answer.data) == {}


# --- batches --------------------------------------------------------------------------------------


async def test_a_batch_is_stopped_when_none_of_its_callers_waits_any_more(serve, gate):
    provider = serve(f"""
        from provider.dispatch import operation

        @operation(batch=2, wait=30)
        def stuck(members):
            open({gate.path!r}, "rb", buffering=0).read(1)
            return members

        @operation
        def quick():
            return 1
    """)
    async with provider.connect() as python:
        # The one that waits longer first, so that the newest call is not the last to expire.
        patient = asyncio.create_task(python.call("stuck", 1, timeout=PATIENCE))
        with pytest.raises(CallTimeout, match="still running"):
            await python.call("stuck", 2, timeout=1)
        gate.open()
        assert await patient == 1
        calls = [python.call("stuck", n, timeout=1 + n) for n in range(2)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [CallTimeout] * 2
        lost = await asyncio.to_thread(provider.wait_for, "worker_lost")
        assert "ran past its deadline" in lost["account"]
        assert await python.call("quick") == 1
