"""A caller chooses where its answer goes, and the provider may publish where the caller may not."""

from __future__ import annotations

import asyncio

import cbor2
import nats
import pytest

from provider.wire.address import Address
from tests.conftest import PATIENCE

PROGRAM = """
    def handle(command, arg):
        return arg
"""


@pytest.fixture(scope="module")
def provider(start_module_provider):
    return start_module_provider(PROGRAM, PROVIDER_ADMIN="on", PROVIDER_KEY="replies")


@pytest.fixture
async def client(provider):
    client = await nats.connect(provider.url)
    yield client
    await client.close()


@pytest.fixture
def address(provider) -> Address:
    return Address(**provider.address)


def ways(address: Address) -> list[tuple[str, bytes]]:
    """The subjects that answer, each with a message that gets an answer."""
    return [
        (address.operation("py.echo"), b"\x01"),
        (address.rpc, cbor2.dumps({"operation": "py.echo", "payload": 1})),
        (address.rpc, cbor2.dumps({"operation": "py.echo", "payload": 1, "stream": True})),
        (f"$SRV.PING.{address.name}", b""),
        (f"$SRV.STATS.{address.name}", b""),
        (address.admin("status"), b""),
        (address.describe("operations"), b""),
    ]


@pytest.mark.parametrize(
    "beginning",
    ["provider.", "wasmbus.", "$SRV.", "$JS.API.", "$SYS.", "$KV.", "$O.", "_PROVIDER."],
)
async def test_no_answer_goes_where_somebody_obeys(provider, client, address, beginning):
    heard = await client.subscribe(f"{beginning}>")
    reply = f"{beginning}harm.{address.name}"
    for subject, data in ways(address):
        await client.publish(subject, data, reply=reply)
    await client.flush()
    # What was sent before this was handled before this.
    answer = await client.request(address.operation("py.echo"), b"\x05", timeout=PATIENCE)
    assert answer.data == b"\x05"
    await client.flush()
    came = []
    while not heard._pending_queue.empty():
        came.append(await heard.next_msg())
    assert [message.subject for message in came if message.subject == reply] == []


async def test_a_caller_cannot_have_the_provider_drain_itself(provider, client, address):
    for subject, data in ways(address):
        await client.publish(subject, data, reply=address.admin("drain"))
    await client.publish(address.rpc, b"garbage", reply=address.admin("drain"))
    await client.flush()
    for _ in range(3):
        answer = await client.request(address.operation("py.echo"), b"\x05", timeout=PATIENCE)
        assert answer.data == b"\x05"
        await asyncio.sleep(0)
    assert provider.events("draining") == []
    said = provider.wait_for("reply_subject_refused")
    assert said["level"] == "warning"


@pytest.mark.parametrize("inbox", ["_INBOX.me.1", "mine", "answers.of.mine"])
async def test_any_other_subject_is_answered(client, address, inbox):
    heard = await client.subscribe(inbox)
    for subject, data in (ways(address)[0], ways(address)[3]):
        await client.publish(subject, data, reply=inbox)
        assert (await heard.next_msg(PATIENCE)).data
