"""Keys as NATS and wasmCloud write them: one letter for the kind, base32, a checksum (nkeys).

The rule of this file: no seed stands in a text it makes, neither of an error nor of a `repr`. The
PyPI package nkeys refuses the kinds M and V, which wasmCloud added; the form is small enough to be
written here. Signing proper is Ed25519 of libsodium, through PyNaCl, which nats-py brings along;
while it computes, other threads run. Source: wasmCloud/nkeys 0.4.5.
"""

from __future__ import annotations

import binascii
import re
from base64 import b32decode, b32encode
from dataclasses import dataclass, field
from enum import IntEnum

from nacl import bindings
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey

from provider.errors import ProviderError

PUBLIC_LENGTH = 56
"""Characters of a public key."""
SEED_LENGTH = 58
"""Characters of a seed."""
SIGNATURE_LENGTH = 64
"""Bytes of a signature."""

_SEED = 0x90
_RAW_LENGTH = 32


class Kind(IntEnum):
    """What a key is for: the byte before it, which makes the first letter of its text."""

    ACCOUNT = 0x00
    CLUSTER = 0x10
    MODULE = 0x60
    SERVER = 0x68
    OPERATOR = 0x70
    USER = 0xA0
    SERVICE = 0xA8
    CURVE = 0xB8

    @property
    def letter(self) -> str:
        """The first letter of a public key, the second one of a seed."""
        return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[self >> 3]


class BadKey(ProviderError):
    """A text that is no key. The message holds nothing of it but its first letter."""


def encode_public(kind: Kind, key: bytes) -> str:
    """The text of a public key.

    Args:
        kind: what it is for.
        key: its 32 bytes.
    """
    return _encode(bytes((kind,)), key)


def decode_public(text: str) -> tuple[Kind, bytes]:
    """The kind of a public key and its 32 bytes.

    Raises:
        BadKey: it is none.
    """
    if len(text.encode("utf-8", "replace")) != PUBLIC_LENGTH:
        raise BadKey(f"Bad key length: {len(text.encode('utf-8', 'replace'))}")
    raw = _decode(text)
    try:
        return Kind(raw[0]), raw[1:]
    except ValueError:
        raise BadKey(f"Not a valid public key prefix: {raw[0]}") from None


def encode_seed(kind: Kind, seed: bytes) -> str:
    """The text of a seed.

    Args:
        kind: what the key is for.
        seed: its 32 bytes.
    """
    return _encode(bytes((_SEED | kind >> 5, (kind & 31) << 3)), seed)


def decode_seed(text: str) -> tuple[Kind, bytes]:
    """The kind of a seed and its 32 bytes.

    Raises:
        BadKey: it is none.
    """
    if len(text.encode("utf-8", "replace")) != SEED_LENGTH:
        raise BadKey(f"Bad seed length: {len(text.encode('utf-8', 'replace'))}")
    raw = _decode(text)
    if raw[0] & 0xF8 != _SEED:
        raise BadKey(f"Incorrect byte prefix: {text[0]}")
    prefix = (raw[0] & 7) << 5 | raw[1] >> 3
    try:
        return Kind(prefix), raw[2:]
    except ValueError:
        raise BadKey(f"Not a valid seed prefix: {prefix}") from None


def verify(key: bytes, data: bytes, signature: bytes) -> bool:
    """Whether the owner of a key signed these bytes. The costly one: some 70 microseconds.

    Args:
        key: 32 bytes of a public key.
        data: what was signed.
        signature: of any length; only one of 64 bytes can be right.
    """
    if len(signature) != SIGNATURE_LENGTH:
        return False
    try:
        bindings.crypto_sign_open(signature + data, key)
    except BadSignatureError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key that can sign.

    Attributes:
        kind: what it is for.
        public: its public half as text.
    """

    kind: Kind
    public: str
    _seed: bytes = field(repr=False)
    _signer: SigningKey | None = field(repr=False, compare=False)

    @staticmethod
    def from_raw(kind: Kind, seed: bytes) -> KeyPair:
        """The key of 32 secret bytes."""
        if kind is Kind.CURVE:
            signer, public = None, bindings.crypto_scalarmult_base(seed)
        else:
            signer = SigningKey(seed)
            public = bytes(signer.verify_key)
        return KeyPair(kind, encode_public(kind, public), seed, signer)

    @staticmethod
    def from_seed(text: str) -> KeyPair:
        """The key of a seed's text.

        Raises:
            BadKey: it is no seed.
        """
        return KeyPair.from_raw(*decode_seed(text))

    @staticmethod
    def generate(kind: Kind) -> KeyPair:
        """A new key, from the random numbers of the system."""
        return KeyPair.from_raw(kind, bindings.randombytes(_RAW_LENGTH))

    @property
    def seed(self) -> str:
        """The secret half as text. It is for a file that only its owner can read."""
        return encode_seed(self.kind, self._seed)

    def sign(self, data: bytes) -> bytes:
        """The signature of these bytes, 64 bytes.

        Raises:
            BadKey: a curve key, which can only encrypt.
        """
        if self._signer is None:
            raise BadKey("a curve key (X) cannot sign")
        return self._signer.sign(data).signature


def _encode(prefix: bytes, key: bytes) -> str:
    if len(key) != _RAW_LENGTH:
        raise BadKey(f"a key has {_RAW_LENGTH} bytes, not {len(key)}")
    raw = prefix + key
    return b32encode(raw + _checksum(raw)).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    """The bytes before the checksum, which fits; in the words of the Rust library otherwise."""
    symbol = re.search(r"[^A-Z2-7]", text)
    if symbol:
        position = len(text[: symbol.start()].encode())
        raise BadKey(f"Data encoding failure: invalid symbol at {position}")
    padded = text + "=" * (-len(text) % 8)
    data = b32decode(padded)
    if b32encode(data) != padded.encode():
        raise BadKey(f"Data encoding failure: non-zero trailing bits at {len(text) - 1}")
    raw, checksum = data[:-2], data[-2:]
    if _checksum(raw) != checksum:
        raise BadKey("Checksum mismatch")
    return raw


def _checksum(data: bytes) -> bytes:
    # CRC-16 with the polynomial 0x1021 from 0, which the standard library has for BinHex.
    return binascii.crc_hqx(data, 0).to_bytes(2, "little")
