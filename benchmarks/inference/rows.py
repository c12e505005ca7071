"""What answers inferences: the provider, a plain copy, MLServer.

The rule of this file: a row is started as its own documentation says, and is there once it has
answered.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.inference.question import METHOD, MOST_BYTES, OPTIONS, grpc, question
from benchmarks.measuring import environments
from benchmarks.measuring.processes import PATIENCE, ROOT, Processes, children
from benchmarks.measuring.said import Failed

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        processes: whose CPU counts, by some name.
        cells: what it is asked, `text` or `tensor`.
        same: whether it answers with the question.
    """

    name: str
    port: int
    processes: dict[str, int]
    cells: tuple[str, ...] = field(default=("text", "tensor"))
    same: bool = False


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
        command = [sys.executable, "-m", "benchmarks.inference.copying", str(port)]
        process = self.start(command, folder, PYTHONPATH=str(ROOT))
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
                time.sleep(0.1)  # MLServer says that it is ready before its models are
            else:
                channel.close()
                return
        raise Failed(f"it does not answer:\n{self._processes.last_words(process)}")


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answering(pid: int) -> dict[str, int]:
    """A process and those under it, without a NATS server, by the order of their start."""
    return {str(number): each for number, each in enumerate(_under(pid))}


def _under(pid: int) -> list[int]:
    found = [pid]
    for each in children(pid):
        if "nats-server" not in Path(f"/proc/{each}/comm").read_text():
            found += _under(each)
    return found
