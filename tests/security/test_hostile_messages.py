"""What a stranger can write into the line and the headers of a message ends no connection."""

from __future__ import annotations

import asyncio
import contextlib

import nats
import pytest

from provider.wire.address import Address
from tests.conftest import PATIENCE

PROGRAM = """
    def handle(command, arg):
        return arg
"""

REPLIES = [b"\xff\xfe", b"_INBOX.\x0b.x", b"_INBOX.a\x0c", b"_INBOX.\xc3"]
"""Subjects for an answer which a NATS server lets through, and no client makes."""
BLOCKS = [
    b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    b"NATS/1.0 200 \xff\r\n\r\n",
    b"NATS/1.0 200 \xff\r\na: b\r\n\r\n",
    b"NATS/1.0\r\n\xff: \xff\r\n\r\n",
    b"NATS/1.0",
    b"x",
    b"\r\n\r\n",
]
"""Blocks of headers that are none."""


@pytest.fixture(scope="module")
def provider(start_module_provider):
    return start_module_provider(PROGRAM, PROVIDER_ADMIN="on", PROVIDER_KEY="hostile")


@pytest.fixture
def address(provider) -> Address:
    return Address(**provider.address)


@contextlib.asynccontextmanager
async def raw(port: int):
    """A connection to the server on which anything can be written."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def write(commands: bytes) -> None:
        writer.write(commands + b"PING\r\n")
        async with asyncio.timeout(PATIENCE):
            while await reader.readline() != b"PONG\r\n":
                assert not reader.at_eof()

    try:
        await reader.readline()
        await write(b'CONNECT {"verbose":false,"headers":true}\r\n')
        yield write
    finally:
        writer.close()


def subjects(address: Address) -> list[str]:
    """Where the provider hears strangers."""
    return [
        address.rpc,
        address.operation("py.echo"),
        f"$SRV.PING.{address.name}",
        address.describe("operations"),
        address.admin("status"),
    ]


async def is_as_before(provider, address: Address) -> bool:
    """Whether it answers, and over the connection it had."""
    client = await nats.connect(provider.url)
    try:
        for subject in subjects(address)[1:]:
            answer = await client.request(subject, b"", timeout=PATIENCE)
            assert answer.data
    finally:
        await client.close()
    return provider.events("nats_disconnected") == []


@pytest.mark.parametrize("reply", REPLIES)
async def test_no_reply_subject_ends_the_connection(provider, address, reply):
    async with raw(int(provider.url.rpartition(":")[2])) as write:
        for subject in subjects(address):
            await write(b"PUB %b %b 1\r\n\x01\r\n" % (subject.encode(), reply))
            # With much behind it, too, where nats-py waited for the end of the line.
            many = b"PUB %b %b 1\r\n\x01\r\n" % (subject.encode(), reply)
            await write(many * 100)
    assert await is_as_before(provider, address)
    assert "never retrieved" not in provider.text


@pytest.mark.parametrize("block", BLOCKS)
async def test_no_headers_end_the_connection(provider, address, block):
    async with raw(int(provider.url.rpartition(":")[2])) as write:
        for subject in subjects(address):
            line = b"HPUB %b _INBOX.x %d %d\r\n" % (subject.encode(), len(block), len(block) + 1)
            await write(line + block + b"\x01\r\n")
    assert await is_as_before(provider, address)


async def test_no_subject_chooses_the_subscription(start_provider):
    """Where a large message comes behind one that is nats-py's to read, so is its line."""
    provider = start_provider(PROGRAM, PROVIDER_ADMIN="on")
    address = Address(**provider.address)
    ping, body = f"$SRV.PING.{address.name}".encode(), b"x" * 500_000
    async with raw(int(provider.url.rpartition(":")[2])) as write:
        for number in range(1, 40):
            subject = address.operation(f"py.x\x0b{number}").encode()
            await write(
                b"PUB %b _INBOX.x 0\r\n\r\nPUB %b %d\r\n%b\r\n" % (ping, subject, len(body), body)
            )
    client = await nats.connect(provider.url)
    answer = await client.request(address.operation("py.echo"), b"\x05", timeout=PATIENCE)
    await client.close()
    assert answer.data == b"\x05"
    assert provider.events("draining") == []
