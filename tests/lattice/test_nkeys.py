"""Keys in the form of NATS: the vectors, the package nkeys, and everything that is no key."""

from __future__ import annotations

import binascii
import json
from base64 import b32decode, b32encode
from pathlib import Path

import nkeys as nats_nkeys
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import PrivateKey

from provider.lattice import nkeys
from provider.lattice.nkeys import BadKey, KeyPair, Kind

KEYS = json.loads((Path(__file__).parent / "wasmbus_vectors.json").read_text("utf-8"))["keys"]
CLUSTER = KEYS["cluster"]
raws = st.binary(min_size=32, max_size=32)
kinds = st.sampled_from(Kind)


def refusal(read: object, text: str) -> str:
    with pytest.raises(BadKey) as caught:
        read(text)  # type: ignore[operator]
    return str(caught.value)


def with_checksum(raw: bytes) -> str:
    data = raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return b32encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("name", "kind", "byte"),
    [
        ("cluster", Kind.CLUSTER, 1),
        ("host", Kind.SERVER, 2),
        ("actor", Kind.MODULE, 3),
        ("provider", Kind.SERVICE, 4),
    ],
)
def test_the_vectors(name: str, kind: Kind, byte: int) -> None:
    raw = bytes((byte,)) * 32
    assert nkeys.encode_seed(kind, raw) == KEYS[name]["seed"]
    assert nkeys.decode_seed(KEYS[name]["seed"]) == (kind, raw)
    key = KeyPair.from_seed(KEYS[name]["seed"])
    assert key.public == KEYS[name]["public"]
    assert key.kind is kind
    assert key.seed == KEYS[name]["seed"]
    assert nkeys.encode_public(*nkeys.decode_public(key.public)) == key.public


def test_the_checksum_is_the_xmodem_one() -> None:
    assert nkeys._checksum(b"123456789") == (0x31C3).to_bytes(2, "little")


@pytest.mark.parametrize("kind", Kind)
def test_the_letters_say_the_kind(kind: Kind) -> None:
    letter = {
        0x00: "A",
        0x10: "C",
        0x60: "M",
        0x68: "N",
        0x70: "O",
        0xA0: "U",
        0xA8: "V",
        0xB8: "X",
    }[kind]
    key = KeyPair.generate(kind)
    assert kind.letter == letter
    assert key.public.startswith(letter)
    assert key.seed.startswith("S" + letter)
    assert (len(key.public), len(key.seed)) == (56, 58)


@given(kinds, raws)
def test_keys_and_seeds_come_back(kind: Kind, raw: bytes) -> None:
    assert nkeys.decode_public(nkeys.encode_public(kind, raw)) == (kind, raw)
    assert nkeys.decode_seed(nkeys.encode_seed(kind, raw)) == (kind, raw)


@given(st.sampled_from([k for k in Kind if k.letter in "ACNOU"]), raws)
def test_the_package_nkeys_agrees_where_it_can(kind: Kind, raw: bytes) -> None:
    ours = KeyPair.from_raw(kind, raw)
    theirs = nats_nkeys.from_seed(bytearray(ours.seed.encode()))
    assert theirs.public_key == ours.public.encode()
    assert theirs.sign(b"data") == ours.sign(b"data")


def test_a_curve_key_is_for_encryption() -> None:
    key = KeyPair.from_raw(Kind.CURVE, b"\x07" * 32)
    assert nkeys.decode_public(key.public)[1] == bytes(PrivateKey(b"\x07" * 32).public_key)
    assert KeyPair.from_seed(key.seed) == key
    with pytest.raises(BadKey, match="cannot sign"):
        key.sign(b"data")


def test_new_keys_differ() -> None:
    assert KeyPair.generate(Kind.USER) != KeyPair.generate(Kind.USER)


