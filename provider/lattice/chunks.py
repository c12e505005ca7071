"""Arguments and results too long for a message: objects in the lattice's bucket on JetStream.

The rule of this file: anybody may have written what lies in the bucket, so its size is looked at
before it is read, no more than that is read, and none of its texts becomes a subject unseen; and
whatever way an operation ends, it leaves neither consumers nor pieces behind.

It stands on nats-py's JetStream, not on its object store, whose `get` takes what it is sent without
a limit, waits for ever for pieces that are missing and leaves its consumer and two tasks behind
when it fails; whose `put` forgets its pieces when it is cancelled; and whose `delete` purges
whatever the object's metadata names, wildcards too. Pieces are asked for one by one, from the
leader of the stream, which needs no consumer and sees what was just written. Sources: the object
store of NATS (ADR-20), wasmbus-rpc 0.15 (`chunkify.rs`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn
from uuid import uuid4

import msgspec
import nats.errors
from msgspec import Meta, Struct
from nats.js.api import DEFAULT_PREFIX, Header
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError
from nats.js.kv import MSG_ROLLUP_SUBJECT

from provider.errors import (
    BY_KIND,
    BadRequest,
    CallError,
    CallTimeout,
    TooLarge,
    Unavailable,
    clip,
)
from provider.lattice import subjects
from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nats.aio.client import Client
    from nats.js import JetStreamContext

PIECE = 128 * 1024
"""Most bytes of an object in one message, as all clients of NATS write them."""
MAX_NAME = 256
"""Most bytes of an object's name. A longer one would make a subject over which the NATS server
closes the connection."""
DELETE_WITHIN = 5.0
"""Seconds a delete may take."""

_REPLACE = {Header.ROLLUP.value: MSG_ROLLUP_SUBJECT}
"""Headers of a message that takes the place of all others of its subject."""
_NO_STREAM = 10059
"""What JetStream calls a stream that is not there (`err_code`)."""
_log = logs.get_logger(component="chunks")


class _Info(Struct):
    """What is used of an object's metadata, which anybody may have written."""

    # Part of a subject: a wildcard here would be everybody's objects.
    nuid: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9]{1,64}\Z")]
    size: Annotated[int, Meta(ge=0, le=2**53)]
    digest: str
    deleted: bool = False


class _Place(NamedTuple):
    """Where an object lies."""

    bucket: str
    name: str

    @property
    def stream(self) -> str:
        return f"OBJ_{self.bucket}"

    @property
    def info(self) -> str:
        """Subject of the metadata."""
        return f"$O.{self.bucket}.M.{urlsafe_b64encode(self.name.encode()).decode()}"

    def pieces(self, nuid: str) -> str:
        """Subject of the pieces."""
        return f"$O.{self.bucket}.C.{nuid}"


