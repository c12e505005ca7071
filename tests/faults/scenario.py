"""What may go wrong as data, and where it does.

The rule of this file: a scenario says what disturbs the calls and which errors callers may then
see; what must never be it does not say, that is the same for all. A run is repeated by its seed;
what happens is counted in calls and not in seconds, so that slow machines see the same.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats

from tests.conftest import PATIENCE, NatsServer, Provider, clean_environment
from tests.faults.load import Load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tests.faults.count import Count

CALLS = 20_000
"""Calls that are answered in a short run, refusals not counted."""
OTHERS = 1 << 31
"""Number of the first call that is not of the load, where a scenario makes calls of its own."""
ORPHANS = 1.0
"""Seconds after the end of a host within which all that it started is gone."""
MARK = "FAULTS_RUN"
"""Variable by which the processes of a run are known, however far they got away."""

PROGRAM = '''
import os
import sys

# A reload reads this again, and one descriptor will do.
sys.ran = getattr(sys, "ran", None) or os.open({ran!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
SEED = {seed}


def note(number):
    """This call is run; written so that no death can take it back."""
    os.write(sys.ran, number.to_bytes(4, "big"))


def right(number):
    return (1 << 33) + 7 * number


def chosen(number, one_in):
    """Whether this call is among those that misbehave, always the same for a seed."""
    return (number * 2654435761 + SEED * 40503) % (1 << 32) % one_in == 0


def handle(command, number):
    note(number)
    return right(number)


'''
"""What every dispatch program begins with; a scenario may replace `handle`."""


def misbehaving(one_in: int, code: str, *, before: str = "") -> str:
    """A program that answers rightly, and in one of so many calls does something else first.

    Args:
        one_in: so many.
        code: what it does then, where `number` is that of the call.
        before: what the program does when it is loaded.
    """
    inside = textwrap.indent(textwrap.dedent(code).strip(), " " * 8)
    return f"""{before}

def handle(command, number):
    note(number)
    if chosen(number, {one_in}):
{inside}
    return right(number)
