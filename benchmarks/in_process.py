"""What a call costs in our own code: the paths of host and worker, without sockets.

    python benchmarks/in_process.py [--calls 64] [--repeat 300] [--payload 0] [--tree FOLDER]

The rule of this file: everything between two system calls is the real thing, and nothing else is
measured. Bytes as nats-server writes them go into the NATS client, bytes for the worker come out;
those go into the worker's loop, and what it answers goes back into the host. Each step is timed
apart, by the CPU clock of this process, and the least of many repetitions is quoted: on a machine
that does other things, too, it is the figure that stays.

What a call costs on top of this, in system calls and in waking up, is what `call.py` measures.
With `--tree` the package of another checkout is measured, with this file's eyes; so two versions
can take turns.
"""
# ruff: noqa: SLF001  what it looks at is inside

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
FACTORIAL = ROOT / "dispatch_examples" / "factorial" / "dispatch.py"
SUBJECT = b"wasmbus.rpc.default.python.default"


class _Wire(asyncio.Transport):
    """Keeps what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Any] = []

    def write(self, data: Any) -> None:
        self.written.append(data)

    def writelines(self, list_of_data: Any) -> None:
        self.written.extend(list_of_data)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing is open."""

    def take(self) -> bytes:
        """What was written since the last time."""
        written, self.written = self.written, []
        return b"".join(written)


class _End(BaseException):
    """No more bytes for the worker."""


