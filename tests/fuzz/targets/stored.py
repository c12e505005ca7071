"""What lies where others put it: objects in the bucket, archives, files with keys.

The rule of this file: what is read was written by anybody; the bucket is stood in for.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import io
import json
import tarfile
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

from nats.js.errors import NotFoundError

from provider.errors import CallError
from provider.lattice import archive, cargo, nkeys, seed_file, subjects
from provider.lattice.chunks import ChunkStore
from provider.lattice.nkeys import BadKey, KeyPair, Kind
from provider.lattice.tokens import sign
from tests.fuzz.target import MOST_TEXT, scratch, target, told

_loop = asyncio.new_event_loop()
_ACCOUNT = KeyPair.from_raw(Kind.ACCOUNT, b"\x07" * 32)
_SERVICE = KeyPair.from_raw(Kind.SERVICE, b"\x04" * 32)


class _Bucket:
    """A bucket that holds what anybody has written: metadata, and pieces of any size."""

    def __init__(self, info: bytes, pieces: list[bytes]) -> None:
        self._info, self._pieces = info, pieces

    def jetstream(self, timeout: float) -> _Bucket:
        """Itself: it is the client, and what JetStream would be."""
        return self

    async def get_last_msg(self, stream: str, subject: str) -> Any:
        """The metadata."""
        return SimpleNamespace(data=self._info, seq=1)

    async def get_msg(self, stream: str, *, seq: int, subject: str, next: bool) -> Any:  # noqa: A002  nats-py's
        """A piece, from a sequence on."""
        assert not set(subject) & set("*> \r\n")
        if seq > len(self._pieces):
            raise NotFoundError
        return SimpleNamespace(data=self._pieces[seq - 1], seq=seq)

    async def purge_stream(self, stream: str, *, subject: str) -> None:
        """Take away what is on a subject, and on no other."""
        assert not set(subject) & set("*> \r\n")


@target(
    b'{"nuid":"a","size":1,"digest":"SHA-256=',
    b'"deleted":true',
    b'"nuid":"*"',
    b"SHA-256=",
    b"\n",
)
def chunks(data: bytes) -> None:
    """An object in the bucket: its metadata, and its pieces, a line each; its name is the last."""
    info, *pieces = data.split(b"\n")
    name = (pieces or [b""])[-1].decode("utf-8", "replace")
    whole = b"".join(pieces)
    digest = base64.urlsafe_b64encode(sha256(whole).digest())
    bucket: Any = _Bucket(info.replace(b"DIGEST", digest), pieces)
    store = ChunkStore(bucket, "default", most=1000)
    for size in (len(whole), 3):
        try:
            assert _loop.run_until_complete(store.get(name, size, 5.0)) == whole[:size]
        except CallError as error:
            told(error)
    _loop.run_until_complete(store.delete(name))
    with contextlib.suppress(CallError):
        assert set(subjects.bucket(name)) <= set(map(chr, range(33, 127))) - set(".*>")


_FOLDER = scratch()
_LIMITS = archive.Limits(size=1 << 20, entries=8)
_BODY = {
    "iat": 1,
    "iss": _ACCOUNT.public,
    "sub": _SERVICE.public,
    "wascap": {"name": "n", "capid": "c", "vendor": "v", "rev": 1, "ver": "1", "target_hashes": {}},
}


@target(b"ustar", b"claims.jwt", b"x86_64-linux.bin", b"world.bin", b"\x1f\x8b", longest=20_000)
def archives(data: bytes) -> None:
    """A provider archive: as it is, packed, and the claims alone."""
    made = [data, gzip.compress(data, 1, mtime=0)]
    if len(data) < 1000:
        made.append(_tar(data))
        with contextlib.suppress(ValueError, RecursionError):
            body = json.loads(data)
            if isinstance(body, dict):
                made.append(_tar(sign({**_BODY, **body}, _ACCOUNT).encode()))
    for each in made:
        try:
            read = archive.read(each, _LIMITS)
        except archive.ArchiveError as error:
            assert len(str(error)) < MOST_TEXT  # noqa: PT017  a person reads it
            continue
        assert sum(map(len, read.targets.values())) <= _LIMITS.size
        for problem in archive.verify(read, 1e9):
            assert len(problem) < MOST_TEXT


def _tar(claims: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in (("claims.jwt", claims), ("x86_64-linux.bin", b"#!")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@target(_SERVICE.seed.encode(), _ACCOUNT.public.encode(), b"SU", b"SV", b"\n")
def keys(data: bytes) -> None:
    """Keys, seeds, files with seeds, and programs with seeds in them."""
    text = data.decode("utf-8", "replace")
    for read in (nkeys.decode_public, nkeys.decode_seed, KeyPair.from_seed):
        try:
            read(text.strip())
        except BadKey as error:
            assert len(str(error)) < 200  # noqa: PT017  nothing of a seed is in it
    path = _FOLDER / "dispatch.py"
    path.write_bytes(data)
    with contextlib.suppress(seed_file.SeedFileError):
        pair = seed_file.read(path)
        assert pair.seed not in repr(pair)
        assert pair.seed.encode() in data
    try:
        carried = cargo.collect(path, {})
    except cargo.CargoError:
        return
    assert _SERVICE.seed.encode() not in data
    assert [file.data for file in carried.files.values()] == [data]
