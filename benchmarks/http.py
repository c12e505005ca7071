"""What a call over HTTP costs: the provider, FastAPI on uvicorn, and model-serving on gunicorn.

    python -m benchmarks.http [--rounds 5] [--seconds 2] [--connections 1,32] [--json FILE]

The rule of this file: a number is worth something only beside another one of the same minute. All
rows are given the same function and the same request, by one load generator, and take turns round
by round; what is quoted is the median over the rounds. An answer that is wrong ends the run with
exit code 1.

CPU is that of the processes that answer: of the provider the host, which does HTTP, and the worker,
which runs the function, are told apart, because the others do both in one process. nats-server and
the load generator do not count. Linux only, because it reads the CPU clocks of other processes.

The peers are installed by pip, once, into environments of their own in --peers; one that cannot be
had is left out, and that is said.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import contextlib
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import uvloop

from benchmarks.measuring import counted, environments
from benchmarks.measuring.command import command
from benchmarks.measuring.counted import begin, end, give_up
from benchmarks.measuring.processes import PATIENCE, Processes, children, family
from benchmarks.measuring.rounds import turned
from benchmarks.measuring.said import Failed, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WARM_UP = 0.5
"""Seconds of calls before those that are counted."""
BODY, ANSWER = b'{"n": 10}', {"result": 3628800}

FUNCTION = """
def product(n):
    result = 1
    for factor in range(2, n + 1):
        result *= factor
    return {"result": result}
"""
PROVIDER = f"""
from provider.dispatch import operation
{FUNCTION}
@operation
def factorial(n: int, again: int = 0) -> dict:
    # A single parameter would be the whole argument, not a member of it.
    return product(n)
"""
FASTAPI = f"""
from typing import Annotated
from fastapi import Body, FastAPI
app = FastAPI()
{FUNCTION}
@app.post("/call/factorial")
async def on_loop(n: Annotated[int, Body(embed=True)]) -> dict[str, int]:
    return product(n)

@app.post("/threads")
def in_threads(n: Annotated[int, Body(embed=True)]) -> dict[str, int]:
    return product(n)
"""
MODEL_SERVING = f"""
from aylien_model_serving.app_factory import FlaskAppWrapper
{FUNCTION}
def factorial():
    return FlaskAppWrapper.process_json(product)

def run_app():
    routes = [{{"endpoint": "/call/factorial", "callable": factorial, "methods": ["POST"]}}]
    return FlaskAppWrapper.create_app(routes)
