"""Messages as NATS delivers them: subjects, headers and bodies that anybody may publish.

The rule of this file: door and client are those of the host; NATS and the path are stood in for.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import TYPE_CHECKING, Any

import structlog

from provider.burst_client import BurstClient
from provider.client.asking import Asking
from provider.doors.nats import NatsDoor
from provider.errors import BadRequest, CallError, HandlerError
from provider.host.burst import Burst
from provider.host.call import StreamedCall
from provider.telemetry import logs
from provider.wire.address import Address
from provider.wire.envelope import RequestReader
from provider.wire.frames import Encoding
from provider.wire.values import Limits, Values
from tests.fuzz.target import target, told

if TYPE_CHECKING:
    from provider.host.call import Call

VALUES = Values(Limits())
_loop = asyncio.new_event_loop()
MOST_LINE = 512 * 1024
"""Characters of a line of the log."""
_REPLY = b"_INBOX.1"


class Client(BurstClient):
    """Our client of NATS without a server: what is sent is kept."""

    def __init__(self, burst: Burst) -> None:
        super().__init__(burst)
        self.sent: list[bytes] = []
        self.subjects: list[str] = []

    @property
    def max_payload(self) -> int:
        """As servers have it."""
        return 1 << 20

    async def subscribe_directly(self, subject: str, queue: str, take: Any) -> Any:
        """Note who takes the messages, which come in by `deliver`."""
        self.subjects.append(subject)
        self.takers[b"%d" % len(self.subjects)] = take

    def post(self, commands: list[bytes]) -> None:
        """Keep what would be sent."""
        self.sent += commands

    async def flush(self, timeout: int = 10) -> None:
        """There is nobody to wait for."""

    async def deliver(
        self, prefix: str, name: bytes, data: bytes, headers: bytes | None, reply: bytes = _REPLY
    ) -> list[bytes]:
        """Do what its parser does with a message; what was sent then."""
        self.sent = []
        (sid,) = (n for n, each in enumerate(self.subjects, 1) if each.startswith(prefix))
        subject = self.subjects[sid - 1].rstrip(">*").encode() + name
        await self._process_msg(sid, subject, reply, data, headers)
        return self.sent


class Path:
    """Stands in for the path: every call is answered at once."""

    patience = 60.0
    wants_context = True

    def __init__(self) -> None:
        self.burst = Burst()
        self.calls: list[Call] = []
        self.streams = self
        self.kept: list[StreamedCall] = []

    def deadline(self, timeout: float | None, received: float) -> float:
        """When a call has to be answered."""
        assert timeout is None or 0 < timeout < math.inf
        return received + (timeout or self.patience)

    def submit(self, call: Call) -> None:
        """Answer a call with one, or with an error if it has an id; streams wait for `stop`."""
        self.calls.append(call)
        assert call.operation
        assert call.deadline > time.monotonic() - 60
        result = b"1" if call.encoding in (Encoding.JSON, Encoding.JSON_ABSENT) else b"\x01"
        if isinstance(call, StreamedCall):
            call.on_chunk(call, result, 0)
            call.sent = 1
            self.kept.append(call)
            return
        error = HandlerError(call.operation, details={"id": call.id}) if call.id else None
        call.open = False
        call.answer(call, None if error else result, error)

    def credit(self, call: StreamedCall, count: int) -> None:
        """Note credit."""
        assert count > 0
        assert call.open

    def stop(self, call: StreamedCall, error: CallError) -> None:
        """End a stream."""
        if call.open:
            call.open = False
            call.answer(call, None, error)


def _door() -> tuple[Client, Path]:
    path = Path()
    client = Client(path.burst)
    anything: Any = path
    door = NatsDoor(client, anything, Address(), VALUES, max_message=64 * 1024, tracebacks=True)
    _loop.run_until_complete(door.open())
    return client, path


_client, _path = _door()


@target(
    b"Content-Type: application/json\r\n",
    b"Provider-Timeout-Ms: 5\r\n",
    b"Provider-Stream: true\r\n",
    b"Provider-Flow: false\r\n",
    b"Provider-Progress: true\r\n",
    b"Provider-Request-Id: ",
    b"traceparent: 00-",
    b"\r\n\r\n",
    b"\x69operation",
    b"\x67payload",
    b"\x66stream\xf5",
)
def nats(data: bytes) -> None:
    """A message: name of the operation, headers and body, with a zero byte between them."""
    _loop.run_until_complete(_messages(data))


async def _messages(data: bytes) -> None:
    name, _, rest = data.partition(b"\0")
    block, zero, body = rest.partition(b"\0")
    headers = b"NATS/1.0\r\n" + block + b"\r\n\r\n" if zero else None
    name = b"".join(name.split()) or b"x"
    for prefix in ("wasmbus.", "provider."):
        _path.calls.clear()
        _path.kept.clear()
        given = name if prefix == "provider." else b""
        sent = await _client.deliver(prefix, given, body, headers)
        if prefix == "wasmbus." and headers is None:
            _check_way(body, sent)
        if not _path.kept:
            assert len(sent) == 1, sent
            assert sent[0].split(b" ")[1] == _REPLY
            continue
        (call,) = _path.kept
        key = sent[-1].split(b" ")[2].rpartition(b".")[2]
        for said in (b"", name, body):
            sent += await _client.deliver("_PROVIDER", key, said, None)
        assert not call.open
        assert sum(each.split(b" ")[1:2] == [_REPLY] for each in sent) == len(sent)
        await _client.deliver(prefix, given, body, headers, b"")  # who cannot be answered


def _check_way(body: bytes, sent: list[bytes]) -> None:
    """What was called is what the request says, whichever way it took."""
    try:
        said = RequestReader(VALUES).read(body)
    except BadRequest:
        assert not _path.calls
        assert sent[0].startswith(b"HPUB ")
        return
    (call,) = _path.calls
    assert (call.operation, call.payload) == (said.operation, said.payload or b"")
    assert call.streams == said.stream
    if not said.id and not said.stream:
        assert sent[0].endswith(b"\r\n\xa1\x66result\x01\r\n")


class Answering(Client):
    """As `Client`, with somebody who answers everything in the same way."""

    def __init__(self, data: bytes) -> None:
        super().__init__(Burst())
        self.data = data

    is_connected = True

    def new_inbox(self) -> str:
        """Where answers come."""
        return "_INBOX.1"

    async def subscribe(self, subject: str, **more: Any) -> Any:
        """Who listens hears the answer, once, and whoever answers after it."""
        return _Heard([self.data, _STATUS])

    async def publish(self, subject: str, data: bytes = b"", **more: Any) -> None:
        """It is answered already."""

    async def request(self, subject: str, data: bytes = b"", *more: Any, **fields: Any) -> Any:
        """The answer."""
        return _Message(self.data)


_STATUS = (
    b'{"id":"1","version":"1","metadata":{"lattice":"default"},'
    b'"endpoints":[{"data":{"ready":true}}]}'
)


class _Message:
    headers = None

    def __init__(self, data: bytes) -> None:
        self.data = data


class _Heard:
    def __init__(self, answers: list[bytes]) -> None:
        self._answers = answers

    async def next_msg(self, timeout: float) -> _Message:
        return _Message(self._answers.pop(0))

    async def unsubscribe(self) -> None:
        """Nothing more comes."""


@target(
    _STATUS,
    b'{"operations":[]}',
    b'{"schemas":{}}',
    b'{"error":{"kind":"unavailable","message":"m"}}',
    b'"metadata":',
    b'"endpoints":',
    longest=8192,
)
def answers(data: bytes) -> None:
    """What a stranger answers to whoever asks for a provider."""
    _loop.run_until_complete(_asked(data))


async def _asked(data: bytes) -> None:
    asking = Asking(Answering(data), Address())
    status = await asking.status(5.0)
    assert status["version"] == "1" or b"version" in data
    for ask in (
        lambda: asking.operations(5.0),
        lambda: asking.schema("", 5.0),
        lambda: asking.admin("status", 5.0, 1),
    ):
        try:
            await ask()
        except CallError as error:
            told(error)


_shown = structlog.dev.ConsoleRenderer(colors=False, sort_keys=False)


@target(
    b"\r\n", b"\x1b[2J", b"\xc2\x9b", b"\xe2\x80\xa8", b"\xed\xa0\x80", b'{"level":"error"}', b"\0"
)
def log_line(data: bytes) -> None:
    """What a caller sends, in a line of the log: it stays one line, and steers no terminal."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        value = VALUES.decode(data)
    except BadRequest as error:
        value = error.message
    fields: dict[str, Any] = {
        "event": "printed",
        "text": text,
        "bytes": data,
        "value": value,
        "inside": [text, {text: data}],
        f"x{text}": 1,
    }
    cleaned = logs.clean(None, "info", fields)
    line = json.dumps(cleaned, allow_nan=False, ensure_ascii=False)
    assert line.isprintable()
    line.encode()
    assert len(line) < MOST_LINE
    assert _shown(None, "info", {**cleaned, "event": "printed"}).isprintable()
