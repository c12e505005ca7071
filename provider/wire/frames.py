"""What host and worker say to each other: length-prefixed frames on a socketpair.

The rule of this file: bytes in, frames out, and nothing in between keeps a payload from passing
untouched. A frame is

    length  u32 little-endian, of everything after it
    type    u8, one of `FrameType`
    number  u64, the call it belongs to; 0 where it belongs to none
    body    the rest

The body of CALL and STREAM is `encoding u8, deadline f64 (seconds of the monotonic clock, infinity
for none), operation length u16, operation in UTF-8, payload`. All other bodies are a CBOR map or a
bare payload, as `FrameType` says. Either end that reads something else has lost its place: it
raises `FrameError`, and the link is given up, never resynchronised.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = 1
"""Of this language between host and worker; both ends come from the same installation."""


class FrameType(IntEnum):
    """What a frame says. Host to worker first, then worker to host."""

    SETUP = 1
    """What to load and how, as a CBOR map; the first frame on the link."""
    CALL = 2
    """Run this operation."""
    RELOAD = 3
    """Load the user's code again: a CBOR map with `force` and, for watchers, nothing else."""
    BYE = 4
    """Finish what you have, then leave."""
    ABOUT = 5
    """What is known of call `number`, which comes next: a map of `wire.about`."""
    STREAM = 6
    """Run this operation, and answer with CHUNK frames and END; the body is that of CALL."""
    CREDIT = 7
    """The caller of stream `number` has taken chunks: a CBOR map with `credit`, how many more."""
    CANCEL = 8
    """Stop stream `number`, or do not begin it."""

    HEALTH = 10
    """Ask the user's code how it is; `number` comes back, and counts as begun meanwhile."""

    SCHEMA = 12
    """Say what the operations take and give; answered by SCHEMAS of the same number, which
    counts as begun meanwhile."""

    HELLO = 16
    """The worker's interpreter is up: a CBOR map of its versions and process id."""
    READY = 17
    """The user's code is loaded: a CBOR map of what was loaded from where."""
    FAILED = 18
    """The user's code cannot be loaded: an error map."""
    RESULT = 19
    """The result of call `number`, encoded as the call was."""
    ERROR = 20
    """Call `number` failed: an error map."""
    RELOADED = 21
    """The outcome of RELOAD `number`: a CBOR map of what was loaded, or with `error`."""
    FILES = 22
    """A call imported more files: a CBOR map like that of READY."""
    CHUNK = 23
    """One item of stream `number`, encoded as the call was."""
    END = 24
    """Stream `number` has ended, and well; one that failed ends with ERROR."""
    PROGRESS = 25
    """How far call `number` is: a map of `wire.advance`."""
    TROUBLE = 30
    """The answer to HEALTH `number`: a CBOR map with `trouble`, an empty text for none."""
    SCHEMAS = 31
    """The answer to SCHEMA `number`: a CBOR map with `schemas`, by name of the operation."""


class Encoding(IntEnum):
    """How the payload of a call, and so of its result, is written."""

    CBOR = 0
    JSON = 1
    ABSENT = 2
    """No payload came; the result travels as CBOR."""
    JSON_ABSENT = 3
    """No payload came; the result travels as JSON."""


class FrameError(Exception):
    """The other end of the link sent something that is no frame.

    Attributes:
        before: frames that came whole before it, with the same bytes, as `FrameReader.feed` has
            them.
    """

    before: Sequence[tuple[int, int, bytes]] = ()


_HEAD = struct.Struct("<IBQ")
_CALL = struct.Struct("<IBQBdH")
_CALL_BODY = struct.Struct("<BdH")
BODY_HEAD, unpack_call = _CALL_BODY.size, _CALL_BODY.unpack_from
"""Bytes of a CALL body before the operation, and what takes them apart: encoding, deadline, bytes
of the operation. For those who run every call; `read_call` is the same for everybody else."""
OVERHEAD, pack_head = _HEAD.size - 4, _HEAD.pack
"""What the length of a frame counts beside its body, and what writes the bytes before that: length,
type, number. For those who answer every call; `frame` is the same for everybody else."""
CALL_OVERHEAD, pack_call = _CALL.size - 4, _CALL.pack
"""The same for a CALL frame and its body before the operation; see `call_frame`."""
_FRAME_TYPES = frozenset(map(int, FrameType))
_PLAIN_CALL = int(FrameType.CALL)
_CALLS = frozenset({_PLAIN_CALL, int(FrameType.STREAM)})

LARGE = 64 * 1024
"""Bytes from which a payload is copied as seldom as can be, at the cost of some steps more."""
_MOST_ROOM = 1 << 28
"""Bytes of a larger one are taken as they come, without room made beforehand."""
MAX_FRAME = 1 << 30
"""Most bytes in one frame. Messages are limited far below this before they become frames."""


def frame(kind: int, number: int, body: bytes = b"") -> bytes:
    """The bytes of one frame.

    Args:
        kind: a `FrameType`.
        number: the call it belongs to, 0..2**64-1.
        body: what it carries.
    """
    return _HEAD.pack(len(body) + OVERHEAD, kind, number) + body