"""
PEERS = {
    "fastapi": [["fastapi", "uvicorn", "httptools", "uvloop"]],
    # The pins its own requirements name, but for what it never imports and has no wheels of.
    "model_serving": [
        ["--no-deps", "model-serving==2.0.6"],
        [
            *("Flask==2.1.2", "werkzeug==2.0.3", "Flask-API==3.0.post1", "gunicorn==20.1.0"),
            *("prometheus-flask-exporter==0.18.2", "protobuf==3.17.3", "flask-caching==1.10.1"),
            "setuptools<81",
        ],
    ],
}


@dataclass(frozen=True)
class Row:
    """One way to answer.

    Attributes:
        name: in the table.
        port: it listens on.
        path: of the request.
        processes: by what they do; `http` is the one that does HTTP.
    """

    name: str
    port: int
    path: str
    processes: dict[str, int]


# --- what answers --------------------------------------------------------------------------------


def rows(processes: Processes, peers: Path) -> Iterator[Row]:
    """Everything that can be started, started.

    Args:
        processes: of the run, with a NATS server.
        peers: where environments of the peers are.
    """
    folder = processes.folder
    for name, text in (
        ("dispatch", PROVIDER),
        ("bench_fastapi", FASTAPI),
        ("bench_model_serving", MODEL_SERVING),
    ):
        (folder / f"{name}.py").write_text(text)
    settings = {
        "NATS_URL": processes.nats_url,
        "PROVIDER_LOG_FORMAT": "json",
        "PYTHON_DISPATCH": str(folder / "dispatch.py"),
    }
    command = [sys.executable, "-m", "provider"]

    def start(*words: str) -> int:
        return processes.start(
            [*command, *words, "--http", "0", "--no-env-file"],
            ready=rb'"event": ?"ready"',
            environment=settings,
        )

    host = start("run")
    processes_of_it = family(host)
    http = processes_of_it.pop("host")
    named = {"http": http, **processes_of_it}
    yield Row("provider", port_in(processes.ready_line(host)), "/call/factorial", named)
    del settings["PYTHON_DISPATCH"]
    gateway = start("gateway")
    named = {"http": gateway, "host": host, **processes_of_it}
    yield Row("provider gateway", port_in(processes.ready_line(gateway)), "/call/factorial", named)
    python = environments.python_of(peers, "fastapi", *PEERS["fastapi"])
    if python is not None:
        pid = processes.start(
            [
                *(python, "-m", "uvicorn", "bench_fastapi:app", "--port", "0"),
                *("--no-access-log", "--no-use-colors"),
            ],
            ready=b"Uvicorn running on",
            folder=folder,
        )
        port = int(processes.ready_line(pid).split(b"127.0.0.1:")[1].split()[0])
        yield Row("FastAPI, async def", port, "/call/factorial", {"http": pid})
        yield Row("FastAPI, def", port, "/threads", {"http": pid})
    python = environments.python_of(peers, "model_serving", *PEERS["model_serving"])
    if python is not None:
        for name, more in (
            ("model-serving, sync", []),
            ("model-serving, gthread", ["-k", "gthread", "--threads", "4"]),
        ):
            pid = processes.start(
                [
                    *(python, "-m", "gunicorn", "bench_model_serving:run_app()"),
                    *("-b", "127.0.0.1:0", *more),
                ],
                ready=b"Listening at",
                folder=folder,
            )
            port = int(processes.ready_line(pid).split(b"127.0.0.1:")[1].split()[0])
            yield Row(name, port, "/call/factorial", {"http": _first_child(pid)})


def _first_child(process: int) -> int:
    """The worker that does the work of a process which says that it is ready before it has one.

    Raises:
        Failed: it has none.
    """
    latest = time.monotonic() + PATIENCE
    while not (found := children(process)):
        if time.monotonic() > latest:
            raise Failed("no worker was started")
        time.sleep(0.05)  # nobody tells when a process has a child
    return found[0]


def port_in(line: bytes) -> int:
    return int(json.loads(line)["http"].rpartition(":")[2])


# --- the load generator: a process of its own ----------------------------------------------------


class Load(asyncio.Protocol):
    """One connection that asks again as soon as it was answered.

    Args:
        request: its bytes.
        latencies: where seconds go.
        again: called when the server has closed it.
    """

    def __init__(
        self, request: bytes, latencies: array.array[float], again: Callable[[], None]
    ) -> None:
        self._request, self._latencies, self._again = request, latencies, again
        self._got = b""
        self._since = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        self._since = time.perf_counter()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        length = int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 200") or json.loads(body) != ANSWER:
            give_up(f"a wrong answer: {self._got[:500]!r}")
        self._latencies.append(time.perf_counter() - self._since)
        self._got = b""
        if b"connection: close" not in lower:
            self._ask()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._again()


async def load(port: int, path: str, connections: int, seconds: float) -> None:
    """Ask for so many seconds, and say what came of it."""
    request = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Accept: */*\r\nContent-Length: {len(BODY)}\r\n\r\n"
    ).encode() + BODY
    latencies = array.array("d")
    loop = asyncio.get_running_loop()
    opening: set[asyncio.Task[Any]] = set()

    def connect() -> None:
        task = loop.create_task(
            loop.create_connection(lambda: Load(request, latencies, connect), "127.0.0.1", port)
        )
        opening.add(task)
        task.add_done_callback(opening.discard)

    for _ in range(connections):
        connect()
    await asyncio.sleep(WARM_UP)  # for as long as it is told to
    begin()
    del latencies[:]
    await asyncio.sleep(seconds)  # answers are taken meanwhile
    end(latencies)


# --- the run -------------------------------------------------------------------------------------


def measure(row: Row, connections: int, seconds: float) -> dict[str, float]:
    """One cell: calls per second, latencies, and CPU per call of each process, in microseconds."""
    words = [str(row.port), row.path, str(connections), str(seconds)]
    return counted.measure(row.name, ["benchmarks.http", "_load", *words], row.processes)


def table(cells: dict[tuple[str, int], list[dict[str, float]]]) -> str:
    head = f"{'':24}{'connections':>12}{'calls/s':>10}{'p50 ms':>9}{'p99 ms':>9}"
    lines = [f"{head}{'CPU µs/call':>13}{'of it HTTP':>12}{'calls/s of HTTP CPU':>21}"]
    for (name, connections), found in cells.items():
        middle = {key: statistics.median(each[key] for each in found) for key in found[0]}
        http = middle["cpu_http"]
        lines.append(
            f"{name:24}{connections:12}{middle['calls_per_second']:10.0f}{middle['p50_ms']:9.2f}"
            f"{middle['p99_ms']:9.2f}{middle['cpu']:13.1f}{http:12.1f}"
            f"{1e6 / http if http else 0:21.0f}"
        )
    return "\n".join(lines)


@command
def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.http",
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5, help="of which medians are taken")
    parser.add_argument("--seconds", type=float, default=2.0, help="counted in each cell")
    parser.add_argument("--connections", default="1,32", help="that ask at a time")
    parser.add_argument(
        "--peers", type=Path, default=environments.PLACE, help="folder they are installed in, once"
    )
    parser.add_argument("--json", type=Path, help="write everything that was measured here")
    options = parser.parse_args()
    widths = [int(each) for each in options.connections.split(",")]
    cells: dict[tuple[str, int], list[dict[str, float]]] = {}
    with Processes() as processes:
        processes.start_nats()
        started = list(rows(processes, options.peers))
        for number in range(options.rounds):
            for row in turned(started, number):
                for width in widths:
                    cell = measure(row, width, options.seconds)
                    cells.setdefault((row.name, width), []).append(cell)
            say(f"round {number + 1} of {options.rounds}")
    print(table(cells))
    if options.json is not None:
        told = [{"row": name, "connections": w, "rounds": r} for (name, w), r in cells.items()]
        options.json.write_text(json.dumps(told, indent=1))
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["_load"]:
        with contextlib.suppress(KeyboardInterrupt):
            uvloop.run(load(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))
    else:
        sys.exit(main())
