"""What may happen to nats-server, and on the way to it.

The rule of this file: what core NATS loses is lost, requests on their way to a connection that
breaks; and nothing else is. Whatever the provider began is answered, unless it was the caller whose
connection broke. Where answers may have arrived without the provider knowing, they come twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from tests.conftest import NatsServer
from tests.faults.load import request
from tests.faults.scenario import Scenario
from tests.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.scenario import Field
    from tests.proxy import Way

AWAY = frozenset({"no_responders"})
"""What callers are told by nats-server while the provider is not there."""
CROWDED = AWAY | {"overloaded"}
"""And what they are told when all comes at once that was held back."""
PINGED = {"PROVIDER_NATS_PING": "200ms"}
"""Settings with which a server that stands still is noticed soon."""
ON_THE_WAY = 1000
"""Most requests that one connection takes along when it breaks."""
CALM = 1.0
"""Seconds without an answer after which nothing is on its way any more."""

MOMENT = 20
"""Most requests that are on their way between two servers while the provider moves."""
WITH_HTTP = {"PROVIDER_HTTP": "0"}
GREEDY = 1 << 31
"""Number of the first call of a caller who does not read."""


# --- what providers and callers see ---------------------------------------------------------------


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


async def _forget_what_was_lost(field: Field) -> None:
    """When the load is over, wait for what still comes, and then for nothing more."""
    while field.load.open:
        before = field.load.open
        await asyncio.sleep(CALM)
        if field.load.open == before:
            field.load.write_off()


def runs(field: Field) -> set[int]:
    """Numbers of the calls that were begun."""
    data = field.ran.read_bytes()
    return {int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4)}


def _all_that_ran_was_answered(field: Field) -> None:
    lost = runs(field) - field.load.results
    assert not lost, f"{len(lost)} calls were run and not answered: {sorted(lost)[:5]}"


def _lost_on_the_way(*breaks: str) -> Callable[[Field], None]:
    """What ran was answered, and no more was lost than connections took along."""

    def check(field: Field) -> None:
        _all_that_ran_was_answered(field)
        most = ON_THE_WAY * sum(field.did[what] for what in breaks)
        lost = field.count.cut + field.count.unanswered
        assert lost <= most, f"{lost} calls were lost, {most} at most could be"

    return check


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


def _only_the_cut_are_lost(field: Field) -> None:
    assert not field.count.unanswered, (
        f"{field.count.unanswered} calls were not answered whose connection lived"
    )


async def _stop_for_a_moment(field: Field) -> None:
    while await field.go_on(2500, 5000):
        os.kill(field.nats.pid, signal.SIGSTOP)
        await asyncio.sleep(0.3)  # shorter than a PING is waited for
        os.kill(field.nats.pid, signal.SIGCONT)
        field.did["stopped"] += 1


async def _stop(field: Field) -> None:
    while await field.go_on(2500, 5000):
        os.kill(field.nats.pid, signal.SIGSTOP)
        field.did["stopped"] += 1
        await field.logged("nats_disconnected", field.did["stopped"])
        assert (await ready(field))[0] == 503
        os.kill(field.nats.pid, signal.SIGCONT)
        await field.logged("nats_reconnected", field.did["stopped"])
        await until_ready(field)
    await _forget_what_was_lost(field)


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
        await _forget_what_was_lost(field)

    return disturb


# --- leaving in order -----------------------------------------------------------------------------

LAME = 'lame_duck_duration: "30s"\nlame_duck_grace_period: "{grace}"\n'


async def _with_little_grace(field: Field) -> None:
    path = field.folder / "nats.conf"
    path.write_text(LAME.format(grace="500ms"))
    await asyncio.to_thread(field.nats.stop)
    field.nats = await asyncio.to_thread(NatsServer, "-c", str(path))
    field.nats_url, field.load.port = field.nats.url, field.nats.port


async def _leave_alone(field: Field) -> None:
    """A server without another one says that it leaves, leaves, and comes back."""
    while await field.go_on(500, 1500):
        os.kill(field.nats.pid, signal.SIGUSR2)
        field.did["left"] += 1
        await field.logged("nats_server_leaves", field.did["left"])
        await field.logged("nats_disconnected", field.did["left"])
        await asyncio.to_thread(field.nats.stop)
        await asyncio.to_thread(field.nats.start)
        await field.logged("nats_reconnected", field.did["left"])


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


async def _three_servers(field: Field) -> None:
    """One for the callers; two for the provider, who knows of no other."""
    cluster = free_port()

    def start(number: int) -> NatsServer:
        path = field.folder / f"nats{number}.conf"
        path.write_text(
            LAME.format(grace="5s") + f"server_name: n{number}\n"
            "cluster {\n  name: faults\n  no_advertise: true\n"
            f'  listen: "127.0.0.1:{-1 if number else cluster}"\n'
            f'  routes: ["nats-route://127.0.0.1:{cluster}"]\n}}\n'
        )
        server = NatsServer("-c", str(path))
        field.also.callback(server.stop)
        return server

    await asyncio.to_thread(field.nats.stop)
    field.nats = await asyncio.to_thread(start, 0)
    field.load.port = field.nats.port
    here = await asyncio.to_thread(start, 1)
    there = await asyncio.to_thread(start, 2)
    field.beside = here, there
    field.nats_url = f"{here.url},{there.url}"
    # So that the provider begins at the first.
    await asyncio.to_thread(there.stop)


async def _leave_one_of_two(field: Field) -> None:
    here, there = field.beside
    await asyncio.to_thread(there.start)
    while await field.go_on(300, 800):
        os.kill(here.pid, signal.SIGUSR2)
        field.did["left"] += 1
        back = await field.logged("nats_reconnected", field.did["left"])
        assert back["server"].endswith(f":{there.port}"), f"it is at {back['server']}"
        # It would wait for its grace to end.
        os.kill(here.pid, signal.SIGKILL)
        await asyncio.to_thread(here.stop)
        await asyncio.to_thread(here.start)
        here, there = there, here
    await _forget_what_was_lost(field)


async def _stop_one_of_two(field: Field) -> None:
    """It says nothing; the provider finds out, and goes to the other."""
    here, there = field.beside
    await asyncio.to_thread(there.start)
    while await field.go_on(2500, 4500):
        os.kill(here.pid, signal.SIGSTOP)
        field.did["stopped"] += 1
        back = await field.logged("nats_reconnected", field.did["stopped"])
        assert back["server"].endswith(f":{there.port}"), f"it is at {back['server']}"
        os.kill(here.pid, signal.SIGCONT)
        here, there = there, here
    await _forget_what_was_lost(field)


def _nearly_nothing_is_lost(field: Field) -> None:
    """What two servers tell each other a moment too late, and not what was accepted."""
    _all_that_ran_was_answered(field)
    lost = field.count.cut + field.count.unanswered
    assert lost <= field.did["left"] * MOMENT, f"{lost} calls were lost"


# --- a caller -------------------------------------------------------------------------------------

LARGE = f"""
def handle(command, number):
    note(number)
    return bytes(30_000) if number >= {GREEDY} else right(number)
