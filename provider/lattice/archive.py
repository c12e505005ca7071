"""Provider archives: a file a wasmCloud host starts a provider from (`.par`, `.par.gz`).

The rule of this file: the same input makes the same bytes, and no archive, however it was made,
costs more than its limits or names a file outside of itself. An archive is a tar with `claims.jwt`
and an executable `{arch}-{os}.bin` for each kind of machine; the claims hold the executables'
hashes and are signed with an account's key. Hosts compare the hashes and look at no signature;
`verify` does both. Nothing is unpacked here. Source: wasmCloud 0.82 (`provider-archive`).
"""

from __future__ import annotations

import gzip
import io
import platform
import re
import sys
import tarfile
import zlib
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from provider.errors import ProviderError, Unauthorized
from provider.lattice import nkeys
from provider.lattice.nkeys import BadKey, KeyPair, Kind
from provider.lattice.tokens import REVISION, StandardClaims, read_body, sign, split

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONTRACT = "wasmcloud:example:python"
"""The contract of the original Python provider."""
TARGETS = (
    "x86_64-linux",
    "aarch64-linux",
    "x86_64-macos",
    "aarch64-macos",
    "x86_64-windows",
    "arm-linux",
)
"""The kinds of machines hosts were released for, by the names Rust has for them."""
MAX_REVISION = 2**31 - 1
"""The largest revision; hosts read a signed number of 32 bits."""

_GZIP = b"\x1f\x8b"
_TARGET = re.compile(r"[a-z0-9_]+-[a-z0-9_]+")
_ARCHITECTURES = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "armv6l": "arm",
    "armv7l": "arm",
    "arm": "arm",
}
_SYSTEMS = {"linux": "linux", "darwin": "macos", "win32": "windows"}


class ArchiveError(ProviderError):
    """An archive cannot be made or read; the message says why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may weigh.

    Attributes:
        size: bytes of all of it, unpacked.
        entries: files in it.
        claims: bytes of the claims.
    """

    size: int = 1 << 30
    entries: int = 64
    claims: int = 1 << 20


class Description(Struct, frozen=True, kw_only=True):
    """What the claims say about a provider.

    Attributes:
        name: for people.
        capid: the contract it fulfils; hosts before 1.0 ask for one.
        vendor: who made it.
        rev: number that grows with each version; hosts cache an executable under it, and under
            the time of issue where it is not above 0.
        ver: version for people.
        config_schema: JSON schema of its settings.
    """

    name: str | None = None
    capid: str = ""
    vendor: str
    rev: Annotated[int, Meta(ge=-MAX_REVISION - 1, le=MAX_REVISION)] | None = None
    ver: str | None = None
    config_schema: Any = None


class _Wascap(Description, frozen=True, kw_only=True):
    target_hashes: dict[str, str]


class _ArchiveClaims(StandardClaims, frozen=True, kw_only=True):
    wascap: _Wascap


_read_claims = msgspec.json.Decoder(_ArchiveClaims)


@dataclass(frozen=True, slots=True)
class Archive:
    """What an archive holds.

    Attributes:
        token: the claims as they are signed.
        issuer: public key that signed them, `A...`.
        provider_key: the provider's public key, `V...`.
        issued_at: in seconds since 1970.
        expires: in seconds since 1970, None for never.
        not_before: in seconds since 1970, None for at once.
        about: the provider.
        hashes: by target, upper-case hexadecimal SHA-256.
        targets: the executables, by target.
        others: names of what else is in it.
    """

    token: str
    issuer: str
    provider_key: str
    issued_at: int
    expires: int | None
    not_before: int | None
    about: Description
    hashes: Mapping[str, str]
    targets: Mapping[str, bytes]
    others: tuple[str, ...]


def target_of(machine: str, system: str) -> str:
    """The name of a kind of machine.

    Args:
        machine: as `platform.machine` says it.
        system: as `sys.platform` does.

    Raises:
        ArchiveError: Rust has no such name, or hosts were never released for it.
    """
    architecture, os_name = _ARCHITECTURES.get(machine.lower()), _SYSTEMS.get(system)
    if architecture is None or os_name is None:
        raise ArchiveError(f"no wasmCloud host ran on {machine} with {system}")
    return f"{architecture}-{os_name}"


def this_target() -> str:
    """The name of this kind of machine."""
    return target_of(platform.machine(), sys.platform)


def write(
    targets: Mapping[str, bytes],
    about: Description,
    *,
    issuer: KeyPair,
    provider_key: str,
    issued_at: int,
    compress: bool = True,
) -> bytes:
    """An archive.

    Args:
        targets: an executable for each kind of machine.
        about: the provider.
        issuer: an account's key (`A...`).
        provider_key: the provider's public key (`V...`).
        issued_at: in seconds since 1970. Hosts cache by it where `about` has no `rev`.
        compress: with gzip.

    Raises:
        ArchiveError: no targets, a name that is none, a key of the wrong kind, or a revision
            hosts cannot read.
    """
    if not targets:
        raise ArchiveError("an archive needs at least one executable")
    for name in targets:
        if not _TARGET.fullmatch(name):
            raise ArchiveError(f"{name!r} is no target; they are called {', '.join(TARGETS)}")
    _check_kind(issuer.public, Kind.ACCOUNT, "the issuer's key")
    _check_kind(provider_key, Kind.SERVICE, "the provider's key")
    if about.rev is not None and not -MAX_REVISION <= about.rev <= MAX_REVISION:
        raise ArchiveError(f"the revision {about.rev} is not between 1 and {MAX_REVISION}")
    hashes = {name: _hash(targets[name]) for name in sorted(targets)}
    wascap = {
        "name": about.name,
        "capid": about.capid,
        "vendor": about.vendor,
        "rev": about.rev,
        "ver": about.ver,
        "target_hashes": hashes,
        "config_schema": about.config_schema,
    }
    body = {
        "iat": issued_at,
        "iss": issuer.public,
        "sub": provider_key,
        "wascap": {name: value for name, value in wascap.items() if value is not None},
        "wascap_revision": REVISION,
    }
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, "claims.jwt", sign(body, issuer).encode("ascii"), 0o644)
        for name in hashes:
            _add(tar, f"{name}.bin", targets[name], 0o755)
    if not compress:
        return made.getvalue()
    packed = io.BytesIO()
    with gzip.GzipFile("", "wb", compresslevel=9, fileobj=packed, mtime=0) as file:
        file.write(made.getvalue())
    return packed.getvalue()


