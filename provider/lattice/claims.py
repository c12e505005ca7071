"""Who signed a call and for what: the tokens of wasmCloud, and every check of an invocation.

The rule of this file: the checks stand in the order of the original provider, each with its text,
and the first that fails answers; `check` reads from top to bottom like its documentation
(docs/wasmcloud.md). Pure: the clock is an argument, and the one costly part, `examine`, touches
nothing that is shared, so that it can run in a thread.

A token is a JWT of wasmCloud's own: the header says `jwt` and `Ed25519`, base64url has no padding,
the issuer is an nkey. Nothing about a token is remembered, because every call has its own; only the
32 bytes of an issuer are, whom many calls share. Sources: wascap 0.11.2 (`jwt.rs`, `errors.rs`),
wasmbus-rpc 0.15 (`rpc_client.rs`, `provider.rs`).
"""

from __future__ import annotations

import binascii
import re
from base64 import b32encode, urlsafe_b64encode
from collections import deque
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Struct

from provider.errors import Overloaded, Unauthorized
from provider.lattice import nkeys
from provider.wire.wasmbus import CHUNK_ABOVE, Invocation, WasmCloudEntity

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

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


# --- Tokens --------------------------------------------------------------------------------------


class InvocationClaims(Struct, frozen=True):
    """What the host vouches for.

    Attributes:
        target_url: who is called, with the operation.
        origin_url: who calls.
        hash: over both, the operation and the argument.
    """

    target_url: str
    origin_url: str
    hash: str


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


class Claims(StandardClaims, frozen=True, kw_only=True):
    """The body of an invocation's token.

    Attributes:
        wascap: what the host vouches for.
    """

    wascap: InvocationClaims | None = None


class _Header(Struct):
    typ: str
    alg: str


_read_header = msgspec.json.Decoder(_Header)
_read_claims = msgspec.json.Decoder(Claims)


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


class Token(NamedTuple):
    """The token of an invocation, its signature not yet verified.

    Attributes:
        parts: it is made of.
        claims: in it.
        key: 32 bytes of the issuer's public key.
    """

    parts: Parts
    claims: Claims
    key: bytes

    def verify_signature(self) -> bool:
        """Whether the issuer signed it. Costly; other threads run meanwhile."""
        return nkeys.verify(self.key, self.parts.signed, self.parts.signature)


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


def parse(token: str) -> Token:
    """The token of an invocation.

    Raises:
        Unauthorized: it is none, or it does not say who issued it about whom.
    """
    parts = split(token)
    claims = read_body(parts.body, _read_claims)
    if not claims.iss:
        raise Unauthorized("Invalid JWT. WASCAP requires an issuer claim to be present")
    if not claims.sub:
        raise Unauthorized("Invalid JWT. WASCAP requires a sub claim to be present")
    return Token(parts, claims, issuer_key(claims.iss))


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


# --- Invocations ---------------------------------------------------------------------------------


def entity_url(entity: WasmCloudEntity) -> str:
    """The URL of an actor or a provider, as it stands in claims."""
    if entity.public_key[:1].upper() == "M":
        return f"wasmbus://{entity.public_key}"
    contract = entity.contract_id.replace(":", "/").replace(" ", "_").lower()
    link = entity.link_name.replace(" ", "_").lower()
    return f"wasmbus://{contract}/{link}/{entity.public_key}"


def target_url(invocation: Invocation) -> str:
    """The URL of who is called, with the operation."""
    return f"{entity_url(invocation.target)}/{invocation.operation}"


def invocation_hash(origin: str, target: str, operation: str, argument: bytes) -> str:
    """The hash a host vouches for, in upper-case hexadecimal.

    Args:
        origin: `entity_url` of who calls.
        target: `target_url`.
        operation: again.
        argument: whole, also where it lay in the object store.
    """
    digest = sha256(f"{origin}{target}{operation}".encode())
    digest.update(argument)
    return digest.hexdigest().upper()


class Identity(NamedTuple):
    """Who is called, for the checks.

    Attributes:
        provider_key: our public key.
        host_id: the host that launched us.
        cluster_issuers: public keys whose tokens count.
    """

    provider_key: str
    host_id: str
    cluster_issuers: Container[str]


class Evidence(NamedTuple):
    """What the costly part of the checks found.

    Attributes:
        signature_valid: the issuer signed the token.
        hash: of the invocation as it came.
    """

    signature_valid: bool
    hash: str


def examine(token: Token, invocation: Invocation, argument: bytes) -> Evidence:
    """The costly part of the checks, for a thread: 100 microseconds and 1 ms for each MiB.

    Args:
        token: of the invocation.
        invocation: as it came.
        argument: whole; `invocation.msg` unless that was chunked.
    """
    computed = invocation_hash(
        entity_url(invocation.origin), target_url(invocation), invocation.operation, argument
    )
    return Evidence(token.verify_signature(), computed)


def check_expiry(token: Token, now: float) -> None:
    """Refuse a token that expired, which can be told before anything costly is done.

    Args:
        token: of the invocation.
        now: in seconds since 1970.

    Raises:
        Unauthorized: it expired.
    """
    if token.claims.exp is not None and token.claims.exp < now:
        raise Unauthorized("Invocation claims token expired")


