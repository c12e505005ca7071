"""Who signed a call and for what: every check of an invocation.

The rule of this file: the checks stand in the order of the original provider, each with its text,
and the first that fails answers; `check` reads from top to bottom like its documentation
(docs/wasmcloud.md). Pure: the clock is an argument, and the one costly part, `examine`, touches
nothing that is shared, so that it can run in a thread. Sources: wascap 0.11.2 (`jwt.rs`),
wasmbus-rpc 0.15 (`rpc_client.rs`, `provider.rs`).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Struct

from provider.errors import Unauthorized
from provider.lattice import nkeys
from provider.lattice.tokens import (
    REVISION,
    Parts,
    StandardClaims,
    issuer_key,
    read_body,
    sign,
    split,
)
from provider.wire.wasmbus import CHUNK_ABOVE, Invocation, WasmCloudEntity

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from provider.lattice.nkeys import KeyPair


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


class Claims(StandardClaims, frozen=True, kw_only=True):
    """The body of an invocation's token.

    Attributes:
        wascap: what the host vouches for.
    """

    wascap: InvocationClaims | None = None


_read_claims = msgspec.json.Decoder(Claims)


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
