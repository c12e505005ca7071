"""wasmCloud's tokens: taken apart, read and signed, whatever they are about.

The rule of this file: what is wrong with a token is said in the words of the original, and nothing
is believed of one here but its form. A token is a JWT of wasmCloud's own: the header says `jwt` and
`Ed25519`, base64url has no padding, the issuer is an nkey. Nothing about a token is remembered,
because every call has its own; only the 32 bytes of an issuer are, whom many calls share. Pure.
Source: wascap 0.11.2 (`jwt.rs`, `errors.rs`).
"""

from __future__ import annotations

import binascii
import re
from base64 import b32encode, urlsafe_b64encode
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Struct

from provider.errors import Unauthorized
from provider.lattice import nkeys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider.lattice.nkeys import KeyPair

REVISION = 3
"""wascap's own number of the form of its claims."""

_Seconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_T = TypeVar("_T")
_SYMBOLS = re.compile(r"[A-Za-z0-9_-]*")
_SPARE_BITS = {2: "AQgw", 3: "AEIMQUYcgkosw048"}
"""Symbols that may end a text whose length divided by 4 leaves 2 or 3: the bits nothing reads are
zero."""
_write_json = msgspec.json.Encoder().encode


class StandardClaims(Struct, frozen=True, kw_only=True):
    """What the body of every token says. Times are in seconds since 1970.

    Attributes:
        exp: when it expires, None for never.
        jti: name of the token.
        iat: when it was issued.
        iss: public key that signed it.
        sub: what it is about: `Invocation.id`, or a public key.
        nbf: not to be used before, None for at once.
        wascap_revision: `REVISION`.
    """

    exp: _Seconds | None = None
    jti: str
    iat: _Seconds
    iss: str
    sub: str
    nbf: _Seconds | None = None
    wascap_revision: Annotated[int, Meta(ge=0, lt=2**32)] | None = None


class _Header(Struct):
    typ: str
    alg: str


_read_header = msgspec.json.Decoder(_Header)


class Parts(NamedTuple):
    """A token whose header is right, its body unread.

    Attributes:
        signed: the bytes the signature is over.
        body: the claims, JSON.
        signature: of any length.
    """

    signed: bytes
    body: bytes
    signature: bytes


def split(token: str) -> Parts:
    """The parts of a token, of an invocation or of another kind.

    Raises:
        Unauthorized: not three segments of base64url, or another header than wasmCloud's.
    """
    segments = token.split(".")
    if len(segments) != 3:
        raise Unauthorized(
            f"JWT error: invalid token format, expected 3 segments, found {len(segments)}"
        )
    header, body, signature = segments
    signature_bytes = _from_base64(signature)
    read: _Header = read_body(_from_base64(header), _read_header)
    if read.alg != "Ed25519":
        raise Unauthorized("Invalid JWT algorithm. WASCAP only supports Ed25519")
    if read.typ != "jwt":
        raise Unauthorized("JWT error: Invalid header")
    return Parts(f"{header}.{body}".encode(), _from_base64(body), signature_bytes)


def read_body(body: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    """What a segment of a token says.

    Raises:
        Unauthorized: not JSON, or not of the decoder's type; the text says where.
    """
    try:
        return decoder.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        count = error.end - error.start
        raise Unauthorized(
            f"UTF8 error: invalid utf-8 sequence of {count} bytes from index {error.start}"
        ) from None
    except RecursionError:
        raise Unauthorized("Serialization error: nested too deeply") from None
    except msgspec.DecodeError as error:
        reason = str(error).replace("Object missing required field", "missing field")
        if reason.startswith("missing field") and " - at " not in reason:
            # Where serde_json stands when it notices: behind the brace that closes the object.
            before, _, line = body.rstrip(b" \t\r\n").rpartition(b"\n")
            lines = before.count(b"\n") + 2 if before or body.startswith(b"\n") else 1
            reason += f" at line {lines} column {len(line)}"
        raise Unauthorized(f"Serialization error: {reason}") from None


def issuer_key(issuer: str) -> bytes:
    """The 32 bytes of an issuer's public key.

    Raises:
        Unauthorized: it is none.
    """
    try:
        return _public_key(issuer)[1]
    except nkeys.BadKey as error:
        raise Unauthorized(f"Encryption error: {error}") from None


_public_key = lru_cache(maxsize=256)(nkeys.decode_public)


def sign(body: Mapping[str, Any], key: KeyPair) -> str:
    """A token.

    Args:
        body: its claims in the order they are written. One without `jti` gets a name made from
            what it says, so that the same claims make the same token.
        key: of the issuer.
    """
    if "jti" not in body:
        digest = b32encode(sha256(_write_json(body)).digest()).decode("ascii")
        body = {"jti": digest[:22], **body}
    header = _to_base64(b'{"typ":"jwt","alg":"Ed25519"}')
    signed = f"{header}.{_to_base64(_write_json(body))}"
    return f"{signed}.{_to_base64(key.sign(signed.encode('ascii')))}"


def _to_base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _from_base64(text: str) -> bytes:
    """base64url without padding and with nothing else either, as the Rust library reads it."""
    raw = text.encode("utf-8", "replace")
    rest = len(raw) % 4
    if rest == 1:
        raise Unauthorized(f"Decode error: invalid length at {len(raw) - 1}")
    matched = _SYMBOLS.match(text)
    end = matched.end() if matched else 0
    if end < len(text):
        raise Unauthorized(f"Decode error: invalid symbol at {end}")
    if rest and text[-1] not in _SPARE_BITS[rest]:
        raise Unauthorized(f"Decode error: non-zero trailing bits at {len(raw) - 1}")
    return binascii.a2b_base64(raw.translate(_STANDARD) + b"==")


_STANDARD = bytes.maketrans(b"-_", b"+/")
