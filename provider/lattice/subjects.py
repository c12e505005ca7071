"""Where a wasmCloud host reaches a provider and a provider reaches actors and the object store.

The rule of this file: whoever builds such a subject or name builds it here; the subject of the
calls themselves is `Address.rpc`. Sources: wasmbus-rpc 0.15 (`provider.rs`, `chunkify.rs`), the
rules of NATS for the names of buckets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provider.errors import TooLarge

if TYPE_CHECKING:
    from provider.wire.address import Address

_BUCKET = re.compile(r"[A-Za-z0-9_-]+")


def linkdefs_put(address: Address) -> str:
    """Subject on which the host says that an actor may call. No queue group, no answer."""
    return f"{address.rpc}.linkdefs.put"


def linkdefs_del(address: Address) -> str:
    """Subject on which the host says that an actor may call no more. No queue group, no answer."""
    return f"{address.rpc}.linkdefs.del"


def health(address: Address) -> str:
    """Subject on which the host asks how we are. No queue group: every instance answers."""
    return f"{address.rpc}.health"


def shutdown(address: Address) -> str:
    """Subject on which the host tells us to leave. No queue group: its instances answer."""
    return f"{address.rpc}.shutdown"


def actor(lattice: str, actor_key: str) -> str:
    """Subject on which an actor is called."""
    return f"wasmbus.rpc.{lattice}.{actor_key}"


def bucket(lattice: str) -> str:
    """The object-store bucket that holds arguments and results too long for a message.

    Raises:
        TooLarge: the lattice has a name no bucket can have, so nothing long can travel there.
    """
    if not _BUCKET.fullmatch(lattice):
        raise TooLarge(
            f"what is longer than a message cannot travel on the lattice {lattice[:100]!r}: the "
            "name of its object store may have letters, digits, _ and - only"
        )
    return lattice


def request_object(invocation_id: str) -> str:
    """Name of the object that holds a chunked argument."""
    return invocation_id


def response_object(invocation_id: str) -> str:
    """Name of the object that holds a chunked result."""
    return f"{invocation_id}-r"
