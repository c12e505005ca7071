"""Twenty thousand inputs from a seed, at every door at once; then it answers as if nothing was."""

from __future__ import annotations

import asyncio
import collections
import itertools
import json
import random

import grpc.aio
import httpx
import nats
import pytest

from tests.conftest import PATIENCE, write
from tests.fuzz.damage import inputs
from tests.fuzz.targets.grpc import PROTO

SEED = 20_261_121
MESSAGES, REQUESTS, CALLS, STREAMS = 15_000, 3_000, 1_700, 300
"""Over NATS, over HTTP, over gRPC, and raw at the port of gRPC."""
AT_ONCE = 16
"""Connections."""
BURST = 250
"""Messages that are sent before their answers are waited for."""
PROGRAM = """
    def handle(command, arg):
        return arg
"""
REFUSED = {"INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"}
METHODS = {
    "/p.S/Do": "grpc.message",
    "/inference.GRPCInferenceService/ModelInfer": "kserve.grpc_request",
}


class Wire:
    """A connection to the NATS server, on which anything can be written.

    Attributes:
        answers: last messages to each reply subject, counted.
        nobody: how many of them are the server's, which found nobody there.
    """

    def __init__(self, reader, writer, inbox: bytes) -> None:
        self._reader, self._writer = reader, writer
        self._inbox = inbox
        self._numbers = itertools.count()
        self._news = asyncio.Event()
        self.answers = collections.Counter()
        self.nobody = 0
        options = b'{"verbose":false,"headers":true,"no_responders":true}'
        writer.write(b"CONNECT %b\r\nSUB %b.* 1\r\n" % (options, inbox))

    async def listen(self) -> None:
        while line := await self._reader.readline():
            words = line.split()
            if words[0] == b"PING":
                self._writer.write(b"PONG\r\n")
            if words[0] not in (b"MSG", b"HMSG"):
                assert words[0] in (b"INFO", b"PING", b"PONG"), line
                continue
            data = await self._reader.readexactly(int(words[-1]) + 2)
            if len(words) == (5 if words[0] == b"MSG" else 6):
                continue  # a chunk; the last message names no subject
            self.nobody += data.startswith(b"NATS/1.0 503")
            self.answers[words[1]] += 1
            self._news.set()

    def send(self, subject: bytes, headers: bytes | None, body: bytes) -> bytes:
        reply = b"%b.%d" % (self._inbox, next(self._numbers))
        if headers is None:
            self._writer.write(b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(body), body))
        else:
            block = b"NATS/1.0\r\n" + headers + b"\r\n\r\n"
            size = len(block) + len(body)
            head = b"HPUB %b %b %d %d\r\n" % (subject, reply, len(block), size)
            self._writer.write(head + block + body + b"\r\n")
        return reply

    async def answered(self, replies: set[bytes]) -> None:
        async with asyncio.timeout(2 * PATIENCE):
            while not self.answers.keys() >= replies:
                self._news.clear()
                await self._news.wait()


def messages(chance):
    """Subject after its prefix (empty for a native request), headers or None, and body."""
    natively = inputs(chance, "wire.envelope", "wire.cbor", "lattice.invocation")
    by_subject = inputs(chance, "doors.nats")
    while True:
        if chance.random() < 0.5:
            yield b"", None, next(natively)
            continue
        name, _, rest = next(by_subject).partition(b"\0")
        block, zero, body = rest.partition(b"\0")
        # What the server itself takes for the end of a subject, or for many.
        name = b"".join(name.translate(None, b"*>\0").split())[:300]
        yield name or b"x", block if zero else None, body


