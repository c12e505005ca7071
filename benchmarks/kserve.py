"""What an inference over KServe's gRPC costs: the provider beside MLServer.

    python -m benchmarks.kserve [--rounds 5] [--seconds 2] [--in-flight 1,16] [--json FILE]

The rule of this file: a number is worth something only beside another one of the same minute. All
rows serve the same two functions and are sent the same messages, by one load generator, and take
turns round by round; what is quoted is the median over the rounds. An answer that is wrong ends the
run with exit code 1.

`text` is a short text in capitals, `tensor` ten megabytes of floats, each doubled. The row `copy`
is what the tensor's way costs when nobody looks at it: a gRPC server that hands the bytes to a
second process over a socket, and back. CPU is that of all processes that answer; nats-server and
the load generator do not count. Linux only, because it reads the CPU clocks of other processes.

MLServer is installed by pip, once, into an environment of its own in --peers; where it cannot be
had it is left out, and that is said.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import importlib
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import environments
from benchmarks.measuring.processes import (
    PATIENCE,
    ROOT,
    Processes,
    children,
    clean_environment,
    cpu_seconds,
)
from benchmarks.measuring.rounds import turned
from benchmarks.measuring.said import Failed, say

if TYPE_CHECKING:
    from collections.abc import Iterator

WARM_UP = 0.5
"""Seconds of calls before those that are counted."""
MOST_BYTES = 64 * 1024 * 1024
FLOATS = 10_000_000 // 4
METHOD = "/inference.GRPCInferenceService/ModelInfer"
OPTIONS = [
    ("grpc.max_receive_message_length", MOST_BYTES),
    ("grpc.max_send_message_length", MOST_BYTES),
    ("grpc.enable_http_proxy", 0),
]

PROVIDER = """
import numpy as np
from provider.dispatch import operation

@operation
def text(value: str) -> str:
    return value.upper()

@operation
def tensor(value: np.ndarray) -> np.ndarray:
    return value * np.float32(2)
"""
MLSERVER = """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceResponse
import numpy as np

class Text(MLModel):
    async def predict(self, payload):
        [value] = StringCodec.decode_input(payload.inputs[0])
        output = StringCodec.encode_output("output", [value.upper()])
        return InferenceResponse(model_name=self.name, outputs=[output])

class Tensor(MLModel):
    async def predict(self, payload):
        value = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("output", value * np.float32(2))
        return InferenceResponse(model_name=self.name, outputs=[output])
"""
# The newest uvloop has no loop where its worker processes ask for one.
PACKAGES = ["mlserver>=1.7,<2", "uvloop<0.22"]


@dataclass(frozen=True)
class Row:
    """One way to answer.

    Attributes:
        name: in the table.
        port: it listens on.
        processes: whose CPU counts.
        cells: what it is asked, `text` or `tensor`.
        same: whether it answers with the question.
    """

    name: str
    port: int
    processes: list[int]
    cells: tuple[str, ...] = field(default=("text", "tensor"))
    same: bool = False


def grpc() -> Any:
    """The library, which has no types."""
    return importlib.import_module("grpc")


def messages() -> Any:
    """The messages of the protocol, as everybody's client has them."""
    return importlib.import_module("tritonclient.grpc.service_pb2")


# --- what is asked, and what must be answered ----------------------------------------------------


def question(cell: str) -> tuple[bytes, bytes]:
    """The message, and the contents of the one output its answer must have."""
    request = messages().ModelInferRequest(model_name=cell)
    if cell == "text":
        text = b"Make this text uppercase."
        request.inputs.add(name="value", datatype="BYTES", shape=[1])
        contents, expected = (struct.pack("<I", len(each)) + each for each in (text, text.upper()))
    else:
        request.inputs.add(name="value", datatype="FP32", shape=[FLOATS])
        floats = array.array("f", range(1, FLOATS + 1))
        contents = floats.tobytes()
        expected = array.array("f", [2 * each for each in floats]).tobytes()
    request.raw_input_contents.append(contents)
    return request.SerializeToString(), expected


def is_right(answer: bytes, expected: bytes) -> bool:
    """Whether an answer has what it must have, said in either of the protocol's two ways."""
    read = messages().ModelInferResponse.FromString(answer)
    if read.raw_output_contents:
        return bool(read.raw_output_contents[0] == expected)
    [output] = read.outputs
    if output.contents.bytes_contents:
        return bool(output.contents.bytes_contents[0] == expected[4:])
    return array.array("f", output.contents.fp32_contents).tobytes() == expected


# --- what answers --------------------------------------------------------------------------------


