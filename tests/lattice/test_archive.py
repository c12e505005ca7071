"""Provider archives: made alike twice, read as hosts read them, and hostile ones refused."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from base64 import urlsafe_b64decode
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provider.lattice import archive, claims
from provider.lattice.archive import ArchiveError, Description, Limits
from provider.lattice.nkeys import KeyPair, Kind

ACCOUNT = KeyPair.from_raw(Kind.ACCOUNT, b"\x09" * 32)
PROVIDER = KeyPair.from_raw(Kind.SERVICE, b"\x04" * 32)
ABOUT = Description(
    name="Python Provider",
    capid=archive.CONTRACT,
    vendor="Somebody",
    rev=2,
    ver="0.2.0",
    config_schema={"type": "object"},
)
NOW = 1_700_000_000
TARGETS = {"x86_64-linux": b"#!/bin/sh\n", "aarch64-linux": b"\x7fELF"}


def make(targets: dict[str, bytes] | None = None, about: Description = ABOUT, **more: Any) -> bytes:
    return archive.write(
        TARGETS if targets is None else targets,
        about,
        **{"issuer": ACCOUNT, "provider_key": PROVIDER.public, "issued_at": NOW, **more},
    )


def tar(*members: tuple[str, bytes] | tarfile.TarInfo, form: int = tarfile.GNU_FORMAT) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                file.addfile(info, io.BytesIO(member[1]))
    return made.getvalue()


def token(issuer: KeyPair = ACCOUNT, **more: Any) -> bytes:
    body = {
        "iat": NOW,
        "iss": issuer.public,
        "sub": PROVIDER.public,
        "wascap": {
            "vendor": "v",
            "target_hashes": {name: digest(data) for name, data in TARGETS.items()},
        },
        **more,
    }
    return claims.sign(body, issuer).encode()


def digest(data: bytes) -> str:
    return sha256(data).hexdigest().upper()


def files(jwt: bytes | None = None, **more: bytes) -> list[tuple[str, bytes]]:
    given = {f"{name}.bin": data for name, data in TARGETS.items()}
    return [("claims.jwt", jwt or token()), *given.items(), *more.items()]


def refusal(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(ArchiveError) as caught:
        archive.read(data, limits)
    return str(caught.value)


# --- Made ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [True, False])
def test_what_is_made_is_read_back_and_right(compress: bool) -> None:
    data = make(compress=compress)
    assert data.startswith(b"\x1f\x8b") is compress
    read = archive.read(data)
    assert read.targets == TARGETS
    assert read.about == ABOUT
    assert (read.issuer, read.provider_key) == (ACCOUNT.public, PROVIDER.public)
    assert (read.issued_at, read.expires) == (NOW, None)
    assert read.hashes == {name: digest(data) for name, data in TARGETS.items()}
    assert read.others == ()
    assert archive.verify(read, NOW) == ()


def test_the_same_input_makes_the_same_bytes() -> None:
    backwards = dict(reversed(TARGETS.items()))
    assert make() == make(backwards)
    assert make() != make(issued_at=NOW + 1)
    assert make()[4:8] == b"\x00" * 4  # when gzip says it was packed


def test_the_file_is_as_hosts_want_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(make()), mode="r:gz") as file:
        members = file.getmembers()
        assert [member.name for member in members] == [
            "claims.jwt",
            "aarch64-linux.bin",
            "x86_64-linux.bin",
        ]
        assert [oct(member.mode) for member in members] == ["0o644", "0o755", "0o755"]
        assert {(member.mtime, member.uid, member.gid) for member in members} == {(0, 0, 0)}
        jwt = file.extractfile("claims.jwt")
        assert jwt is not None
        header, body, _ = jwt.read().decode().split(".")
    plain = gzip.decompress(make())
    assert plain[257:265] == b"ustar  \x00"  # GNU's magic
    assert urlsafe_b64decode(header + "==") == b'{"typ":"jwt","alg":"Ed25519"}'
    said = json.loads(urlsafe_b64decode(body + "=="))
    assert list(said) == ["jti", "iat", "iss", "sub", "wascap", "wascap_revision"]
    assert list(said["wascap"]) == [
        "name",
        "capid",
        "vendor",
        "rev",
        "ver",
        "target_hashes",
        "config_schema",
    ]
    assert said["wascap_revision"] == 3
    assert said["wascap"]["target_hashes"]["x86_64-linux"] == digest(b"#!/bin/sh\n")


def test_what_is_not_said_is_left_out() -> None:
    read = archive.read(make(about=Description(vendor="v")))
    _, body, _ = read.token.split(".")
    assert list(json.loads(urlsafe_b64decode(body + "=="))["wascap"]) == [
        "capid",
        "vendor",
        "target_hashes",
    ]
    assert read.about == Description(vendor="v")


@pytest.mark.parametrize(
    ("targets", "more", "reason"),
    [
        ({}, {}, "an archive needs at least one executable"),
        ({"../x": b""}, {}, "'../x' is no target; they are called x86_64-linux, aarch64-linux"),
        ({"claims": b""}, {}, "'claims' is no target"),
        (None, {"issuer": PROVIDER}, "the issuer's key is of kind V; it must be A"),
        (
            None,
            {"provider_key": ACCOUNT.public},
            "the provider's key is of kind A; it must be V",
        ),
        (None, {"provider_key": "V"}, "the provider's key is none: Bad key length: 1"),
    ],
)
def test_what_cannot_be_made(targets: Any, more: dict[str, Any], reason: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        make(targets, **more)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("machine", "system", "name"),
    [
        ("x86_64", "linux", "x86_64-linux"),
        ("AMD64", "win32", "x86_64-windows"),
        ("arm64", "darwin", "aarch64-macos"),
        ("x86_64", "darwin", "x86_64-macos"),
        ("aarch64", "linux", "aarch64-linux"),
        ("armv7l", "linux", "arm-linux"),
    ],
)
def test_targets_have_the_names_of_rust(machine: str, system: str, name: str) -> None:
    assert archive.target_of(machine, system) == name
    assert name in archive.TARGETS


@pytest.mark.parametrize(("machine", "system"), [("riscv64", "linux"), ("x86_64", "freebsd14")])
def test_some_machines_never_had_a_host(machine: str, system: str) -> None:
    with pytest.raises(ArchiveError, match=f"no wasmCloud host ran on {machine} with {system}"):
        archive.target_of(machine, system)


def test_this_machine_has_a_name() -> None:
    assert "-" in archive.this_target()


# --- Verified ------------------------------------------------------------------------------------


def problems(*members: tuple[str, bytes], now: float = NOW) -> list[str]:
    return list(archive.verify(archive.read(tar(*members)), now))


def test_an_archive_of_others_is_right() -> None:
    assert problems(*files()) == []
    assert problems(*[(f"./{name}", data) for name, data in files()]) == []
    assert problems(*files(token() + b"\n")) == []


def test_a_world_is_no_target() -> None:
    read = archive.read(tar(*files(), ("world.wasm", b"\0asm")))
    assert read.others == ("world",)
    assert archive.verify(read, NOW) == ()


def test_what_was_changed_after_signing() -> None:
    changed = [(name, data + b"x" if name.startswith("x86") else data) for name, data in files()]
    assert problems(*changed) == ["File hash and verify hash do not match for 'x86_64-linux'"]


def test_hashes_are_upper_case() -> None:
    lower = {name: digest(data).lower() for name, data in TARGETS.items()}
    jwt = token(wascap={"vendor": "v", "target_hashes": lower})
    assert len(problems(*files(jwt))) == 2


def test_what_the_claims_do_not_know_and_what_is_missing() -> None:
    assert problems(*files(), ("arm-linux.bin", b"")) == ["No hash for 'arm-linux' in the claims"]
    assert problems(*files()[:2]) == [
        "The claims name 'aarch64-linux', which is not in the archive"
    ]


def test_claims_somebody_else_signed() -> None:
    forged = token(KeyPair.generate(Kind.ACCOUNT), iss=ACCOUNT.public)
    assert problems(*files(forged)) == ["The issuer did not sign the claims"]


def test_keys_of_the_wrong_kind() -> None:
    cluster = KeyPair.generate(Kind.CLUSTER)
    assert problems(*files(token(cluster, sub=cluster.public))) == [
        "the issuer's key is of kind C; it must be A",
        "the provider's key is of kind C; it must be V",
    ]
    assert problems(*files(token(iss="A"))) == [
        "the issuer's key is none: Bad key length: 1",
        "The issuer did not sign the claims",
    ]


def test_claims_expire() -> None:
    jwt = token(exp=NOW + 5)
    assert problems(*files(jwt)) == []
    assert problems(*files(jwt), now=NOW + 6) == ["The claims expired"]


# --- Refused -------------------------------------------------------------------------------------

INCOMPLETE = "Not enough files found in provider archive. Is this a complete archive?"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(tar(), id="empty"),
        pytest.param(tar(("claims.jwt", token())), id="no executable"),
        pytest.param(tar(*files()[1:]), id="no claims"),
        pytest.param(tar(("claims.jwt", token()), ("world.wasm", b"")), id="a world alone"),
    ],
)
def test_an_incomplete_archive(data: bytes) -> None:
    assert refusal(data) == INCOMPLETE


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is no tar archive: empty file"),
        (b"not a tar" * 100, "it is no tar archive: "),
        (b"\x1f\x8b", "its gzip is broken: it ends too early or too late"),
        (b"\x1f\x8bgarbage", "its gzip is broken: "),
        (make()[:-9], "its gzip is broken: it ends too early or too late"),
        (make() + b"more", "its gzip is broken: it ends too early or too late"),
        (make() + make(), "its gzip is broken: it ends too early or too late"),
        (gzip.compress(b"x", mtime=0), "it is no tar archive: "),
        (
            tar(*files(b"a.b")),
            "its claims cannot be read: JWT error: invalid token format, expected 3 segments",
        ),
        (tar(*files(b"\xff.b.c")), "its claims cannot be read: Decode error: invalid "),
        (
            tar(*files(token(wascap=None))),
            "its claims cannot be read: Serialization error: Expected `object`, got `null`",
        ),
        (
            tar(*files(token(wascap={"vendor": "v"}))),
            "its claims cannot be read: Serialization error: missing field `target_hashes`",
        ),
        (tar(*files(), ("claims.bin", b"")), "it holds two files for 'claims'"),
        (tar(*files(), ("x86_64-linux", b"")), "it holds two files for 'x86_64-linux'"),
        (tar(("../claims.jwt", b"")), "'../claims.jwt' is no name of a file in an archive"),
        (tar(("/etc/passwd", b"")), "'/etc/passwd' is no name of a file in an archive"),
        (tar(("a/b.bin", b"")), "'a/b.bin' is no name of a file in an archive"),
        (tar(("..", b"")), "'..' is no name of a file in an archive"),
        (tar(("a\\b.bin", b"")), "'a\\\\b.bin' is no name of a file in an archive"),
        (tar(("a\x1b.bin", b"")), "'a\\x1b.bin' is no name of a file in an archive"),
    ],
)
def test_what_is_no_archive(data: bytes, reason: str) -> None:
    assert refusal(data).startswith(reason)


def special(kind: bytes, **more: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo("x86_64-linux.bin")
    member.type = kind
    for name, value in more.items():
        setattr(member, name, value)
    return member


@pytest.mark.parametrize(
    "member",
    [
        special(tarfile.SYMTYPE, linkname="/etc/passwd"),
        special(tarfile.LNKTYPE, linkname="claims.jwt"),
        special(tarfile.DIRTYPE),
        special(tarfile.CHRTYPE),
        special(tarfile.FIFOTYPE),
        special(tarfile.CONTTYPE),
        special(tarfile.GNUTYPE_SPARSE),
    ],
)
def test_only_plain_files(member: tarfile.TarInfo) -> None:
    assert refusal(tar(*files()[:1], member)) == "'x86_64-linux.bin' is no plain file"


def test_a_file_with_holes_in_the_other_form() -> None:
    member = tarfile.TarInfo("x86_64-linux.bin")
    member.pax_headers = {
        "GNU.sparse.map": "0,0",
        "GNU.sparse.size": str(1 << 60),
        "GNU.sparse.name": "x86_64-linux.bin",
    }
    assert "no plain file" in refusal(tar(*files()[:1], member, form=tarfile.PAX_FORMAT))


def test_a_file_that_is_cut_off() -> None:
    data = tar(*files(), ("arm-linux.bin", b"x" * 5000))
    assert refusal(data[: data.rindex(b"x")]) == "it is no tar archive: unexpected end of data"


def test_a_size_that_is_not_there() -> None:
    data = bytearray(tar(("x86_64-linux.bin", b"")))
    data[124:136] = b"77777777777\x00"
    data[148:156] = b"        "
    data[148:156] = f"{sum(data[:512]):06o}\0 ".encode()
    assert refusal(bytes(data)) == "it is no tar archive: unexpected end of data"


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\x00" * (8 << 20))
    assert len(bomb) < 20_000
    assert refusal(bomb, Limits(size=1 << 20)) == "it is larger than 1048576 bytes"
    assert refusal(b"\x00" * 1025, Limits(size=1024)) == "it is larger than 1024 bytes"


def test_limits_are_met_exactly() -> None:
    plain = make(compress=False)
    for data in (plain, make()):
        assert archive.read(data, Limits(size=len(plain), entries=3)).targets == TARGETS
        with pytest.raises(ArchiveError, match="it is larger than"):
            archive.read(data, Limits(size=len(plain) - 1))
        with pytest.raises(ArchiveError, match="it holds more than 2 files"):
            archive.read(data, Limits(entries=2))
    assert refusal(plain, Limits(claims=10)) == "its claims are longer than 10 bytes"


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_garbage_is_no_archive_and_nothing_else(data: st.DataObject) -> None:
    plain = bytearray(make({"x86_64-linux": b"x"}, compress=False)[:2560])
    for _ in range(data.draw(st.integers(1, 4))):
        plain[data.draw(st.integers(0, 1600))] = data.draw(st.integers(0, 255))
    packed = bytearray(make({"x86_64-linux": b"x"}))
    packed[data.draw(st.integers(2, len(packed) - 1))] ^= 0x55
    for raw in (bytes(plain), bytes(packed), data.draw(st.binary(max_size=600))):
        try:
            read = archive.read(raw)
        except ArchiveError:
            continue
        archive.verify(read, NOW)


def test_a_description_is_a_value() -> None:
    assert msgspec.structs.replace(ABOUT, rev=3) != ABOUT