def read(data: bytes, limits: Limits | None = None) -> Archive:
    """The archive in these bytes, not yet verified.

    Args:
        data: with or without gzip.
        limits: what it may weigh.

    Raises:
        ArchiveError: it is none, it is incomplete, or it is over a limit.
    """
    limits = limits or Limits()
    if len(data) > limits.size:
        raise _too_large(limits.size)
    if data.startswith(_GZIP):
        data = _gunzip(data, limits.size)
    members = _members(data, limits)
    token = members.pop("claims", None)
    others = tuple(name for name in ("world",) if members.pop(name, None) is not None)
    if token is None or not members:
        raise ArchiveError(
            "Not enough files found in provider archive. Is this a complete archive?"
        )
    if len(token) > limits.claims:
        raise ArchiveError(f"its claims are longer than {limits.claims} bytes")
    text = token.decode("utf-8", "replace").strip()
    try:
        claims = read_body(split(text).body, _read_claims)
    except Unauthorized as error:
        raise ArchiveError(f"its claims cannot be read: {error}") from None
    about = claims.wascap
    return Archive(
        token=text,
        issuer=claims.iss,
        provider_key=claims.sub,
        issued_at=claims.iat,
        expires=claims.exp,
        not_before=claims.nbf,
        about=Description(
            name=about.name,
            capid=about.capid,
            vendor=about.vendor,
            rev=about.rev,
            ver=about.ver,
            config_schema=about.config_schema,
        ),
        hashes=about.target_hashes,
        targets=members,
        others=others,
    )


def verify(archive: Archive, now: float) -> tuple[str, ...]:
    """What is wrong with an archive, nothing when it is right.

    Args:
        archive: from `read`.
        now: in seconds since 1970.
    """
    return tuple(_problems(archive, now))


def _problems(archive: Archive, now: float) -> Iterator[str]:
    for name, data in archive.targets.items():
        if name not in archive.hashes:
            yield f"No hash for '{name}' in the claims"
        elif archive.hashes[name] != _hash(data):
            yield f"File hash and verify hash do not match for '{name}'"
    for name in archive.hashes:
        if name not in archive.targets:
            yield f"The claims name {name!r}, which is not in the archive"
    for key, kind, whose in (
        (archive.issuer, Kind.ACCOUNT, "the issuer's key"),
        (archive.provider_key, Kind.SERVICE, "the provider's key"),
    ):
        try:
            _check_kind(key, kind, whose)
        except ArchiveError as error:
            yield str(error)
    if not _is_signed(archive):
        yield "The issuer did not sign the claims"
    if archive.expires is not None and archive.expires < now:
        yield "The claims expired"
    if archive.not_before is not None and archive.not_before > now:
        yield "The claims do not count yet"


def _is_signed(archive: Archive) -> bool:
    parts = split(archive.token)
    try:
        key = nkeys.decode_public(archive.issuer)[1]
    except BadKey:
        return False
    return nkeys.verify(key, parts.signed, parts.signature)


def _check_kind(key: str, kind: Kind, whose: str) -> None:
    try:
        found = nkeys.decode_public(key)[0]
    except BadKey as error:
        raise ArchiveError(f"{whose} is none: {error}") from None
    if found is not kind:
        raise ArchiveError(f"{whose} is of kind {found.letter}; it must be {kind.letter}")


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest().upper()


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)  # owned by nobody, last changed in 1970
    member.size = len(data)
    member.mode = mode
    tar.addfile(member, io.BytesIO(data))


def _gunzip(data: bytes, most: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(data, most + 1)
    except zlib.error as error:
        raise ArchiveError(f"its gzip is broken: {error}") from None
    if len(unpacked) > most:
        raise _too_large(most)
    if not unpacker.eof or unpacker.unused_data:
        raise ArchiveError("its gzip is broken: it ends too early or too late")
    return unpacked


def _too_large(most: int) -> ArchiveError:
    return ArchiveError(f"it is larger than {most} bytes")


def _members(data: bytes, limits: Limits) -> dict[str, bytes]:
    """The files in a tar, by their names without the last ending."""
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                if len(members) >= limits.entries:
                    raise ArchiveError(f"it holds more than {limits.entries} files")  # noqa: TRY301
                stem = _stem(member)
                if stem in members:
                    raise ArchiveError(f"it holds two files for {stem!r}")  # noqa: TRY301
                file = tar.extractfile(member)
                members[stem] = file.read() if file else b""
    except ArchiveError:
        raise
    except Exception as error:  # noqa: BLE001  whatever the bytes did, it is no archive
        raise ArchiveError(f"it is no tar archive: {error}") from None
    return members


def _stem(member: tarfile.TarInfo) -> str:
    name = member.name.removeprefix("./")
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None:
        raise ArchiveError(f"{name!r} is no plain file")
    if not name.isprintable() or "/" in name or "\\" in name or name in ("", ".", ".."):
        raise ArchiveError(f"{name!r} is no name of a file in an archive")
    return name.rpartition(".")[0] or name
