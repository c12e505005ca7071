"""What may happen to nats-server, and on the way to it.

The rule of this file: a server that is killed takes the connections of the callers along, and may
lose what was on them. Whatever else happens to it costs what `breaks` says, and not a call more.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from tests.faults.breaks import AWAY, PINGED, breaking
from tests.faults.scenario import Scenario
from tests.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.scenario import Field
    from tests.proxy import Way

WITH_HTTP = {"PROVIDER_HTTP": "0"}


async def ready(field: Field) -> tuple[int, list[str]]:
    """What the newest provider says of itself where no NATS is needed: a status, and reasons."""

    def ask() -> tuple[int, list[str]]:
        url = field.provider.wait_for("ready")["http"]
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=20) as answer:
                return answer.status, []
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["reasons"]

    return await asyncio.to_thread(ask)


async def until_ready(field: Field) -> None:
    while (await ready(field))[0] != 200:
        await asyncio.sleep(0.01)  # it is answered at each ask, and announced to nobody


# --- the server -----------------------------------------------------------------------------------


async def _kill(field: Field) -> None:
    while await field.go_on(2000, 4500):
        os.kill(field.nats.pid, signal.SIGKILL)
        field.did["killed"] += 1
        await field.logged("nats_disconnected", field.did["killed"])
        status, reasons = await ready(field)
        assert status == 503, f"{status} while NATS was away"
        assert "NATS is not connected" in reasons
        await asyncio.to_thread(field.nats.stop)
        await asyncio.to_thread(field.nats.start)
        await field.logged("nats_reconnected", field.did["killed"])
        await until_ready(field)


async def _stop_for_a_moment(field: Field) -> None:
    while await field.go_on(2500, 5000):
        os.kill(field.nats.pid, signal.SIGSTOP)
        await asyncio.sleep(0.3)  # shorter than a PING is waited for
        os.kill(field.nats.pid, signal.SIGCONT)
        field.did["stopped"] += 1


async def _stop(field: Field) -> None:
    while await field.go_on(2500, 5000):
        os.kill(field.nats.pid, signal.SIGSTOP)
        sent = field.count.sent
        field.did["stopped"] += 1
        await field.logged("nats_disconnected", field.did["stopped"])
        assert (await ready(field))[0] == 503
        field.held_back += field.count.sent - sent
        os.kill(field.nats.pid, signal.SIGCONT)
        await field.logged("nats_reconnected", field.did["stopped"])
        await until_ready(field)


# --- the way --------------------------------------------------------------------------------------


async def through_proxy(field: Field) -> None:
    field.beside = proxy = await asyncio.to_thread(Proxy, field.nats.port)
    field.also.callback(proxy.close)
    field.nats_url = proxy.url


async def _slow(field: Field) -> None:
    proxy: Proxy = field.beside
    while await field.go_on(1500, 3000):
        for way in ("up", "down"):
            proxy.slow(way, 40_000)
        field.did["slowed down"] += 1
        await field.go_on(100, 300)
        for way in ("up", "down"):
            proxy.slow(way, None)


def _cut(way: Way) -> Callable[[Field], Awaitable[None]]:
    async def disturb(field: Field) -> None:
        proxy: Proxy = field.beside
        while await field.go_on(1500, 3000):
            proxy.cut_in_message(way)
            field.did["cut"] += 1
            await field.logged("nats_reconnected", field.did["cut"])
            assert proxy.cuts == field.did["cut"], "it was cut elsewhere"

    return disturb


SCENARIOS = [
    Scenario(
        "nats-server killed",
        _kill,
        settings=WITH_HTTP,
        errors=AWAY,
        cut=True,
        at_least={"killed": 4},
    ),
    Scenario(
        "nats-server stopped for a moment", _stop_for_a_moment, at_least={"stopped": 4}, long=True
    ),
    breaking(
        "nats-server stopped for long",
        _stop,
        "stopped",
        settings=WITH_HTTP | PINGED,
        timeout=10.0,
    ),
    Scenario("nats-server slow", _slow, before=through_proxy, at_least={"slowed down": 4}),
    breaking("connection cut in a request", _cut("down"), "cut", times=4, before=through_proxy),
    breaking("connection cut in an answer", _cut("up"), "cut", times=4, before=through_proxy),
]