class _Socket(socket.socket):
    """The worker's end of the link: what it reads comes from `more`, what it sends is kept."""

    more: Callable[[], bytes]
    sent: list[bytes]
    _rest = b""

    def recv(self, size: int, _flags: int = 0) -> bytes:
        data = self._rest or self.more()
        self._rest = data[size:] if len(data) > size else b""
        return data[:size] if self._rest else data

    def recv_into(self, buffer: Any, size: int = 0, _flags: int = 0) -> int:
        data = self.recv(size or len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def sendall(self, data: Any, _flags: int = 0) -> None:
        self.sent.append(bytes(data))

    def sendmsg(self, buffers: Any, *_: Any) -> int:
        data = b"".join(buffers)
        self.sent.append(data)
        return len(data)

    def take(self) -> bytes:
        """What was sent since the last time."""
        sent = self.sent[0] if len(self.sent) == 1 else b"".join(self.sent)
        self.sent.clear()
        return sent


class Host:
    """The host's path: NATS client, door, path, fleet, link."""

    def __init__(self, program: Path) -> None:
        from nats.aio.client import Client
        from nats.aio.transport import TcpTransport

        from provider.burst_client import BurstClient
        from provider.doors.nats import NatsDoor
        from provider.host import fleet, link, slot
        from provider.host.admission import Admission
        from provider.host.contract import resolve
        from provider.host.path import CallPath
        from provider.wire.address import Address
        from provider.wire.values import Limits, Values

        wire = self._link_wire = _Wire()
        limits = Limits()
        setup = resolve(venv=None, main=None, dispatch=str(program), path=[], limits=limits)

        class _Link(link.Link):
            async def start(self, _timeout: float) -> dict[str, Any]:
                from provider.host.life import Event

                self._transport = wire
                self._happened(Event.LOADED)
                seen = os.stat(program)
                mark = [seen.st_mtime_ns, seen.st_size, seen.st_ino]
                return {"files": [[str(program), *mark]], "programs": [str(program)]}

        slot.__dict__["Link"] = _Link
        self.fleet = fleet.Fleet(setup, fleet.FleetOptions(watching=True))
        self.admission = Admission(100_000, 1 << 30)
        self.path = CallPath(
            self.admission,
            self.fleet,
            call_timeout=60.0,
            max_call_timeout=600.0,
            reload_allowed=True,
        )
        self.client = BurstClient(self.fleet.burst)
        self.client._status = Client.CONNECTED
        self._nats_wire = _Wire()
        transport: Any = TcpTransport()  # type: ignore[no-untyped-call]  # it has no types
        transport._io_writer = _Writer(self._nats_wire)
        self._reader = transport._io_reader = asyncio.StreamReader()
        self.client._transport = transport
        self.client._server_info = {"max_payload": 64 << 20}
        self.client._max_payload = 64 << 20
        self.door = NatsDoor(
            self.client, self.path, Address(), Values(limits), max_message=64 << 20
        )

    async def start(self) -> None:
        await self.fleet.start()
        self.link = self.fleet.slots[0].link
        self._reading = self.client._read_loop()
        self._waiter = self._reading.send(None)
        self.path.burst.at_end(self.door.answers.flush)
        take = self.door._take_native
        takers: dict[Any, Any] = {7: take, b"7": take}  # as one version knows it, and the other
        self.client.takers = takers

    def receive_messages(self, data: bytes) -> None:
        """Give the client what it reads, and let its task do what it then has to."""
        most = 250_000
        for start in range(0, len(data), most):
            self._reader.feed_data(data[start : start + most] if len(data) > most else data)
            if self._waiter.done():
                self._waiter = self._reading.send(None)

    def handed_over(self) -> bytes:
        """The frames for the worker."""
        return self._link_wire.take()

    def receive_answers(self, data: bytes) -> None:
        """Give the link what the worker sent."""
        receive(self.link, data)

    def answered(self) -> bytes:
        """What goes to nats-server, which says that it has read it."""
        self.client.unconfirmed.forget()
        return self._nats_wire.take()


class _Writer:
    """What nats-py holds of its connection."""

    def __init__(self, wire: _Wire) -> None:
        self.transport = wire
        self.write = wire.write
        self.writelines = wire.writelines


def receive(protocol: Any, data: bytes) -> None:
    """Give a protocol of either kind these bytes, as an event loop does: a quarter MB at a time."""
    most = 250_000
    if isinstance(protocol, asyncio.BufferedProtocol):
        view = memoryview(data)
        while view:
            room = memoryview(protocol.get_buffer(-1))
            size = min(len(room), len(view), most)
            room[:size] = view[:size]
            protocol.buffer_updated(size)
            view = view[size:]
        return
    for start in range(0, len(data), most):
        protocol.data_received(data[start : start + most])


class Worker:
    """The worker's loop with a program loaded."""

    def __init__(self) -> None:
        from provider.wire.progress import Progress, new_memory
        from provider.worker import serve as serve_module
        from provider.worker.answers import Answers

        ours, self._other = socket.socketpair()
        self.socket = _Socket(fileno=ours.detach())
        self.socket.sent = []
        progress = Progress(new_memory())
        self._serving = serve_module._Serving(self.socket, progress, Answers(self.socket, progress))

    def serve(self, program: Path, more: Callable[[], bytes]) -> None:
        """Load the program, then run what comes until `more` raises `_End`."""
        import cbor2

        from provider.wire.frames import FrameType, frame

        setup: dict[str, Any] = {
            "main": None,
            "dispatch": str(program),
            "path": [],
            "limits": {},
            "concurrency": 1,
        }
        waiting = [frame(FrameType.SETUP, 0, cbor2.dumps(setup))]
        self.socket.more = lambda: waiting.pop() if waiting else more()
        with contextlib.suppress(_End):
            self._serving.run()


def _program(payload: int, folder: Path) -> Path:
    if not payload:
        return FACTORIAL
    program = folder / "dispatch.py"
    program.write_text("def handle(command, arg):\n    return arg\n", encoding="utf-8")
    return program


async def measure(calls: int, repeat: int, payload: int) -> dict[str, Any]:
    """Microseconds of CPU per call of each step, the least and the median of `repeat` bursts."""
    import cbor2

    from provider.allocator import keep_memory

    keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        program = _program(payload, Path(folder))
        host, worker = Host(program), Worker()
        await host.start()
        argument: Any = bytes(payload) if payload else 10
        request = cbor2.dumps({"operation": "py.factorial", "payload": argument})
        message = b"".join(
            b"MSG %b 7 _INBOX.bench.%d %d\r\n%b\r\n" % (SUBJECT, slot, len(request), request)
            for slot in range(calls)
        )
        result = cbor2.dumps({"result": argument if payload else 3_628_800})
        steps: dict[str, list[float]] = {"host, in": [], "worker": [], "host, out": []}
        began = 0

        def more() -> bytes:
            # The worker reads: it has answered everything that it was given.
            nonlocal began
            clock = time.process_time_ns
            answered, answers = clock(), worker.socket.take()
            if began:
                steps["worker"].append((answered - began) / calls / 1000)
                began = clock()
                host.receive_answers(answers)
                steps["host, out"].append((clock() - began) / calls / 1000)
                out = host.answered()
                if out.count(b"PUB _INBOX.bench.") < calls or not out.endswith(result + b"\r\n"):
                    raise RuntimeError(f"not the right answers: {out[:300]!r}")
            if len(steps["worker"]) == repeat:
                raise _End
            began = clock()
            host.receive_messages(message)
            steps["host, in"].append((clock() - began) / calls / 1000)
            frames = host.handed_over()
            began = clock()
            return frames

        gc.collect()
        worker.serve(program, more)
        if host.admission.answered != calls * repeat or host.admission.open:
            raise RuntimeError("calls were counted wrongly")
    least = {name: min(each) for name, each in steps.items()}
    middle = {name: statistics.median(each) for name, each in steps.items()}
    for figures in (least, middle):
        figures["all"] = sum(figures.values())
    return {"calls": calls, "payload": payload, "least_us": least, "median_us": middle}


def main() -> int:
    """Parse, measure, print. The exit code."""
    parser = argparse.ArgumentParser(description="CPU per call of our own code, in one process.")
    parser.add_argument("--calls", type=int, default=64, help="in each burst")
    parser.add_argument("--repeat", type=int, default=300)
    parser.add_argument(
        "--payload", type=int, default=0, help="bytes there and back (0: factorial)"
    )
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout to measure")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, str(options.tree.resolve()))
    report = asyncio.run(measure(options.calls, options.repeat, options.payload))
    if options.json:
        print(json.dumps(report))
        return 0
    for name in report["least_us"]:
        print(
            f"{name:10} {report['least_us'][name]:9.2f} µs per call"
            f" (median {report['median_us'][name]:.2f})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
