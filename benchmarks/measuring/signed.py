"""Calls as a wasmCloud host signs them, and the answers it owes.

The rule of this file: nothing of a token is remembered by anybody, so always the same one is sent,
and each is verified afresh.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import cbor2

from benchmarks.measuring.processes import PATIENCE
from provider.lattice import subjects
from provider.lattice.claims import sign_invocation
from provider.lattice.nkeys import KeyPair, Kind
from provider.wire.wasmbus import (
    InvocationResponse,
    LinkDefinition,
    WasmCloudEntity,
    encode_invocation,
    encode_link,
    encode_response,
)

if TYPE_CHECKING:
    from benchmarks.measuring.work import Work
    from provider.wire.address import Address

CLUSTER = KeyPair.from_raw(Kind.CLUSTER, b"\1" * 32)
ACTOR = KeyPair.from_raw(Kind.MODULE, b"\3" * 32)
CONTRACT = "wasmcloud:example:python"
ISSUERS = {"PROVIDER_CLUSTER_ISSUERS": CLUSTER.public}
"""With which a provider believes them."""


def link(url: str, address: Address) -> None:
    """Link the actor to a provider, and wait until that counts."""
    asyncio.run(_link(url, address))


async def _link(url: str, address: Address) -> None:
    import nats

    client = await nats.connect(url)
    definition = LinkDefinition(
        actor_id=ACTOR.public,
        provider_id=address.key,
        link_name=address.link_name,
        contract_id=CONTRACT,
        values={},
    )
    await client.publish(subjects.linkdefs_put(address), encode_link(definition))
    await client.request(subjects.health(address), timeout=PATIENCE)  # it reads in order
    await client.close()


def invocation(work: Work, address: Address) -> bytes:
    """The request."""
    made = sign_invocation(
        key=CLUSTER,
        origin=WasmCloudEntity(public_key=ACTOR.public, contract_id=""),
        target=WasmCloudEntity(
            public_key=address.key, link_name=address.link_name, contract_id=CONTRACT
        ),
        operation=work.operation,
        argument=b"\x7f" + cbor2.dumps(work.argument),
        invocation_id="bench",
        host_id=CLUSTER.public,
        now=time.time(),
    )
    return encode_invocation(made)


def response(work: Work) -> bytes:
    """The answer."""
    message = cbor2.dumps(work.result)
    return encode_response(
        InvocationResponse(msg=message, invocation_id="bench", content_length=len(message))
    )