class ChunkStore:
    """The objects of one lattice. Any number of operations may run at once.

    Args:
        client: connected, or connecting again.
        lattice: whose name is that of the bucket.
        most: bytes an object may have; that much memory is taken at most twice for each `get`.
    """

    def __init__(self, client: Client, lattice: str, *, most: int) -> None:
        self._client = client
        self._lattice = lattice
        self._most = most

    async def get(self, name: str, size: int, timeout: float) -> bytes:
        """Read an object, which stays where it is.

        Args:
            name: its name, see `subjects.request_object` and `subjects.response_object`.
            size: bytes it must have, as the message said that it stands for.
            timeout: seconds.

        Raises:
            TooLarge: it has more bytes than an object may have, or the lattice can have no bucket.
            BadRequest: it is not there, not whole, or not what the message said.
            CallTimeout: it took longer.
            Unavailable: JetStream is off, or NATS away.
        """
        starting = f"nats: error starting to receive chunked stream for inv {clip(name, 100)}"
        receiving = f"nats: error receiving chunked stream for inv {clip(name, 100)}"
        end = asyncio.get_running_loop().time() + timeout
        jetstream = self._client.jetstream(timeout=timeout)
        with _telling(starting, timeout):
            place = self._place(name)
            self._check_size(size)
            info = await _find(jetstream, place)
            if info is None:
                raise BadRequest(
                    "the object store has no such object; store the argument before the "
                    "invocation is sent"
                )
            self._check_size(info.size)
            if info.size != size:
                raise BadRequest(
                    f"the object has {info.size} bytes, content_length says {size}; they must agree"
                )
        with _telling(receiving, timeout):
            async with asyncio.timeout_at(end):
                return await _read(jetstream, place, info)

    async def put(self, name: str, data: bytes, timeout: float) -> None:
        """Store an object. The bucket is made when there is none; an object of the name goes.

        Args:
            name: its name.
            data: what it holds.
            timeout: seconds.

        Raises:
            TooLarge: it has more bytes than an object may have, or the lattice can have no bucket.
            BadRequest: no object can have the name.
            CallTimeout: it took longer.
            Unavailable: JetStream is off or full, or NATS away.
        """
        with _telling(f"nats: error sending chunked stream for inv {clip(name, 100)}", timeout):
            place = self._place(name)
            self._check_size(len(data))
            async with asyncio.timeout(timeout):
                jetstream = self._client.jetstream(timeout=timeout)
                replaced = await self._make_room(jetstream, place)
                await self._write(jetstream, place, data)
                if replaced is not None:
                    await jetstream.purge_stream(place.stream, subject=replaced)

    async def delete(self, name: str) -> None:
        """Delete an object, and all that tells of it. One that is not there is fine.

        Raises nothing: whoever reads an object has what he wanted, so that a failure is for the
        log (`object_not_deleted`).
        """
        try:
            place = self._place(name)
            jetstream = self._client.jetstream(timeout=DELETE_WITHIN)
            async with asyncio.timeout(DELETE_WITHIN):
                try:
                    info = await _find(jetstream, place)
                    if info is None:
                        return
                    await jetstream.purge_stream(place.stream, subject=place.pieces(info.nuid))
                except _NoBucket:
                    return
                except BadRequest:
                    pass  # metadata that cannot be read, without pieces that could be found
                # Not marked as deleted, as others do: each name is used once, and the marks would
                # pile up.
                await jetstream.purge_stream(place.stream, subject=place.info)
        except Exception as error:  # noqa: BLE001  see above
            _log.warning("object_not_deleted", object=clip(name, 100), error=_text(error))

    def _place(self, name: str) -> _Place:
        bucket = subjects.bucket(self._lattice)
        if not 0 < len(name.encode("utf-8", "replace")) <= MAX_NAME:
            raise BadRequest(f"the id makes no name of an object; expected 1 to {MAX_NAME} bytes")
        return _Place(bucket, name)

    def _check_size(self, size: int) -> None:
        if size > self._most:
            raise TooLarge(f"{size} bytes are over the limit of {self._most} bytes")

    async def _make_room(self, jetstream: JetStreamContext, place: _Place) -> str | None:
        """Make the bucket, or find what the new object replaces: the subject of its pieces."""
        try:
            replaced = await _find(jetstream, place)
        except _NoBucket:
            try:
                await jetstream.create_object_store(place.bucket)
            except nats.errors.Error as error:
                _not_created(error)
            return None
        except BadRequest:
            return None
        return None if replaced is None else place.pieces(replaced.nuid)

    async def _write(self, jetstream: JetStreamContext, place: _Place, data: bytes) -> None:
        nuid = uuid4().hex
        subject = place.pieces(nuid)
        written = [subject]
        length = min(PIECE, self._client.max_payload)
        digest = hashlib.sha256()
        try:
            for start in range(0, len(data), length):
                piece = data[start : start + length]
                digest.update(piece)
                await jetstream.publish(subject, piece)
                _check_cancelled()
            info = {
                "name": place.name,
                "bucket": place.bucket,
                "nuid": nuid,
                "size": len(data),
                "chunks": -(-len(data) // length),
                "mtime": datetime.now(UTC).isoformat(),
                "digest": f"SHA-256={urlsafe_b64encode(digest.digest()).decode()}",
                "options": {"max_chunk_size": length},
            }
            written.append(place.info)
            await jetstream.publish(place.info, msgspec.json.encode(info), headers=_REPLACE)
        except BaseException:  # cancelled too: no half of it stays there
            with contextlib.suppress(Exception):
                await self._take_back(place, written)
            raise

    async def _take_back(self, place: _Place, written: list[str]) -> None:
        """Have what was written on these subjects deleted, without waiting for it.

        The last message is perhaps still on its way to the stream, which a purge can overtake. One
        that replaces it comes after it, so that an empty message is the most that stays.
        """
        for subject in written:
            await self._client.publish(subject, headers=_REPLACE)
            await self._client.publish(
                f"{DEFAULT_PREFIX}.STREAM.PURGE.{place.stream}",
                msgspec.json.encode({"filter": subject}),
            )


class _NoBucket(BadRequest):
    """The lattice has no bucket yet."""


async def _find(jetstream: JetStreamContext, place: _Place) -> _Info | None:
    """An object's metadata, None when there is no object.

    Raises:
        _NoBucket: nor a bucket.
        BadRequest: there is something that is no metadata.
        Unavailable: JetStream is off.
    """
    try:
        message = await jetstream.get_last_msg(place.stream, place.info)
    except NotFoundError as error:
        if error.err_code == _NO_STREAM:
            raise _NoBucket(f"there is no object store {place.bucket}") from None
        return None
    except ServiceUnavailableError as error:
        _not_created(error)
    try:
        info = msgspec.json.decode(message.data or b"", type=_Info)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the object's metadata cannot be read: {error}") from None
    return None if info.deleted else info


async def _read(jetstream: JetStreamContext, place: _Place, info: _Info) -> bytes:
    digest = hashlib.sha256()
    pieces: list[bytes] = []
    length, sequence = 0, 1
    while length < info.size:
        try:
            message = await jetstream.get_msg(
                place.stream, seq=sequence, subject=place.pieces(info.nuid), next=True
            )
        except NotFoundError:
            raise BadRequest(f"{length} of its {info.size} bytes are there") from None
        piece = message.data or b""
        length += len(piece)
        if length > info.size:
            raise BadRequest(f"it has more than the {info.size} bytes it says")
        digest.update(piece)
        pieces.append(piece)
        sequence = (message.seq or sequence) + 1
        _check_cancelled()
    if not _is_digest(info.digest, digest.digest()):
        raise BadRequest("its digest is another one than its metadata says")
    return b"".join(pieces)


def _check_cancelled() -> None:
    """Stop where this task was cancelled, which `wait_for` of Python 3.11 may have swallowed."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _is_digest(text: str, digest: bytes) -> bool:
    kind, _, value = text.partition("=")
    try:
        return kind.upper() == "SHA-256" and urlsafe_b64decode(value) == digest
    except ValueError:
        return False


def _not_created(error: Exception) -> NoReturn:
    if isinstance(error, ServiceUnavailableError):
        said = error.description or "JetStream is not enabled"
        raise Unavailable(
            f"nats: Failed to create store: {said}; what is longer than a message travels through "
            "JetStream, which the NATS server has with -js"
        ) from None
    raise Unavailable(f"nats: Failed to create store: {_text(error)}") from None


@contextlib.contextmanager
def _telling(doing: str, timeout: float) -> Iterator[None]:
    """Whatever goes wrong becomes an error of a call whose text begins so."""
    try:
        yield
    except Unavailable:
        raise
    except CallError as error:
        raise BY_KIND[error.kind](f"{doing}: {error.message}") from None
    except TimeoutError:
        raise CallTimeout(f"{doing}: not done within {timeout:g} s") from None
    except Exception as error:  # noqa: BLE001  nats-py lets through what others answered
        raise Unavailable(f"{doing}: {_text(error)}") from None


def _text(error: Exception) -> str:
    if isinstance(error, APIError) and error.description:
        return error.description
    return str(error) or type(error).__name__
