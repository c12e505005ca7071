"""A wasmCloud host, as far as a provider sees one: it signs, links, asks and tells."""

from __future__ import annotations

import time
import uuid

import msgspec
import nats
import pytest

from provider.lattice.claims import sign_invocation
from provider.lattice.nkeys import KeyPair, Kind
from provider.wire.wasmbus import (
    LinkDefinition,
    WasmCloudEntity,
    encode_invocation,
    encode_link,
)

CLUSTER = KeyPair.from_raw(Kind.CLUSTER, b"\1" * 32)
HOST = KeyPair.from_raw(Kind.SERVER, b"\2" * 32)
ACTOR = KeyPair.from_raw(Kind.MODULE, b"\3" * 32)
PROVIDER = KeyPair.from_raw(Kind.SERVICE, b"\4" * 32)
CONTRACT = "wasmcloud:example:python"
PATIENCE = 30


class Host:
    """A connection to NATS, and what a host would send over it to one provider."""

    def __init__(self, client, lattice, key=PROVIDER.public, link_name="default"):
        self.client = client
        self.lattice = lattice
        self.key = key
        self.link_name = link_name
        self.subject = f"wasmbus.rpc.{lattice}.{key}.{link_name}"

    def invocation(self, operation="py.echo", argument=b"\x7f\x0a", **changes):
        """A signed invocation; `changes` are made after it was signed."""
        signing = {
            "key": CLUSTER,
            "origin": WasmCloudEntity(public_key=ACTOR.public, contract_id=""),
            "target": WasmCloudEntity(
                public_key=self.key, link_name=self.link_name, contract_id=CONTRACT
            ),
            "invocation_id": uuid.uuid4().hex,
            "host_id": HOST.public,
            "now": time.time(),
            "expires": None,
        }
        signed = {name: changes.pop(name) for name in signing if name in changes}
        made = sign_invocation(operation=operation, argument=argument, **{**signing, **signed})
        return msgspec.structs.replace(made, **changes)

    async def send(self, data, headers=None):
        """The members of the answer, exactly as they came."""
        message = await self.client.request(self.subject, data, timeout=PATIENCE, headers=headers)
        return msgspec.msgpack.decode(message.data)

    async def invoke(self, *arguments, headers=None, **changes):
        invocation = self.invocation(*arguments, **changes)
        answer = await self.send(encode_invocation(invocation), headers)
        assert answer["invocation_id"] == invocation.id
        return answer

    async def refusal(self, *arguments, **changes):
        """The text of an answer that is nothing but an error."""
        answer = await self.invoke(*arguments, **changes)
        assert (answer["msg"], answer["content_length"]) == (b"", 0)
        return answer["error"]

    def definition(self, actor=ACTOR.public, **values):
        return LinkDefinition(
            actor_id=actor,
            provider_id=self.key,
            link_name=self.link_name,
            contract_id=CONTRACT,
            values=values,
        )

    async def link(self, actor=ACTOR.public, **values):
        await self.client.publish(
            f"{self.subject}.linkdefs.put", encode_link(self.definition(actor, **values))
        )
        await self.heard()

    async def unlink(self, actor=ACTOR.public):
        await self.client.publish(
            f"{self.subject}.linkdefs.del", encode_link(self.definition(actor))
        )
        await self.heard()

    async def heard(self):
        """Wait until the provider has handled what was published before: it reads in order."""
        await self.ask("health")

    async def ask(self, what, data=b""):
        message = await self.client.request(f"{self.subject}.{what}", data, timeout=PATIENCE)
        return message.data


@pytest.fixture
async def client_of():
    """Connects to a NATS server: `await client_of(url)`."""
    clients = []

    async def connect(url):
        client = await nats.connect(url)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        await client.close()
