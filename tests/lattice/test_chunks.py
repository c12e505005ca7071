"""Objects on a real JetStream: what is stored is read, and hostile objects are refused cheaply."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import signal
from base64 import urlsafe_b64encode

import nats
import nats.js.errors
import pytest
from nats.aio.client import Client

from provider.burst_client import BurstClient
from provider.doors.subscriptions import settle
from provider.errors import BadRequest, CallTimeout, TooLarge, Unavailable
from provider.host.burst import Burst
from provider.lattice.chunks import MAX_NAME, PIECE, ChunkStore
from tests.conftest import NatsServer

MOST = 8 << 20
PATIENCE = 20.0
_numbers = itertools.count()


class Bucket:
    """A store, another client beside it, and a lattice that nobody else has."""

    def __init__(self, client, other):
        self.client = client
        self.other = other
        self.lattice = f"chunks{os.getpid()}x{next(_numbers)}"
        self.store = ChunkStore(client, self.lattice, most=MOST)
        self.jetstream = other.jetstream()

    @property
    def stream(self):
        return f"OBJ_{self.lattice}"

    async def messages(self):
        return (await self.jetstream.stream_info(self.stream)).state.messages

    async def nothing_is_left_of_reading(self):
        assert await self.jetstream.consumers_info(self.stream) == []
        assert len(self.client._subs) <= 1  # the one for all answers
        assert not self.client._resp_map
        assert not [task for task in asyncio.all_tasks() if "JSI" in repr(task)]

    async def forge(self, name, info, *pieces, nuid="forged"):
        """Store metadata, as a map or bytes, and pieces that nobody checked."""
        for piece in pieces:
            await self.jetstream.publish(f"$O.{self.lattice}.C.{nuid}", piece)
        data = info if isinstance(info, bytes) else json.dumps(info).encode()
        subject = f"$O.{self.lattice}.M.{urlsafe_b64encode(name.encode()).decode()}"
        await self.jetstream.publish(subject, data, headers={"Nats-Rollup": "sub"})


@contextlib.asynccontextmanager
async def connected(server, client=None):
    client = client or Client()
    await client.connect(server.url)
    other = await nats.connect(server.url)
    try:
        yield Bucket(client, other)
    finally:
        await client.close()
        await other.close()


@pytest.fixture
async def bucket(jetstream_nats):
    async with connected(jetstream_nats) as bucket:
        yield bucket
        with contextlib.suppress(nats.js.errors.NotFoundError):
            await bucket.jetstream.delete_object_store(bucket.lattice)


def info_of(data, **fields):
    digest = urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
    return {"nuid": "forged", "size": len(data), "digest": f"SHA-256={digest}", **fields}


# --- what is stored is read ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "burst"])
async def test_what_is_stored_is_read(jetstream_nats, kind):
    client = BurstClient(Burst()) if kind == "burst" else Client()
    async with connected(jetstream_nats, client) as bucket:
        for size in (0, 1, PIECE - 1, PIECE, PIECE + 1, 921_601, 5_000_000):
            data = os.urandom(size)
            await bucket.store.put(f"object-{size}", data, PATIENCE)
            assert await bucket.store.get(f"object-{size}", size, PATIENCE) == data
        await bucket.nothing_is_left_of_reading()


async def test_many_at_once(bucket):
    objects = {f"object-{number}": os.urandom(200_000 + number) for number in range(24)}
    await asyncio.gather(
        *(bucket.store.put(name, data, PATIENCE) for name, data in objects.items())
    )
    found = await asyncio.gather(
        *(bucket.store.get(name, len(data), PATIENCE) for name, data in objects.items())
    )
    assert found == list(objects.values())
    await asyncio.gather(*(bucket.store.delete(name) for name in objects))
    assert await bucket.messages() == 0


async def test_the_bucket_is_made_as_others_make_it(bucket):
    await bucket.store.put("one", b"1", PATIENCE)
    config = (await bucket.jetstream.stream_info(bucket.stream)).config
    assert config.subjects == [f"$O.{bucket.lattice}.C.>", f"$O.{bucket.lattice}.M.>"]
    assert (config.storage, config.max_age, config.discard) == ("file", 0, "new")
    assert config.allow_rollup_hdrs
    assert config.allow_direct


async def test_a_bucket_that_went_is_made_again(bucket):
    await bucket.store.put("one", b"1", PATIENCE)
    await bucket.jetstream.delete_object_store(bucket.lattice)
    await bucket.store.put("two", b"22", PATIENCE)
    assert await bucket.store.get("two", 2, PATIENCE) == b"22"


async def test_objects_of_other_clients_are_read(bucket):
    store = await bucket.jetstream.create_object_store(bucket.lattice)
    data = os.urandom(300_000)
    await store.put("theirs", data)
    assert await bucket.store.get("theirs", len(data), PATIENCE) == data


async def test_other_clients_read_our_objects(bucket):
    data = os.urandom(300_000)
    await bucket.store.put("ours/\u00e9", data, PATIENCE)
    store = await bucket.jetstream.object_store(bucket.lattice)
    found = await store.get("ours/\u00e9")
    assert found.data == data
    assert (found.info.name, found.info.bucket) == ("ours/\u00e9", bucket.lattice)
    assert (found.info.size, found.info.chunks) == (300_000, 3)
    assert found.info.options.max_chunk_size == PIECE
    assert found.info.mtime.endswith("+00:00")


async def test_a_second_object_of_a_name_replaces_the_first_whole(bucket):
    await bucket.store.put("one", os.urandom(300_000), PATIENCE)
    await bucket.store.put("one", b"new", PATIENCE)
    assert await bucket.store.get("one", 3, PATIENCE) == b"new"
    assert await bucket.messages() == 2


async def test_metadata_that_cannot_be_read_is_replaced(bucket):
    await bucket.jetstream.create_object_store(bucket.lattice)
    await bucket.forge("one", b"garbage")
    await bucket.store.put("one", b"new", PATIENCE)
    assert await bucket.store.get("one", 3, PATIENCE) == b"new"


async def test_pieces_fit_what_the_server_carries(tmp_path):
    (tmp_path / "server.conf").write_text("max_payload: 20000")
    server = NatsServer("-c", str(tmp_path / "server.conf"), "-js", "-sd", str(tmp_path / "js"))
    try:
        async with connected(server) as bucket:
            data = os.urandom(50_001)
            await bucket.store.put("one", data, PATIENCE)
            assert await bucket.store.get("one", len(data), PATIENCE) == data
            assert await bucket.messages() == 4
    finally:
        server.stop()


# --- deleting ------------------------------------------------------------------------------------


async def test_nothing_is_left_of_a_deleted_object(bucket):
    await bucket.store.put("one", os.urandom(300_000), PATIENCE)
    await bucket.store.put("two", b"2", PATIENCE)
    await bucket.store.delete("one")
    assert await bucket.messages() == 2
    with pytest.raises(BadRequest, match="no such object"):
        await bucket.store.get("one", 300_000, PATIENCE)
    assert await bucket.store.get("two", 1, PATIENCE) == b"2"


async def test_deleting_what_is_not_there_is_fine(bucket, events):
    await bucket.store.delete("one")
    await bucket.jetstream.create_object_store(bucket.lattice)
    await bucket.store.delete("one")
    assert events == []


async def test_a_failed_delete_is_logged(shared_nats, events):
    async with connected(shared_nats) as bucket:
        await bucket.store.delete("one")
    await bucket.store.delete("one")
    assert [(entry["event"], entry["object"]) for entry in events] == [
        ("object_not_deleted", "one"),
        ("object_not_deleted", "one"),
    ]
    assert events[0]["error"].startswith("nats: Failed to create store: JetStream is not enabled")
    assert events[1]["error"] == "nats: connection closed"


@pytest.mark.parametrize("nuid", [">", "*"])
async def test_deleting_a_forged_object_spares_the_others(bucket, nuid):
    await bucket.store.put("one", b"1", PATIENCE)
    await bucket.forge("forged", info_of(b"1", nuid=nuid))
    await bucket.store.delete("forged")
    assert await bucket.store.get("one", 1, PATIENCE) == b"1"
    assert await bucket.messages() == 2


# --- what is refused -----------------------------------------------------------------------------

STARTING = "nats: error starting to receive chunked stream for inv one: "
RECEIVING = "nats: error receiving chunked stream for inv one: "


async def refusal(bucket, size, error=BadRequest, name="one"):
    with pytest.raises(error) as caught:
        await bucket.store.get(name, size, PATIENCE)
    assert type(caught.value) is error
    return caught.value.message


async def test_no_object(bucket):
    await bucket.jetstream.create_object_store(bucket.lattice)
    assert await refusal(bucket, 5) == (
        f"{STARTING}the object store has no such object; store the argument before the "
        "invocation is sent"
    )


async def test_no_bucket(bucket):
    assert await refusal(bucket, 5) == f"{STARTING}there is no object store {bucket.lattice}"


async def test_an_object_marked_as_deleted_is_none(bucket):
    store = await bucket.jetstream.create_object_store(bucket.lattice)
    await store.put("one", b"12345")
    await store.delete("one")
    assert "no such object" in await refusal(bucket, 5)


async def test_more_bytes_than_an_object_may_have_are_not_asked_for(bucket):
    assert await refusal(bucket, MOST + 1, TooLarge) == (
        f"{STARTING}{MOST + 1} bytes are over the limit of {MOST} bytes"
    )


async def test_an_object_over_the_limit_is_not_read(bucket):
    await bucket.jetstream.create_object_store(bucket.lattice)
    await bucket.forge("one", info_of(b"", size=1 << 40))
    assert await refusal(bucket, 5, TooLarge) == (
        f"{STARTING}{1 << 40} bytes are over the limit of {MOST} bytes"
    )


async def test_an_object_of_another_size_than_announced_is_not_read(bucket):
    await bucket.store.put("one", b"12345", PATIENCE)
    assert await refusal(bucket, 6) == (
        f"{STARTING}the object has 5 bytes, content_length says 6; they must agree"
    )


async def test_missing_pieces_are_not_waited_for(bucket):
    data = os.urandom(300_000)
    await bucket.jetstream.create_object_store(bucket.lattice)
    await bucket.forge("one", info_of(data), data[:PIECE], data[PIECE : 2 * PIECE])
    assert await refusal(bucket, 300_000) == f"{RECEIVING}{2 * PIECE} of its 300000 bytes are there"
    await bucket.nothing_is_left_of_reading()


async def test_no_more_is_read_than_was_announced(bucket):
    await bucket.jetstream.create_object_store(bucket.lattice)
    pieces = [b"12345", *[b"x" * 500_000] * 10]
    await bucket.forge("one", info_of(b"12345678"), *pieces)
    before = bucket.client.stats["in_bytes"]
    assert await refusal(bucket, 8) == f"{RECEIVING}it has more than the 8 bytes it says"
    assert bucket.client.stats["in_bytes"] - before < 1_000_000
    await bucket.nothing_is_left_of_reading()


@pytest.mark.parametrize(
    "digest",
    [
        "SHA-256=" + urlsafe_b64encode(hashlib.sha256(b"other").digest()).decode(),
        "SHA-1=" + urlsafe_b64encode(hashlib.sha256(b"12345").digest()).decode(),
        "SHA-256=!",
        "SHA-256=\u00e9",
        "",
    ],
)
async def test_another_digest(bucket, digest):
    await bucket.jetstream.create_object_store(bucket.lattice)
    await bucket.forge("one", info_of(b"12345", digest=digest), b"12345")
    assert await refusal(bucket, 5) == (
        f"{RECEIVING}its digest is another one than its metadata says"
    )
    await bucket.nothing_is_left_of_reading()


HOSTILE = {
    "empty": b"",
    "garbage": b"\xff\x00",
    "not UTF-8": b'{"nuid": "\xff"}',
    "cut": b'{"nuid": "forg',
    "deep": b"[" * 100_000,
    "list": [],
    "number": 5,
    "no members": {},
    "a nuid that is a number": info_of(b"12345", nuid=5),
    "a nuid for all objects": info_of(b"12345", nuid=">"),
    "a nuid for any object": info_of(b"12345", nuid="*"),
    "a nuid of two tokens": info_of(b"12345", nuid="a.b"),
    "a nuid with a line": info_of(b"12345", nuid="forged\n"),
    "no nuid": info_of(b"12345", nuid=""),
    "a size below zero": info_of(b"12345", size=-5),
    "a size that is text": info_of(b"12345", size="5"),
    "a size beyond numbers": info_of(b"12345", size=10**400),
    "no digest": info_of(b"12345", digest=None),
    "a mark that is text": info_of(b"12345", deleted="no"),
}


async def test_metadata_that_is_none(bucket):
    await bucket.jetstream.create_object_store(bucket.lattice)
    for what, info in HOSTILE.items():
        await bucket.forge("one", info, b"12345")
        told = await refusal(bucket, 5)
        assert told.startswith(f"{STARTING}the object's metadata cannot be read: "), what
    await bucket.nothing_is_left_of_reading()


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME + 1), "\u00e9" * (MAX_NAME // 2 + 1)])
async def test_a_name_no_object_can_have(bucket, name):
    await bucket.jetstream.create_object_store(bucket.lattice)
    assert "the id makes no name of an object" in await refusal(bucket, 5, name=name)
    with pytest.raises(BadRequest, match="the id makes no name of an object"):
        await bucket.store.put(name, b"12345", PATIENCE)
    assert await bucket.messages() == 0


async def test_the_longest_name(bucket):
    await bucket.store.put("x" * MAX_NAME, b"12345", PATIENCE)
    assert await bucket.store.get("x" * MAX_NAME, 5, PATIENCE) == b"12345"


async def test_a_lattice_whose_name_makes_no_bucket(bucket):
    store = ChunkStore(bucket.client, "my.lattice", most=MOST)
    with pytest.raises(TooLarge, match=r"cannot travel on the lattice 'my\.lattice'"):
        await store.put("one", b"12345", PATIENCE)
    with pytest.raises(TooLarge, match=r"cannot travel on the lattice 'my\.lattice'"):
        await store.get("one", 5, PATIENCE)


async def test_what_is_over_the_limit_is_not_stored(bucket):
    store = ChunkStore(bucket.client, bucket.lattice, most=4)
    with pytest.raises(TooLarge) as caught:
        await store.put("one", b"12345", PATIENCE)
    assert caught.value.message == (
        "nats: error sending chunked stream for inv one: 5 bytes are over the limit of 4 bytes"
    )


# --- when JetStream is off, slow or full ---------------------------------------------------------


async def test_without_jetstream(shared_nats):
    told = (
        "nats: Failed to create store: JetStream is not enabled; what is longer than a message "
        "travels through JetStream, which the NATS server has with -js"
    )
    async with connected(shared_nats) as bucket:
        assert await refusal(bucket, 5, Unavailable) == told
        with pytest.raises(Unavailable) as caught:
            await bucket.store.put("one", b"12345", PATIENCE)
        assert caught.value.message == told


async def test_a_bucket_that_cannot_be_made(bucket):
    await bucket.jetstream.add_stream(name="other", subjects=[f"$O.{bucket.lattice}.C.>"])
    try:
        with pytest.raises(Unavailable) as caught:
            await bucket.store.put("one", b"12345", PATIENCE)
        assert caught.value.message == (
            "nats: Failed to create store: subjects overlap with an existing stream"
        )
    finally:
        await bucket.jetstream.delete_stream("other")


async def test_a_full_bucket_keeps_nothing_of_what_did_not_fit(bucket):
    await bucket.jetstream.create_object_store(bucket.lattice, max_bytes=300_000)
    with pytest.raises(Unavailable) as caught:
        await bucket.store.put("one", os.urandom(400_000), PATIENCE)
    assert caught.value.message == (
        "nats: error sending chunked stream for inv one: maximum bytes exceeded"
    )
    await until_nothing_is_kept(bucket)


async def test_a_put_that_is_cancelled_keeps_nothing(bucket):
    await bucket.jetstream.create_object_store(bucket.lattice)
    data = os.urandom(MOST)
    for number in range(10):  # a purge overtakes the last piece now and then
        pieces = await bucket.other.subscribe(f"$O.{bucket.lattice}.C.*")
        await settle(bucket.other)
        putting = asyncio.ensure_future(bucket.store.put(f"object-{number}", data, PATIENCE))
        await pieces.next_msg(PATIENCE)
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        await pieces.unsubscribe()
        await until_nothing_is_kept(bucket)
    assert not bucket.client._resp_map


async def test_a_cancellation_that_was_swallowed_still_counts(bucket):
    data = os.urandom(3 * PIECE)
    await bucket.store.put("one", data, PATIENCE)

    async def swallow_and(work):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await work

    for work in (
        bucket.store.put("two", data, PATIENCE),
        bucket.store.get("one", len(data), PATIENCE),
    ):
        task = asyncio.ensure_future(swallow_and(work))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until_nothing_is_kept(bucket):
    """But for messages without a body."""
    async with asyncio.timeout(PATIENCE):
        while (await bucket.jetstream.stream_info(bucket.stream)).state.bytes > 3000:
            await asyncio.sleep(0.01)  # the server says nothing of a purge nobody waits for


async def test_a_server_that_does_not_answer(tmp_path):
    server = NatsServer("-js", "-sd", str(tmp_path))
    try:
        async with connected(server) as bucket:
            await bucket.store.put("one", b"12345", PATIENCE)
            os.kill(server.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, server.pid, os.WSTOPPED)
            with pytest.raises(CallTimeout) as caught:
                await bucket.store.get("one", 5, 0.1)
            assert caught.value.message == f"{STARTING}not done within 0.1 s"
            with pytest.raises(CallTimeout) as caught:
                await bucket.store.put("two", b"12345", 0.1)
            assert caught.value.message == (
                "nats: error sending chunked stream for inv two: not done within 0.1 s"
            )
            os.kill(server.pid, signal.SIGCONT)
            assert await bucket.store.get("one", 5, PATIENCE) == b"12345"
            await bucket.nothing_is_left_of_reading()
    finally:
        server.stop()


async def test_a_connection_that_is_closed(jetstream_nats):
    async with connected(jetstream_nats) as bucket:
        pass
    assert await refusal(bucket, 5, Unavailable) == f"{STARTING}nats: connection closed"
