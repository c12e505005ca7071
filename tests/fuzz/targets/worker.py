"""What a hostile worker sends: the host gives it up, and goes on.

The rule of this file: link, files and catalogue are those of the host; process and socket are stood
in for.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from typing import Any

import cbor2

from provider.errors import CallError, Cancelled, WorkerLost
from provider.host.call import Call, StreamedCall
from provider.host.catalogue import Catalogue
from provider.host.contract import WorkerSetup
from provider.host.files import ProgramFiles
from provider.host.life import Event, State
from provider.host.link import Link
from provider.host.reload import Reload, Reloads
from provider.wire.advance import advance, read_advance, write_advance
from provider.wire.frames import FrameError, FrameReader, FrameType, frame, read_call
from provider.wire.progress import SIZE, Progress, new_memory
from tests.fuzz.target import target, told

_KINDS = [bytes([kind]) for kind in FrameType]
_loop = asyncio.new_event_loop()


@target(*_KINDS, b"\x09\x00\x00\x00")
def frames(data: bytes) -> None:
    """Bytes of a link: the same frames, wherever they were split."""
    whole = _fed([data])
    size = 1 + (data[0] % 13 if data else 0)
    assert _fed([data[place : place + size] for place in range(0, len(data), size)]) == whole
    for kind, number, body in whole:
        assert frame(kind, number, body) in data
        with contextlib.suppress(FrameError):
            _, _, operation, payload = read_call(body)
            assert body.endswith(operation + payload)


def _fed(pieces: list[bytes]) -> list[tuple[int, int, bytes]]:
    reader, found = FrameReader(), []
    # What came before bytes that are no frame may be seen or not; the link is given up.
    try:
        for piece in pieces:
            found += reader.feed(piece)
    except FrameError:
        return []
    return found


class Process:
    """Stands in for the worker, whose bytes are made up."""

    pid = 0
    last_words: tuple[str, ...] = ()
    given_up = ""

    def give_up(self, why: str) -> None:
        """Note that it is to be killed."""
        self.given_up = self.given_up or why


class Wire:
    """Stands in for the transport."""

    closed = False

    def write(self, data: bytes) -> None:
        """Nobody reads it."""

    def is_closing(self) -> bool:
        """Whether the link was closed."""
        return self.closed

    def close(self) -> None:
        """Close the link."""
        self.closed = True


class House:
    """A link, and those who are told what comes over it, as a fleet has them."""

    def __init__(self, memory: Progress | None) -> None:
        self.answered: list[Call] = []
        self.chunks = 0
        self.files, self.catalogue = ProgramFiles(contents=True), Catalogue()
        self.link = Link(
            WorkerSetup("python", None, "/dispatch.py"),
            on_answer=self._answer,
            on_reloaded=lambda _link, told: self.reloads.told(told),
            on_files=lambda _link, told: self._loaded(told),
            on_gone=lambda _link, _why: None,
            on_schemas=self.catalogue.told,
            on_chunk=lambda call, chunk: call.on_chunk(call, chunk, 0),
        )
        self.process, self.wire = Process(), Wire()
        inside: Any = self.link
        inside._process, self.channel = self.process, inside._channel
        self.channel._transport, self.channel._memory = self.wire, memory
        inside._loaded = _loop.create_future()
        self.loaded = inside._loaded
        self.calls = [Call("py.echo", b"\x01", 0, math.inf, id="mine") for _ in range(2)]
        self.calls += [
            StreamedCall(
                "py.echo", b"\x01", 0, math.inf, on_chunk=self._chunk, on_progress=self._told
            )
            for _ in range(2)
        ]
        out: list[bytes] = []
        inside._happened(Event.LOADED)
        for call in self.calls:
            self.link.hand_over(call, out)
        self.link.busy()
        self.reloads = Reloads(self.link, 60.0, "dispatch.py", self._reloaded)
        self.reloads.ask(Reload(self.files.look(), None), out)

    def _answer(self, call: Call, result: bytes | None, error: CallError | None) -> None:
        assert (result is None) != (error is None)
        self.answered.append(call)
        if error is not None:
            told(error)

    def _chunk(self, _call: StreamedCall, _chunk: bytes, _number: int) -> None:
        self.chunks += 1

    def _told(self, _call: StreamedCall, told: Any) -> None:
        assert read_advance(write_advance(told)) == told

    def _reloaded(self, reload: Reload, told: dict[str, Any]) -> None:
        if reload.error is None:
            self._loaded(told)

    def _loaded(self, told: dict[str, Any]) -> None:
        self.files.take(told)
        self.catalogue.take(told)

    def hear(self, pieces: list[bytes]) -> None:
        """Take these bytes, then look at all that was said."""
        for piece in pieces:
            if not self.wire.closed:
                self.channel.data_received(piece)
        self.link.take_held()
        self._look()
        if self.loaded.done():
            self.loaded.exception()
        self.reloads.gone()

    def _look(self) -> None:
        self.files.changed()
        assert isinstance(self.files.outdated, bool)
        self.files.look()
        self.files.same_contents()
        for declared in self.catalogue.all:
            self.catalogue.count(Call(declared.name, b"", 0, math.inf), WorkerLost("gone"))
            declared.as_map()
        self.link.advances.of(self.link.calls)
        assert len(set(map(id, self.answered))) == len(self.answered)
        for call in self.calls:
            assert (call in self.answered) != (self.link.calls.get(call.number) is call)
        assert self.link.bytes == sum(len(call.payload) for call in self.link.calls.values())
        assert bool(self.process.given_up) == self.wire.closed
        busy = bool(self.link.calls)
        if not self.wire.closed and self.link.state is not State.RELOADING:
            assert self.link.state is (State.BUSY if busy else State.READY)


async def _heard(memory: Progress | None, pieces: list[bytes]) -> None:
    House(memory).hear(pieces)


@target(*_KINDS, b"files", b"programs", b"operations", b"error", b"schemas", longest=2048)
def link(data: bytes) -> None:
    """Bytes as they come over the link, in pieces."""
    size = 1 + (data[0] if data else 0)
    pieces = [data[place : place + size] for place in range(1, len(data), size)]
    _loop.run_until_complete(_heard(None, pieces))


_ORDER = (
    FrameType.HELLO,
    FrameType.READY,
    FrameType.ERROR,
    FrameType.RELOADED,
    FrameType.FILES,
    FrameType.PROGRESS,
    FrameType.SCHEMAS,
    FrameType.TROUBLE,
    FrameType.FAILED,
    FrameType.RESULT,
    FrameType.CHUNK,
    FrameType.END,
)


@target(
    b"\x65files",
    b"\x68programs",
    b"\x6aoperations",
    b"\x65error",
    b"\x67schemas",
    b"\x67details",
    b"\x64name",
    b"\xd8\x1c",
    b"\xd8\x1d\x00",
    b"\xc5\x82",
    b"\xd8\x1e\x82",
    longest=2048,
)
def told_by_link(data: bytes) -> None:
    """The bodies of whole frames: of which kind the first byte says, and of which call."""
    made, place = [], 0
    while place + 2 < len(data) and len(made) < 20:
        kind, size = data[place], data[place + 1]
        if size == 255:
            size = len(data)
        body = data[place + 2 : place + 2 + size]
        made.append(frame(_ORDER[kind % len(_ORDER)], kind // len(_ORDER) % 6, body))
        place += 2 + size
    _loop.run_until_complete(_heard(None, made))


_descriptor = new_memory()
_memory = Progress(_descriptor)


@target(*_KINDS, longest=2048)
def held(data: bytes) -> None:
    """Memory shared with a worker that has written anything into it."""
    os.pwrite(_descriptor, data, 0)
    _loop.run_until_complete(_heard(_memory, []))
    os.pwrite(_descriptor, bytes(min(len(data), SIZE)), 0)


@target(b"\x64done", b"\x65total", b"\x64note", b"\xfb", b"\xc4\x82", b"\xd8\x1e\x82")
def progress(data: bytes) -> None:
    """How far a call says it is."""
    try:
        made = read_advance(data)
    except FrameError as error:
        assert len(str(error)) < 512  # noqa: PT017  a line of the log
        return
    assert advance(made["done"], made["total"], made["note"]) == made
    assert read_advance(write_advance(made)) == made
    told(Cancelled(str(cbor2.dumps(made))))
