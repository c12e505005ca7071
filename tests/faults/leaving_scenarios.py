"""What happens when a nats-server leaves: one alone, and one of a cluster.

The rule of this file: a provider that has another server goes there and loses next to nothing; one
that has none waits for its own to come back.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import TYPE_CHECKING

from tests.conftest import NatsServer
from tests.faults.breaks import AWAY, PINGED, RATE, breaking
from tests.faults.scenario import Scenario

if TYPE_CHECKING:
    from tests.faults.scenario import Field

MOMENT = 20
"""Most requests that are on their way between two servers while the provider moves."""
LAME = 'lame_duck_duration: "30s"\nlame_duck_grace_period: "{grace}"\n'


async def _with_little_grace(field: Field) -> None:
    await field.replace_server(LAME.format(grace="500ms"))


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


SCENARIOS = [
    Scenario(
        "nats-server leaves, and comes back",
        _leave_alone,
        before=_with_little_grace,
        errors=AWAY,
        cut=True,
        at_least={"left": 2},
    ),
    breaking(
        "nats-server leaves its cluster",
        _leave_one_of_two,
        "left",
        # What two servers tell each other a moment too late, and not what was accepted.
        on_the_way=MOMENT,
        before=_three_servers,
        long=True,
    ),
    breaking(
        "nats-server of a cluster stopped",
        _stop_one_of_two,
        "stopped",
        # Those of the time until it is noticed, three PINGs; more of them where much is going on.
        on_the_way=round(RATE),
        before=_three_servers,
        settings=PINGED,
        long=True,
    ),
]