"""


class Greedy:
    """Publishes as fast as it can, and reads nothing."""

    def __init__(self, port: int, subject: str) -> None:
        self._port, self._subject = port, subject
        self.sent = 0
        self.cut = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join(20)

    def _work(self) -> None:
        while not self._over.wait(0.05):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self._port), timeout=20) as link,
            ):
                self._publish(link)
            self.cut += not self._over.is_set()

    def _publish(self, link: socket.socket) -> None:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.sendall(b'CONNECT {"verbose":false}\r\nSUB greedy.* 1\r\n')
        while not self._over.is_set():
            numbers = range(GREEDY + self.sent, GREEDY + self.sent + 10)
            link.sendall(
                b"".join(request(self._subject, f"greedy.{number}", number) for number in numbers)
            )
            self.sent += len(numbers)
            self._over.wait(0.02)


async def _with_little_patience(field: Field) -> None:
    path = field.folder / "nats.conf"
    # Otherwise a server holds up who answers, for as long as who is answered does not read.
    path.write_text(
        'max_payload: 64KB\nmax_pending: 256KB\nwrite_deadline: "1s"\n'
        "no_fast_producer_stall: true\n"
    )
    await asyncio.to_thread(field.nats.stop)
    field.nats = await asyncio.to_thread(NatsServer, "-c", str(path))
    field.nats_url, field.load.port = field.nats.url, field.nats.port


async def _be_greedy(field: Field) -> None:
    await field.go_on(500, 1000)
    greedy = Greedy(field.nats.port, field.subject)
    field.also.callback(greedy.close)
    while await field.go_on(500, 1000):
        field.did["cut off"] = greedy.cut
    await asyncio.to_thread(greedy.close)
    assert not field.provider.events("nats_disconnected"), "the provider was cut off as well"


SCENARIOS = [
    Scenario(
        "nats-server killed",
        _kill,
        settings=WITH_HTTP,
        errors=AWAY,
        cut=True,
        at_least={"killed": 4},
        check=_only_the_cut_are_lost,
    ),
    Scenario(
        "nats-server stopped for a moment", _stop_for_a_moment, at_least={"stopped": 4}, long=True
    ),
    Scenario(
        "nats-server stopped for long",
        _stop,
        settings=WITH_HTTP | PINGED,
        errors=CROWDED,
        in_flight=20_000,
        rate=3500.0,
        timeout=10.0,
        cut=True,
        again=True,
        at_least={"stopped": 3},
        check=_lost_on_the_way("stopped"),
    ),
    Scenario("nats-server slow", _slow, before=through_proxy, at_least={"slowed down": 4}),
    Scenario(
        "connection cut in a request",
        _cut("down"),
        before=through_proxy,
        errors=CROWDED,
        in_flight=20_000,
        rate=3500.0,
        cut=True,
        again=True,
        at_least={"cut": 4},
        check=_lost_on_the_way("cut"),
    ),
    Scenario(
        "connection cut in an answer",
        _cut("up"),
        before=through_proxy,
        errors=CROWDED,
        in_flight=20_000,
        rate=3500.0,
        cut=True,
        again=True,
        at_least={"cut": 4},
        check=_lost_on_the_way("cut"),
    ),
    Scenario(
        "nats-server leaves, and comes back",
        _leave_alone,
        before=_with_little_grace,
        errors=AWAY,
        cut=True,
        at_least={"left": 2},
        check=_only_the_cut_are_lost,
    ),
    Scenario(
        "nats-server leaves its cluster",
        _leave_one_of_two,
        before=_three_servers,
        errors=CROWDED,
        in_flight=20_000,
        rate=3500.0,
        cut=True,
        again=True,
        at_least={"left": 3},
        check=_nearly_nothing_is_lost,
        long=True,
    ),
    Scenario(
        "nats-server of a cluster stopped",
        _stop_one_of_two,
        before=_three_servers,
        settings=PINGED,
        errors=CROWDED,
        in_flight=20_000,
        rate=3500.0,
        cut=True,
        again=True,
        at_least={"stopped": 3},
        check=_lost_on_the_way("stopped"),
        long=True,
    ),
    Scenario(
        "a caller does not read",
        _be_greedy,
        before=_with_little_patience,
        program=LARGE,
        errors=frozenset({"overloaded"}),
        at_least={"cut off": 1},
    ),
]