def test_a_signature_is_of_one_key_over_one_text() -> None:
    key, other = KeyPair.from_seed(CLUSTER["seed"]), KeyPair.generate(Kind.CLUSTER)
    raw = nkeys.decode_public(key.public)[1]
    signature = key.sign(b"data")
    assert len(signature) == nkeys.SIGNATURE_LENGTH
    assert nkeys.verify(raw, b"data", signature)
    assert not nkeys.verify(raw, b"date", signature)
    assert not nkeys.verify(raw, b"data", other.sign(b"data"))
    assert not nkeys.verify(nkeys.decode_public(other.public)[1], b"data", signature)
    flipped = bytes((signature[0] ^ 1,)) + signature[1:]
    assert not nkeys.verify(raw, b"data", flipped)


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_a_signature_of_another_length_is_wrong(length: int) -> None:
    key = KeyPair.from_seed(CLUSTER["seed"])
    raw = nkeys.decode_public(key.public)[1]
    signature = (key.sign(b"data") * 2)[:length]
    assert not nkeys.verify(raw, b"data", signature)
    # What libsodium would take: a signature of 65 bytes is one of 64 and a byte of text.
    assert not nkeys.verify(raw, b"data"[1:], key.sign(b"data") + b"d")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Bad key length: 0"),
        (CLUSTER["public"][:-1], "Bad key length: 55"),
        (CLUSTER["public"] + "A", "Bad key length: 57"),
        (CLUSTER["seed"], "Bad key length: 58"),
        (CLUSTER["public"].lower(), "Data encoding failure: invalid symbol at 0"),
        (CLUSTER["public"][:-1] + "1", "Data encoding failure: invalid symbol at 55"),
        (CLUSTER["public"][:-1] + "=", "Data encoding failure: invalid symbol at 55"),
        ("é" + CLUSTER["public"][:-2], "Data encoding failure: invalid symbol at 0"),
        ("\ud800" * 56, "Data encoding failure: invalid symbol at 0"),
        (CLUSTER["public"][:-1] + "A", "Checksum mismatch"),
        (with_checksum(b"\x90" + b"\x01" * 32), "Not a valid public key prefix: 144"),
        (with_checksum(b"\x78" + b"\x01" * 32), "Not a valid public key prefix: 120"),
        (with_checksum(b"\x01" + b"\x01" * 32), "Not a valid public key prefix: 1"),
    ],
)
def test_what_is_no_public_key(text: str, reason: str) -> None:
    assert refusal(nkeys.decode_public, text) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Bad seed length: 0"),
        (CLUSTER["public"], "Bad seed length: 56"),
        (CLUSTER["seed"] + "A", "Bad seed length: 59"),
        (CLUSTER["seed"].lower(), "Data encoding failure: invalid symbol at 0"),
        (CLUSTER["seed"][:-2] + "AA", "Checksum mismatch"),
        (CLUSTER["seed"][:-1] + "R", "Data encoding failure: non-zero trailing bits at 57"),
        (with_checksum(b"\x10\x00" + b"\x01" * 32), "Incorrect byte prefix: C"),
        (with_checksum(b"\x91\x00" + b"\x01" * 32), "Not a valid seed prefix: 32"),
    ],
)
def test_what_is_no_seed(text: str, reason: str) -> None:
    assert refusal(nkeys.decode_seed, text) == reason
    assert refusal(KeyPair.from_seed, text) == reason


@given(st.text(max_size=70) | st.text("ACMNSUV234567", min_size=56, max_size=58))
def test_garbage_is_a_bad_key_and_nothing_else(text: str) -> None:
    for read in (nkeys.decode_public, nkeys.decode_seed):
        try:
            read(text)
        except BadKey:
            continue


def test_a_key_has_32_bytes() -> None:
    with pytest.raises(BadKey, match="a key has 32 bytes, not 31"):
        nkeys.encode_public(Kind.USER, b"x" * 31)
    with pytest.raises(BadKey, match="a key has 32 bytes, not 33"):
        nkeys.encode_seed(Kind.USER, b"x" * 33)


@given(kinds, raws)
def test_no_seed_is_printed(kind: Kind, raw: bytes) -> None:
    key = KeyPair.from_raw(kind, raw)
    assert repr(key) == f"KeyPair(kind={kind!r}, public={key.public!r})"
    broken = key.seed[:-4] + "AAAA"
    if broken != key.seed:
        assert key.seed[4:20] not in refusal(nkeys.decode_seed, broken)


def test_the_bits_nothing_reads_may_not_be_set() -> None:
    data = b32decode(CLUSTER["seed"] + "=" * 6)
    assert b32encode(data).decode().rstrip("=") == CLUSTER["seed"]
