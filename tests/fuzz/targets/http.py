"""What clients of the HTTP door send: bodies, and raw bytes.

The rule of this file: bytes go through the server that runs; a backend that always answers stands
behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from urllib.parse import quote_from_bytes

from provider.doors.backend import Described, Health
from provider.doors.http import bodies
from provider.doors.http.options import HttpOptions
from provider.doors.http.server import HttpServer
from provider.errors import BadResult, CallError
from provider.wire.frames import Encoding
from provider.wire.values import Limits, Values
from tests.fuzz.target import target, told

VALUES = Values(Limits())
_loop = asyncio.new_event_loop()


@target(
    b"application/json",
    b"application/cbor",
    b"multipart/form-data; boundary=b",
    b"text/event-stream",
    b"application/x-ndjson",
    b"*/*",
    b";q=0.5",
    b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n',
    b"\r\n--b--\r\n",
    b"Content-Type: application/json\r\n",
    b'filename="f"',
    b"filename*=UTF-8''",
)
def body(data: bytes) -> None:
    """Content-Type, Accept and body, a line each, as `POST /call/...` reads them."""
    kind, _, rest = data.partition(b"\n")
    accept, _, content = rest.partition(b"\n")
    for content_type in (kind or None, b'multipart/form-data; boundary="b"', bodies.JSON):
        try:
            read = bodies.form_read(content_type)
            written = bodies.form_written(accept or None, read)
            payload, encoding = bodies.argument(content, content_type, read, written, VALUES)
        except CallError as error:
            told(error)
            continue
        assert isinstance(encoding, Encoding)
        if encoding is Encoding.CBOR and read != bodies.CBOR:
            assert VALUES.encode(VALUES.decode(payload)) == payload
        elif payload:
            assert payload == content


@target(b"\xd8\x40\x41", b"\xfb\x7f\xf0", b"\x82", b"\x80")
def result(data: bytes) -> None:
    """A result that a hostile worker gave, as callers want it who speak JSON."""
    for encoding in Encoding:
        try:
            bodies.to_json(data, encoding, VALUES)
        except BadResult as error:
            told(error)


_RAW = "shop.raw"


class Echo:
    """A backend that answers with the argument."""

    wants_headers = True
    outdated = False
    _told = Described(
        1,
        (
            {
                "name": "shop.price",
                "free": False,
                "signature": "(item: str, count: int = 1) -> int",
                "doc": "",
                "batch": 0,
                "cache": 0.0,
                "streams": False,
                "http": [
                    {
                        "method": "POST",
                        "path": "/items/{item}",
                        "status": 201,
                        "raw": False,
                        "whole": False,
                        "parameters": {
                            "item": {"types": ["string"]},
                            "count": {"types": ["integer"]},
                            "all": {"types": ["array"], "items": ["number", "null"]},
                        },
                    },
                ],
            },
            {
                "name": _RAW,
                "free": False,
                "signature": "(request: dict) -> dict",
                "doc": "",
                "batch": 0,
                "cache": 0.0,
                "streams": False,
                "http": [
                    {
                        "method": "*",
                        "path": "/raw/{rest:path}",
                        "status": 200,
                        "raw": True,
                        "whole": True,
                        "parameters": {},
                    },
                ],
            },
        ),
    )

    async def call(self, call: Any) -> bytes:
        """Its argument."""
        assert call.operation
        if call.operation == _RAW:
            return b"\xa1\x64body" + VALUES.encode(call.payload)
        return call.payload or (b"null" if call.encoding in (1, 3) else b"\xf6")

    async def stream(self, call: Any) -> Any:
        """Two chunks."""
        for _ in range(2):
            yield b"1" if call.encoding in (1, 3) else b"\x01"

    def described(self) -> Described:
        """One operation."""
        return self._told

    async def refresh(self) -> Described:
        """The same."""
        return self._told

    async def schemas(self) -> dict[str, Any]:
        """Of nothing."""
        return {}

    async def health(self) -> Health:
        """It is well."""
        return Health(live=True, ready=True, started=True)

    async def status(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {"operations": {}}


class Wire:
    """Stands in for the transport: what is written is kept."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.written += data

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def close(self) -> None:
        """Close it."""
        self.closed = True

    abort = close

    def can_write_eof(self) -> bool:
        """As TCP."""
        return True

    def write_eof(self) -> None:
        """The client is told that nothing more comes."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Who is at both ends."""
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def pause_reading(self) -> None:
        """What comes is given to it all the same."""

    resume_reading = pause_reading

    def set_protocol(self, protocol: object) -> None:
        """Nothing else reads it."""


def _server() -> HttpServer:
    backend: Any = Echo()
    options = HttpOptions(max_body=2000, max_head=1000, origins=("https://here.example",))
    server = HttpServer(backend, options)
    server._renew_headers()
    return server


_made = _server()


@target(
    b"POST /call/py.echo HTTP/1.1\r\nHost: h\r\n",
    b"GET /health/ready HTTP/1.1\r\n\r\n",
    b"Content-Length: 2\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n",
    b"2\r\n{}\r\n0\r\n\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Upgrade: h2c\r\n",
    b"Accept: text/event-stream\r\n",
    b"Content-Type: multipart/form-data; boundary=b\r\n",
    b"POST /items/a?count=2 HTTP/1.1\r\n",
    b"/v2/models/shop.price/infer",
    b"/raw/x",
    b"OPTIONS ",
    b"Origin: https://here.example\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"%2F",
    longest=2500,
)
def connection(data: bytes) -> None:
    """Bytes of a connection, in pieces; the first byte says of which size, and how it ends."""
    _loop.run_until_complete(_connected(data[:1], data[1:]))


async def _connected(first: bytes, data: bytes) -> None:
    size, end = 1 + (first[0] if first else 0), len(data) % 3
    failed: list[dict[str, Any]] = []
    _loop.set_exception_handler(lambda _loop, context: failed.append(context))
    wire: Any = Wire()
    made = _made._connection()
    made.connection_made(wire)
    for place in range(0, len(data), size):
        if wire.closed:
            break
        made.data_received(data[place : place + size])
        if place % 2:
            await asyncio.sleep(0)
    made.look(_loop.time())
    if end:
        for _ in range(20):  # what has come is answered; what has not may be waited for
            await asyncio.sleep(0)
    if end == 1 and not wire.closed:
        made.eof_received()
    made.look(_loop.time() + 60 * end)
    made.connection_lost(None)
    await _settled()
    assert not _made._state.tasks
    assert not _made._state.connections
    assert _made.door.numbers.open == 0
    assert not failed, failed
    assert wire.written[:9] in (b"", b"HTTP/1.1 ")
    assert b"HTTP/1.1 500" not in wire.written, bytes(wire.written)


async def _settled() -> None:
    for _ in range(1000):
        if not _made._state.tasks:
            return
        await asyncio.sleep(0)
    raise AssertionError("a request does not end")


@target(b"%2F", b"%00", b"%ff", b"?count=", b"&", b";", b"=", b"\xc3\xa9", b"/v2/", b"/../")
def path(data: bytes) -> None:
    """The path and the query of a request, and a body."""
    place, _, content = data.partition(b"\n")
    url = place if place[:1] == b"/" else quote_from_bytes(b"/" + place, "/?&=%;").encode()
    line = b"".join(url.split())[:400]
    for method in (b"POST", b"GET"):
        head = b"%b %b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (
            method,
            line,
            len(content),
        )
        with contextlib.suppress(TimeoutError):
            _loop.run_until_complete(_connected(b"\xff", head + content))