def check(
    token: Token,
    evidence: Evidence,
    invocation: Invocation,
    *,
    identity: Identity,
    linked: Container[str],
    now: float,
) -> None:
    """Every check after parsing, in order.

    Args:
        token: of the invocation.
        evidence: what `examine` found.
        invocation: as it came.
        identity: who we are.
        linked: keys of the actors that may call us.
        now: in seconds since 1970.

    Raises:
        Unauthorized: the first one that fails, in the words of the original provider.
    """
    check_expiry(token, now)
    if not evidence.signature_valid:
        raise Unauthorized("Invocation claims signature invalid")
    if token.claims.nbf is not None and token.claims.nbf > now:
        raise Unauthorized("Attempt to use invocation before claims token allows")
    claimed = token.claims.wascap
    if claimed is None:
        raise Unauthorized("No wascap metadata found on claims")
    if claimed.hash != evidence.hash:
        raise Unauthorized(
            f"Invocation hash does not match signed claims hash ({claimed.hash} / {evidence.hash})"
        )
    host_id = invocation.host_id
    if not host_id.startswith("N") and len(host_id.encode()) != nkeys.PUBLIC_LENGTH:
        raise Unauthorized(f"Invalid host ID on invocation: '{host_id}'")
    target = target_url(invocation)
    if claimed.target_url != target:
        raise Unauthorized(
            "Invocation claims and invocation target URL do not match: "
            f"{claimed.target_url} != {target}"
        )
    if claimed.origin_url != entity_url(invocation.origin):
        raise Unauthorized("Invocation claims and invocation origin URL do not match")
    if token.claims.iss not in identity.cluster_issuers:
        raise Unauthorized("Issuer of this invocation is not in list of cluster issuers")
    if invocation.target.public_key != identity.provider_key:
        # The original compares with its own key and prints its host's; who greps, greps for that.
        raise Unauthorized(
            f"target key mismatch: {invocation.target.public_key} != {identity.host_id}"
        )
    if invocation.origin.public_key not in linked:
        raise Unauthorized(f"unlinked actor: '{invocation.origin.public_key}'")


def validate(
    invocation: Invocation,
    argument: bytes,
    *,
    identity: Identity,
    linked: Container[str],
    now: float,
) -> Token:
    """Every check at once, for callers who can wait for the costly part; the token it accepts.

    Args:
        invocation: as it came.
        argument: whole; `invocation.msg` unless that was chunked.
        identity: who we are.
        linked: keys of the actors that may call us.
        now: in seconds since 1970.

    Raises:
        Unauthorized: the first one that fails.
    """
    token = parse(invocation.encoded_claims)
    check_expiry(token, now)
    evidence = examine(token, invocation, argument)
    check(token, evidence, invocation, identity=identity, linked=linked, now=now)
    return token


def sign_invocation(
    *,
    key: KeyPair,
    origin: WasmCloudEntity,
    target: WasmCloudEntity,
    operation: str,
    argument: bytes,
    invocation_id: str,
    host_id: str,
    now: float,
    expires: float | None = None,
    trace_context: Mapping[str, str] | None = None,
) -> Invocation:
    """An invocation as a host signs it.

    Args:
        key: of the cluster.
        origin: who calls.
        target: who is called.
        operation: its full name.
        argument: whole. Above `CHUNK_ABOVE` it stays out of the message, and whoever sends the
            message has to put it into the object store before.
        invocation_id: a new one, such as a UUID.
        host_id: public key of the host it goes through.
        now: in seconds since 1970.
        expires: when the token does, in seconds since 1970; None for never, as hosts do.
        trace_context: W3C trace context by header name.
    """
    origin_url, url = entity_url(origin), f"{entity_url(target)}/{operation}"
    body: dict[str, Any] = {
        "iat": int(now),
        "iss": key.public,
        "sub": invocation_id,
        "wascap": {
            "target_url": url,
            "origin_url": origin_url,
            "hash": invocation_hash(origin_url, url, operation, argument),
        },
        "wascap_revision": REVISION,
    }
    if expires is not None:
        body["exp"] = int(expires)
    return Invocation(
        origin=origin,
        target=target,
        operation=operation,
        msg=b"" if len(argument) > CHUNK_ABOVE else argument,
        id=invocation_id,
        encoded_claims=sign(body, key),
        host_id=host_id,
        content_length=len(argument),
        trace_context=dict(trace_context or {}),
    )


class Replays:
    """What the protocol leaves out, for who wants it: each token counts once and for a while.

    Hosts give tokens no end and nobody remembers them, so whoever overheard a call can repeat it
    for ever. This refuses tokens that are old, that were used before, or whose subject is another
    call. It needs clocks that agree, and it is one process's memory: behind a queue group, a
    repeated call may reach another instance.

    Args:
        max_age: seconds after which a token is too old, and how far ahead a clock may be.
        most: tokens remembered; more within that time are turned away.
    """

    def __init__(self, max_age: float = 60.0, most: int = 100_000) -> None:
        self._max_age = max_age
        self._most = most
        self._seen: set[bytes] = set()
        self._order: deque[tuple[float, bytes]] = deque()

    def check(self, token: Token, invocation: Invocation, now: float) -> None:
        """Refuse what was seen before, remember what was not. Only for calls that passed `check`.

        Args:
            token: of the invocation.
            invocation: as it came.
            now: in seconds since 1970.

        Raises:
            Unauthorized: too old, too new, used before, or of another call.
            Overloaded: no room to remember it.
        """
        claims = token.claims
        if claims.sub != invocation.id:
            raise Unauthorized("Invocation claims are of another invocation")
        age = now - claims.iat
        if abs(age) > self._max_age:
            raise Unauthorized(
                f"Invocation claims token is {age:.0f} s old, of {self._max_age:.0f} s allowed"
            )
        while self._order and self._order[0][0] < now:
            self._seen.discard(self._order.popleft()[1])
        signature = token.parts.signature
        if signature in self._seen:
            raise Unauthorized("Invocation claims token was used before")
        if len(self._seen) >= self._most:
            raise Overloaded(f"{self._most} calls within {self._max_age:.0f} s; try again later")
        self._seen.add(signature)
        # From iat + max_age on its age refuses it, and iat is max_age ahead at most.
        self._order.append((now + 2 * self._max_age, signature))