async def over_nats(provider, chance) -> tuple[int, int]:
    """Send all messages, each of which is answered once; how many, and how many found nobody."""
    lattice = provider.environment["PROVIDER_LATTICE"].encode()
    name = provider.environment["PROVIDER_NAME"].encode()
    host, port = provider.url.removeprefix("nats://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    wire = Wire(reader, writer, b"_INBOX.%d" % chance.getrandbits(64))
    listening = asyncio.create_task(wire.listen())
    made = messages(chance)
    replies: set[bytes] = set()
    for _ in range(MESSAGES // BURST):
        for operation, headers, body in itertools.islice(made, BURST):
            subject = b"provider.%b.%b.%b" % (lattice, name, operation)
            if not operation:
                subject = b"wasmbus.rpc.%b.python.default" % lattice
            replies.add(wire.send(subject, headers, body))
        await writer.drain()
        waiting = asyncio.create_task(wire.answered(replies))
        await asyncio.wait({waiting, listening}, return_when=asyncio.FIRST_COMPLETED)
        await waiting
    listening.cancel()
    writer.close()
    assert set(wire.answers.values()) == {1}
    return len(replies), wire.nobody


async def raw(port: int, data: bytes) -> bytes:
    """What is answered to these bytes, by when the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), PATIENCE)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def over_http(port: int, chance) -> None:
    made = inputs(chance, "http.connection")
    room = asyncio.Semaphore(AT_ONCE)

    async def one(data: bytes) -> None:
        async with room:
            answer = await raw(port, data)
        assert answer[:9] in (b"", b"HTTP/1.1 "), (data, answer)
        assert b"HTTP/1.1 500" not in answer, (data, answer)

    await asyncio.gather(*(one(data[1:]) for data in itertools.islice(made, REQUESTS)))


async def over_grpc(port: int, chance) -> None:
    room = asyncio.Semaphore(AT_ONCE)
    codes = collections.Counter()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

        async def one(method: str, data: bytes) -> None:
            async with room:
                try:
                    await channel.unary_unary(method)(data, timeout=PATIENCE)
                except grpc.aio.AioRpcError as error:
                    codes[error.code().name] += 1
                else:
                    codes["OK"] += 1

        made = {method: inputs(chance, target) for method, target in METHODS.items()}
        methods = [chance.choice(list(METHODS)) for _ in range(CALLS)]
        await asyncio.gather(*(one(method, next(made[method])) for method in methods))
    assert codes.keys() <= {"OK", *REFUSED}, codes
    assert codes["OK"]
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    frames = [preface + chance.randbytes(chance.randrange(200)) for _ in range(STREAMS)]
    for start in range(0, STREAMS, AT_ONCE):
        await asyncio.gather(*(raw(port, data) for data in frames[start : start + AT_ONCE]))


@pytest.fixture
def provider(serve, tmp_path):
    proto = write(tmp_path / "fuzz.proto", PROTO)
    return serve(PROGRAM, "--http", "0", "--grpc", "0", "--proto", str(proto))


async def requests(provider) -> int:
    """Messages the door has counted."""
    connection = await nats.connect(provider.url)
    name = provider.environment["PROVIDER_NAME"]
    told = json.loads((await connection.request(f"$SRV.STATS.{name}", b"")).data)
    await connection.close()
    return sum(each["num_requests"] for each in told["endpoints"][:2])


@pytest.mark.long
@pytest.mark.timeout(600)  # four times as many processes may share the machine
async def test_twenty_thousand_inputs_change_nothing(provider):
    told = provider.wait_for("ready")
    ports = {door: int(told[door].rpartition(":")[2]) for door in ("http", "grpc")}
    before = await requests(provider)
    (sent, nobody), *_ = await asyncio.gather(
        over_nats(provider, random.Random(SEED)),
        over_http(ports["http"], random.Random(SEED + 1)),
        over_grpc(ports["grpc"], random.Random(SEED + 2)),
    )
    assert sent + REQUESTS + CALLS + STREAMS == 20_000
    assert await requests(provider) - before == sent - nobody

    async with provider.connect() as python:
        assert await python.call("echo", "still here") == "still here"
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"http://127.0.0.1:{ports['http']}/call/echo", json=[1])
        assert answer.json() == [1]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports['grpc']}") as channel:
            assert await channel.unary_unary("/p.S/Do")(b"\x08\x05") == b"\x08\x05"
        status = await python.status()
    assert (status["open"], status["accepted"]) == (0, status["answered"])
    assert provider.process.poll() is None
    # Bad bytes are their sender's fault, and nobody else's log is filled with them. What is left
    # are calls with a few milliseconds to live, for which even a worker may be stopped.
    others = [line for line in provider.lines if isinstance(line, str) or line["level"] != "info"]
    late = [line for line in others if "deadline" in str(line) or "'timeout'" in str(line)]
    assert others == late
    assert len(provider.events("worker_ready")) <= 1 + len(late)