def call_frame(
    number: int,
    operation: bytes,
    payload: bytes | memoryview,
    encoding: int,
    deadline: float,
    kind: int = _PLAIN_CALL,
) -> bytes:
    """The bytes of one CALL frame.

    Args:
        number: the call's number on this link, 1..2**64-1.
        operation: its UTF-8, at most 65535 bytes.
        payload: as the caller wrote it.
        encoding: an `Encoding`.
        deadline: seconds on the monotonic clock of this machine, `math.inf` for none.
        kind: STREAM for a call that asks for one.
    """
    return (
        pack_call(
            CALL_OVERHEAD + len(operation) + len(payload),
            kind,
            number,
            encoding,
            deadline,
            len(operation),
        )
        + operation
        + payload
    )


def read_call(body: bytes) -> tuple[int, float, bytes, bytes]:
    """Encoding, deadline, operation and payload of a CALL body; the payload of a view is a view.

    Raises:
        FrameError: the body is shorter than it says.
    """
    if len(body) < BODY_HEAD:
        raise FrameError(f"a call frame of {len(body)} bytes has no room for its head")
    encoding, deadline, length = unpack_call(body)
    start = BODY_HEAD + length
    if start > len(body):
        raise FrameError(f"an operation of {length} bytes does not fit its frame")
    return encoding, deadline, bytes(body[BODY_HEAD:start]), body[start:]


class FrameReader:
    """Turns the bytes of one link into frames, wherever they were split.

    Args:
        most: largest frame accepted, in bytes after the length.
    """

    __slots__ = ("_filled", "_held", "_most", "_room", "wanted")

    def __init__(self, most: int = MAX_FRAME) -> None:
        self._held: list[bytes] = []
        self.wanted = 0
        """Bytes that the next frame lacks, at least."""
        self._most = most
        self._room: memoryview | None = None
        self._filled = 0

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """The frames complete with these bytes, in order, as (type, number, body).

        Raises:
            FrameError: an unknown type, or a length that is too short or over the limit.
        """
        frames: list[tuple[int, int, bytes]] = []
        if self._held:
            # A large frame arrives in many pieces: join once, when it can be complete.
            self._held.append(data)
            self.wanted -= len(data)
            if self.wanted > 0:
                return frames
            held, self._held = self._held, []
            if len(held[0]) >= _HEAD.size and _HEAD.unpack_from(held[0])[0] > LARGE:
                frames.append(_in_pieces(held, -self.wanted))
                data = data[len(data) + self.wanted :]
            else:
                data = b"".join(held)
        position, end = 0, len(data)
        unpack, head, most = _HEAD.unpack_from, _HEAD.size, self._most
        while end - position >= head:
            length, kind, number = unpack(data, position)
            if length < OVERHEAD or length > most or kind not in _FRAME_TYPES:
                error = FrameError(f"type {kind} with {length} bytes is no frame")
                error.before = frames
                raise error
            after = position + 4 + length
            if after > end:
                self.wanted = after - end
                break
            frames.append((kind, number, data[position + head : after]))
            position = after
        else:
            self.wanted = head - (end - position)
        if position < end:
            self._held.append(data[position:] if position else data)
        return frames

    def room(self) -> memoryview | None:
        """Where the rest of a large call belongs, as long as it lacks one; then `filled` follows.

        For those who can read into it: the body is then a view of where it was read to. None where
        anything else is to be read, which is for `feed`.
        """
        if self._room is not None:
            return self._room[self._filled :]
        if not LARGE < self.wanted <= _MOST_ROOM:
            return None
        have = b"".join(self._held)
        if len(have) < _HEAD.size or _HEAD.unpack_from(have)[1] not in _CALLS:
            return None
        self._held.clear()
        self._room = memoryview(bytearray(len(have) + self.wanted))
        self._room[: len(have)] = have
        self._filled = len(have)
        return self._room[self._filled :]

    def filled(self, size: int) -> list[tuple[int, int, bytes]]:
        """The frame that is complete with so many bytes more of what `room` gave, if it is."""
        assert self._room is not None
        self._filled += size
        if self._filled < len(self._room):
            return []
        room, self._room, self.wanted = self._room, None, 0
        _, kind, number = _HEAD.unpack_from(room)
        body: Any = room[_HEAD.size :]
        return [(kind, number, body)]


def _in_pieces(pieces: list[bytes], after: int) -> tuple[int, int, bytes]:
    """The frame that these are, put together once and without its head.

    Args:
        pieces: the first with the whole head, the last with the end of the frame.
        after: bytes that stand behind it.
    """
    _, kind, number = _HEAD.unpack_from(pieces[0])
    body: list[bytes | memoryview] = [*pieces]
    body[0] = memoryview(pieces[0])[_HEAD.size :]
    if after:
        body[-1] = memoryview(pieces[-1])[:-after]
    return kind, number, b"".join(body)