class House:
    """What is started in a run.

    Args:
        processes: of the run.
        peers: where the environment of MLServer is.
    """

    def __init__(self, processes: Processes, peers: Path) -> None:
        self._processes = processes
        self._peers = peers

    def start(self, command: list[str], folder: Path, **environment: str) -> int:
        """Start a process in its folder; `until_answered` sees that it is ready."""
        folder.mkdir(exist_ok=True)
        return self._processes.start(command, ready=b"", environment=environment, folder=folder)

    def rows(self) -> Iterator[Row]:
        """Everything that can be started, started."""
        yield self._provider()
        yield self._copy()
        python = environments.python_of(self._peers, "mlserver", PACKAGES)
        if python is not None:
            yield self._mlserver(python, "MLServer", workers=1)
            yield self._mlserver(python, "MLServer, no workers", workers=0)

    def _provider(self) -> Row:
        folder, port = self._processes.folder / "provider", free_port()
        folder.mkdir()
        (folder / "dispatch.py").write_text(PROVIDER)
        process = self.start(
            [
                *(sys.executable, "-m", "provider", "run", "dispatch.py", "--no-env-file"),
                *("--grpc", str(port), "--embedded-nats", "--embedded-port", "0"),
            ],
            folder,
            PROVIDER_LOG_LEVEL="warning",
            PROVIDER_GRPC_MAX_MESSAGE=str(MOST_BYTES),
        )
        self.until_answered(process, port)
        return Row("provider", port, answering(process))

    def _copy(self) -> Row:
        folder, port = self._processes.folder / "copy", free_port()
        process = self.start(
            [sys.executable, __file__, "_copy", str(port)], folder, PYTHONPATH=str(ROOT)
        )
        self.until_answered(process, port)
        return Row("copy", port, answering(process), ("tensor",), same=True)

    def _mlserver(self, python: str, name: str, workers: int) -> Row:
        folder, port = self._processes.folder / f"mlserver{workers}", free_port()
        folder.mkdir()
        (folder / "bench_models.py").write_text(MLSERVER)
        settings = {
            "parallel_workers": workers,
            "host": "127.0.0.1",
            "grpc_port": port,
            "http_port": free_port(),
            "metrics_port": free_port(),
            "grpc_max_message_length": MOST_BYTES,
            "debug": False,
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        for model in ("text", "tensor"):
            (folder / model).mkdir()
            said = {"name": model, "implementation": f"bench_models.{model.title()}"}
            (folder / model / "model-settings.json").write_text(json.dumps(said))
        command = [str(Path(python).with_name("mlserver")), "start", "."]
        process = self.start(command, folder, PYTHONPATH=str(folder))
        self.until_answered(process, port)
        return Row(name, port, answering(process))

    def until_answered(self, process: int, port: int) -> None:
        """Wait until what listens there gives right answers, or until it cannot any more."""
        asked, _ = question("text")
        end = time.monotonic() + PATIENCE
        channel = grpc().insecure_channel(f"127.0.0.1:{port}", options=OPTIONS)
        while self._processes.runs(process) and time.monotonic() < end:
            try:
                channel.unary_unary(METHOD)(asked, timeout=PATIENCE, wait_for_ready=False)
            except grpc().RpcError:
                time.sleep(0.1)
            else:
                channel.close()
                return
        raise Failed(f"it does not answer:\n{self._processes.last_words(process)}")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answering(pid: int) -> list[int]:
    """A process and those under it, without a NATS server."""
    found = [pid]
    for each in children(pid):
        if "nats-server" not in Path(f"/proc/{each}/comm").read_text():
            found += answering(each)
    return found


# --- the plain copy: two processes, of which neither looks --------------------------------------


async def copy(port: int) -> None:
    """Serve every call with its question, by way of a second process."""
    ours, others = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        while data := others.recv(1 << 20):
            others.sendall(data)
        os._exit(0)
    others.close()
    reader, writer = await asyncio.open_connection(sock=ours, limit=MOST_BYTES)
    one = asyncio.Lock()

    async def infer(request: bytes, _context: Any) -> bytes:
        async with one:
            writer.write(request)
            answer, _ = await asyncio.gather(reader.readexactly(len(request)), writer.drain())
        return answer

    server = grpc().aio.server(options=OPTIONS)
    handler = grpc().unary_unary_rpc_method_handler(infer)
    service, _, method = METHOD.strip("/").partition("/")
    handlers = grpc().method_handlers_generic_handler(service, {method: handler})
    server.add_generic_rpc_handlers((handlers,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


# --- the load generator: a process of its own ----------------------------------------------------


async def load(port: int, cell: str, in_flight: int, seconds: float, same: bool) -> None:
    """Ask for so long; how many answers there were and how long they took, on standard output."""
    asked, expected = question(cell)
    latencies = array.array("d")
    news = asyncio.Event()
    async with grpc().aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        infer = channel.unary_unary(METHOD)

        async def ask() -> None:
            while True:
                since = time.perf_counter()
                answer = await infer(asked, timeout=PATIENCE)
                latencies.append(time.perf_counter() - since)
                news.set()
                if not (answer == asked if same else is_right(answer, expected)):
                    raise Failed(f"a wrong answer: {answer[:500]!r}")

        def void(task: asyncio.Task[None]) -> None:
            say(f"{cell}: {task.exception()}")
            os._exit(1)

        asking = [asyncio.create_task(ask()) for _ in range(in_flight)]
        for each in asking:
            each.add_done_callback(void)
        # It begins and ends with an answer, so that of slow ones there is no part.
        await asyncio.sleep(WARM_UP)
        news.clear()
        await news.wait()
        print("counting", flush=True)
        del latencies[:]
        await asyncio.sleep(seconds)
        news.clear()
        await news.wait()
        counted = sorted(latencies)
        print(
            json.dumps({"calls": len(counted), "p50": at(counted, 0.5), "p99": at(counted, 0.99)})
        )
        sys.stdout.flush()
        os._exit(0)


def at(latencies: list[float], part: float) -> float:
    return latencies[min(len(latencies) - 1, int(len(latencies) * part))] if latencies else 0.0


# --- the run -------------------------------------------------------------------------------------


def measure(row: Row, cell: str, in_flight: int, seconds: float) -> dict[str, float]:
    """Calls per second, latencies, and CPU per call in microseconds."""
    words = [str(row.port), cell, str(in_flight), str(seconds), str(int(row.same))]
    command = [sys.executable, "-m", "benchmarks.kserve", "_load", *words]
    with subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"counting\n":
            raise Failed(f"{row.name}: the load generator gave up on {cell}")
        began, before = time.monotonic(), sum(map(cpu_seconds, row.processes))
        line = process.stdout.readline()
        took, used = time.monotonic() - began, sum(map(cpu_seconds, row.processes)) - before
        if process.wait(PATIENCE) or not line:
            raise Failed(f"{row.name}: the load generator gave up on {cell}")
    told: dict[str, float] = json.loads(line)
    calls = told["calls"]
    return {
        "calls_per_second": calls / took,
        "p50_ms": told["p50"] * 1e3,
        "p99_ms": told["p99"] * 1e3,
        "cpu": used / calls * 1e6,
    }


def table(cells: dict[tuple[str, str, int], list[dict[str, float]]]) -> str:
    head = f"{'':22}{'':8}{'in flight':>10}{'calls/s':>10}{'MB/s':>8}{'p50 ms':>9}{'p99 ms':>9}"
    lines = [f"{head}{'CPU µs/call':>13}{'calls/s of CPU':>16}"]
    for (name, cell, in_flight), found in cells.items():
        middle = {key: statistics.median(each[key] for each in found) for key in found[0]}
        # There and back.
        megabytes = middle["calls_per_second"] * 2 * len(question(cell)[1]) / 1e6
        of_cpu = 1e6 / middle["cpu"] if middle["cpu"] else 0.0
        lines.append(
            f"{name:22}{cell:8}{in_flight:10}{middle['calls_per_second']:10.1f}{megabytes:8.1f}"
            f"{middle['p50_ms']:9.2f}{middle['p99_ms']:9.2f}{middle['cpu']:13.1f}{of_cpu:16.1f}"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--in-flight", default="1,16", help="of texts; of tensors 1 and 4")
    parser.add_argument("--peers", type=Path, default=environments.PLACE)
    parser.add_argument("--json", type=Path, help="everything measured")
    options = parser.parse_args()
    flights = {"text": list(map(int, options.in_flight.split(","))), "tensor": [1, 4]}
    cells: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    try:
        with Processes() as processes:
            rows = list(House(processes, options.peers).rows())
            for number in range(options.rounds):
                say(f"round {number + 1} of {options.rounds}")
                for cell, in_flight in [(c, n) for c in flights for n in flights[c]]:
                    # Each is first, in its turn.
                    for row in (each for each in turned(rows, number) if cell in each.cells):
                        found = measure(row, cell, in_flight, options.seconds)
                        cells.setdefault((row.name, cell, in_flight), []).append(found)
    except Failed as failure:
        say(str(failure))
        return 1
    order = sorted(cells, key=lambda key: (list(flights).index(key[1]), key[2]))
    print(table({key: cells[key] for key in order}))
    if options.json:
        told = [
            {"row": n, "cell": c, "in_flight": f, "rounds": r} for (n, c, f), r in cells.items()
        ]
        options.json.write_text(json.dumps(told, indent=1))
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["_load"]:
        port, cell, in_flight, seconds, same = sys.argv[2:]
        asyncio.run(load(int(port), cell, int(in_flight), float(seconds), same == "1"))
    elif sys.argv[1:2] == ["_copy"]:
        asyncio.run(copy(int(sys.argv[2])))
    else:
        sys.exit(main())