"""


async def undisturbed(_field: Field) -> None:
    """Nothing comes from outside; the program itself is the disturbance."""


def launch(environment: dict[str, str], folder: Path) -> Provider:
    """Start the process of a provider."""
    return Provider([sys.executable, "-m", "provider", "run"], environment, folder)


@dataclass(frozen=True)
class Scenario:
    """Something that goes wrong under load.

    Attributes:
        name: in tables and tests.
        disturb: does it, until `Field.go_on` says that the load is over.
        before: called before the provider is started; may set `Field.nats_url`.
        launch: starts the process of a provider, with an environment in a folder.
        program: text that follows `PROGRAM`.
        settings: of the provider.
        errors: kinds callers may be answered with.
        calls: to be answered in a short run, refusals not counted.
        in_flight: calls under way.
        rate: calls a second, 0 for as fast as answers come.
        pause: seconds until a refused call is followed by the next.
        timeout: seconds each call has.
        cut: whether connections break, so that calls and answers are lost on their way.
        again: whether the provider's connections break and callers' live, so that answers that may
            not have arrived come a second time, and nobody tells of requests that are lost.
        at_least: how often each disturbance, as counted by `Field.did`, has to have happened.
        check: raises an AssertionError about what came of it, when all is over.
        needs: says why it cannot be run on this machine, empty if it can.
        long: whether it is left to `make long` and `make soak`.
    """

    name: str
    disturb: Callable[[Field], Awaitable[None]] = undisturbed
    before: Callable[[Field], Awaitable[None]] = undisturbed
    launch: Callable[[dict[str, str], Path], Provider] = launch
    program: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    errors: frozenset[str] = frozenset()
    calls: int = CALLS
    in_flight: int = 64
    rate: float = 0.0
    pause: float = 0.05
    timeout: float = 20.0
    cut: bool = False
    again: bool = False
    at_least: Mapping[str, int] = field(default_factory=dict)
    check: Callable[[Field], None] = lambda _field: None
    needs: Callable[[], str] = lambda: ""
    long: bool = False


class Field:
    """Where a scenario takes place, as its disturbance sees it.

    Attributes:
        scenario: this one.
        seed: of the run.
        chance: random numbers that follow from the seed.
        folder: of the dispatch program and of whatever else a scenario writes.
        nats: the server, all of it the scenario's own.
        nats_url: where providers find it, which may be something in between.
        load: the calls.
        providers: those that were started, the newest one last.
        did: what was done, and how often.
        beside: what `Scenario.before` has put up beside the server.
        also: ended when all is over.
        held_back: calls that were sent while nobody took them on, and that may be lost with a
            connection that broke meanwhile. A busy machine takes longer to find that out.
    """

    def __init__(self, scenario: Scenario, seed: int, folder: Path) -> None:
        self.scenario = scenario
        self.seed = seed
        self.chance = random.Random(f"{seed} {scenario.name}")
        self.folder = folder
        self.did: collections.Counter[str] = collections.Counter()
        self.beside: Any = None
        self.also = contextlib.ExitStack()
        self.held_back = 0
        self.providers: list[Provider] = []
        self.program = folder / "dispatch.py"
        self.ran = folder / "ran"
        self.lattice = f"faults{os.getpid()}x{random.getrandbits(32):08x}"
        self.subject = f"wasmbus.rpc.{self.lattice}.python.default"
        self.nats = NatsServer()
        self.nats_url = self.nats.url
        self.load = self.new_load()

    @property
    def provider(self) -> Provider:
        """The newest one."""
        return self.providers[-1]

    @property
    def count(self) -> Count:
        return self.load.count

    def new_load(self, port: int = 0, **options: Any) -> Load:
        """A connection that calls as the scenario says, unless the options say otherwise."""
        wanted = self.scenario
        return Load(
            port or self.nats.port,
            self.subject,
            **{
                "timeout": wanted.timeout,
                "in_flight": wanted.in_flight,
                "rate": wanted.rate,
                "pause": wanted.pause,
                **options,
            },
        )

    async def replace_server(self, configuration: str) -> None:
        """Have a nats-server with this configuration in place of the one there was."""
        path = self.folder / "nats.conf"
        path.write_text(configuration)
        await asyncio.to_thread(self.nats.stop)
        self.nats = await asyncio.to_thread(NatsServer, "-c", str(path))
        self.nats_url, self.load.port = self.nats.url, self.nats.port

    async def go_on(self, least: int, most: int) -> bool:
        """Wait for so many more answers, by chance; False once the load is over."""
        return await self.load.more(self.chance.randint(least, most))

    async def logged(self, event: str, count: int = 1, **fields: object) -> dict:
        """Wait until the newest provider has logged this so often; the newest line."""
        return await asyncio.to_thread(self.provider.wait_for, event, count, **fields)

    def note_program(self, text: str | None = None) -> str:
        """Write the dispatch program, the scenario's by default, as one change; its text."""
        text = PROGRAM.format(ran=str(self.ran), seed=self.seed) + textwrap.dedent(
            self.scenario.program if text is None else text
        )
        beside = self.program.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.program)
        return text

    async def start_provider(self, **settings: str) -> Provider:
        """Start a provider with the scenario's program, and wait until it answers."""
        environment = clean_environment(
            NATS_URL=self.nats_url,
            PYTHON_DISPATCH=str(self.program),
            PROVIDER_LOG_FORMAT="json",
            PROVIDER_LATTICE=self.lattice,
            PROVIDER_NAME=self.lattice,
            PROVIDER_CALL_TIMEOUT=f"{self.scenario.timeout}s",
            **{MARK: self.lattice, **self.scenario.settings, **settings},
        )
        provider = await asyncio.to_thread(self.scenario.launch, environment, self.folder)
        self.providers.append(provider)
        await asyncio.to_thread(provider.wait_for, "ready")
        return provider

    def workers(self, provider: Provider | None = None) -> list[int]:
        """Process ids of the workers a provider has now, the newest provider by default."""
        # Beside them may be whatever else a host needs.
        return [each for each in children((provider or self.provider).pid) if is_worker(each)]

    async def worker(self) -> int:
        """Process id of a worker by chance, once there is one; 0 when the load is over before."""
        while not (workers := self.workers()):
            if self.load.over:
                return 0
            await asyncio.sleep(0.005)  # nobody tells when a process has a child
        return self.chance.choice(workers)

    @property
    def running(self) -> list[Provider]:
        """The providers that have not ended."""
        return [each for each in self.providers if each.process.poll() is None]

    async def kill_worker(self) -> int:
        """Kill a worker by chance, and count that; its process id, 0 when the load is over."""
        if worker := await self.worker():
            os.kill(worker, signal.SIGKILL)
            self.did["killed"] += 1
        return worker

    async def statuses(self) -> list[dict[str, Any]]:
        """What each provider that runs says of itself."""
        running = self.running
        client = await nats.connect(self.nats.url)
        told: list[dict[str, Any]] = []
        try:
            inbox = client.new_inbox()
            answers = await client.subscribe(inbox)
            await client.publish(f"$SRV.STATS.{self.lattice}", b"", reply=inbox)
            while len(told) < len(running):
                message = await answers.next_msg(PATIENCE)
                told.append(json.loads(message.data)["endpoints"][0]["data"])
        finally:
            await client.close()
        return told

    def left(self) -> list[int]:
        """Processes of this run that still exist, nats-server and ourselves aside."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if f"{MARK}={self.lattice}".encode() in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
        return found

    async def until_none_left(self, patience: float = ORPHANS) -> list[int]:
        """Wait until nothing of this run exists any more; what does all the same."""
        end = time.monotonic() + patience
        while left := self.left():
            if time.monotonic() > end:
                return left
            await asyncio.sleep(0.01)  # they are nobody's children
        return []

    def close(self) -> None:
        for provider in self.running:
            provider.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                provider.process.wait(PATIENCE)
        for process in self.left():  # what ought not to be there keeps nobody waiting
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for provider in self.providers:
            provider.close()
        self.also.close()
        self.nats.stop()


def is_worker(process: int) -> bool:
    """Whether a process runs what workers run."""
    try:
        return b"/worker/__main__.py" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def children(process: int) -> list[int]:
    """Process ids of the children it has now."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found
