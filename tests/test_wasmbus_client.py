"""Calling as a host does: against a real provider, and against answers no provider should give."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import os
import subprocess
import sys

import cbor2
import msgspec
import nats
import nats.js.errors
import pytest

from provider import client
from provider.doors.subscriptions import settle
from provider.errors import BadRequest, BadResult, CallError, CallTimeout, TooLarge
from provider.lattice.chunks import ChunkStore
from provider.lattice.nkeys import KeyPair, Kind, decode_public
from provider.wasmbus_client import (
    InvocationError,
    Wasmbus,
    connect_wasmbus,
    default_actor,
)
from provider.wire.values import Limits
from provider.wire.wasmbus import (
    CHUNK_ABOVE,
    SHUTTING_DOWN,
    HealthCheckResponse,
    InvocationResponse,
    WasmCloudEntity,
    decode_invocation,
    decode_link,
    encode_health,
    encode_response,
)

CLUSTER = KeyPair.from_raw(Kind.CLUSTER, b"\1" * 32)
PATIENCE = 30
TRACE = {
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate": "vendor=value",
}
PROGRAM = """
    from provider.dispatch import context

    def handle(command, *arg):
        match command:
            case "echo":
                return arg[0]
            case "fail":
                raise ValueError("no good")
            case "large":
                return b"x" * arg[0]
            case "size":
                return len(arg[0])
            case "who":
                known = context()
                return [known.caller, known.traceparent, known.tracestate]
"""
_numbers = itertools.count()


@pytest.fixture(scope="module")
def house(start_module_provider, jetstream_nats):
    return start_module_provider(
        PROGRAM, nats=jetstream_nats.url, PROVIDER_CLUSTER_ISSUERS=CLUSTER.public
    )


def reach(house, **options):
    """Connect to the provider as an actor that nobody else is."""
    actor = KeyPair.generate(Kind.MODULE).public
    return connect_wasmbus(
        house.url,
        **{
            "cluster": CLUSTER,
            "lattice": house.address["lattice"],
            "actor": actor,
            "timeout": PATIENCE,
            **options,
        },
    )


@pytest.fixture
async def wasmbus(house):
    """A client whose actor is linked."""
    async with reach(house) as wasmbus:
        await link(wasmbus)
        yield wasmbus


async def link(wasmbus):
    await wasmbus.link()
    await wasmbus.health(timeout=PATIENCE)  # the provider hears the host in order


async def objects(url, lattice):
    """Messages in the object store."""
    other = await nats.connect(url)
    try:
        return (await other.jetstream().stream_info(f"OBJ_{lattice}")).state.messages
    finally:
        await other.close()


# --- calls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [None, True, -1, 2**64, 1.5, "é", b"\0", [1, {"a": None}], {"a": [b"", ""]}]
)
async def test_values_come_back(wasmbus, value):
    assert await wasmbus.call("echo", value) == value


async def test_bytes_are_sent_and_returned_as_they_are(wasmbus):
    assert await wasmbus.call_bytes("echo", b"\x7f" + cbor2.dumps([1, "a"])) == cbor2.dumps(
        [1, "a"]
    )
    assert await wasmbus.call_bytes("echo", b"\x92\x01\xa1a") == cbor2.dumps([1, "a"])
    assert await wasmbus.call_bytes("echo", b"\x7f\xf6") == b""


async def test_an_actor_calls_from_link_to_unlink(house):
    async with reach(house) as wasmbus:
        with pytest.raises(InvocationError) as caught:
            await wasmbus.call("echo", 1)
        assert caught.value.message == f"unlinked actor: '{wasmbus.actor}'"
        await link(wasmbus)
        assert await wasmbus.call("echo", 1) == 1
        await wasmbus.unlink()
        await wasmbus.health(timeout=PATIENCE)
        with pytest.raises(InvocationError, match="unlinked actor"):
            await wasmbus.call("echo", 1)


async def test_what_the_handler_raised_is_one_text(wasmbus):
    with pytest.raises(InvocationError) as caught:
        await wasmbus.call("fail")
    error = caught.value
    assert error.message == "Exception raised ValueError: no good\n"
    assert error.as_map() == {"message": error.message}
    assert isinstance(error, CallError)


async def test_a_key_the_provider_does_not_know(house):
    async with reach(house, cluster=KeyPair.generate(Kind.CLUSTER)) as wasmbus:
        with pytest.raises(InvocationError, match="not in list of cluster issuers"):
            await wasmbus.call("echo", 1)


async def test_an_argument_that_cannot_travel(wasmbus):
    with pytest.raises(TypeError, match=r"the argument cannot travel: .*, at value\[1\]"):
        await wasmbus.call("echo", [1, {2}])


async def test_limits_hold_for_what_is_received(house):
    async with reach(house, limits=Limits(string=10)) as wasmbus:
        await link(wasmbus)
        with pytest.raises(BadResult, match="the provider's result cannot be read"):
            await wasmbus.call("large", 11)


async def test_the_trace_is_seen_by_the_handler(wasmbus):
    assert await wasmbus.call("who", trace=TRACE) == [wasmbus.actor, *TRACE.values()]


async def test_a_forged_invocation_is_sent_as_it_is(wasmbus):
    forged = msgspec.structs.replace(wasmbus.sign("echo", b"\x7f\x01"), operation="size")
    response = await wasmbus.invoke(forged)
    assert response.invocation_id == forged.id
    assert response.error.startswith("Invocation hash does not match signed claims hash")


async def test_another_target_may_be_set(wasmbus):
    wasmbus.target = WasmCloudEntity(public_key="VOTHER", link_name="x", contract_id="y")
    with pytest.raises(InvocationError, match="target key mismatch: VOTHER"):
        await wasmbus.call("echo", 1)


# --- what is too long for a message --------------------------------------------------------------


@pytest.mark.parametrize("size", [CHUNK_ABOVE - 10, CHUNK_ABOVE, 3_000_000])
async def test_long_arguments_and_results(house, wasmbus, size):
    assert await wasmbus.call("size", b"x" * size) == size
    assert await wasmbus.call("large", size) == b"x" * size
    assert await wasmbus.call("echo", b"y" * size) == b"y" * size
    if size > CHUNK_ABOVE - 10:
        assert await objects(house.url, house.address["lattice"]) == 0


async def test_a_long_argument_that_is_refused_is_not_left(house):
    async with reach(house) as wasmbus:
        with pytest.raises(InvocationError, match="unlinked actor"):
            await wasmbus.call("size", b"x" * 1_000_000)
    assert await objects(house.url, house.address["lattice"]) == 0


async def test_a_long_argument_for_nobody_is_not_left(jetstream_nats):
    async with connect_wasmbus(
        jetstream_nats.url, cluster=CLUSTER, lattice=new_lattice()
    ) as wasmbus:
        with pytest.raises(client.NoProvider):
            await wasmbus.call("size", b"x" * 1_000_000)
        assert await objects(jetstream_nats.url, wasmbus._address.lattice) == 0


# --- who we are ----------------------------------------------------------------------------------


async def test_the_actor_follows_from_the_cluster(jetstream_nats):
    async with connect_wasmbus(jetstream_nats.url, cluster=CLUSTER) as wasmbus:
        assert wasmbus.actor == default_actor(CLUSTER.public)
        assert wasmbus.host_id == CLUSTER.public
        signed = wasmbus.sign("echo", b"\x7f\x01", trace=TRACE)
    assert decode_public(wasmbus.actor)[0] is Kind.MODULE
    assert default_actor(CLUSTER.public) != default_actor(KeyPair.generate(Kind.CLUSTER).public)
    assert signed.origin == WasmCloudEntity(public_key=wasmbus.actor, contract_id="")
    assert signed.target == WasmCloudEntity(
        public_key="python", link_name="default", contract_id="wasmcloud:example:python"
    )
    assert (signed.host_id, signed.content_length) == (CLUSTER.public, 2)
    assert signed.trace_context == TRACE


def test_who_does_not_sign_does_not_wait_for_it():
    program = (
        "import sys, provider.client as client\n"
        "assert 'provider.wasmbus_client' not in sys.modules\n"
        "assert client.connect_wasmbus and client.Wasmbus and client.InvocationError\n"
        "assert 'provider.wasmbus_client' in sys.modules\n"
        "client.connect_wasmbuss\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.stderr.decode().splitlines()[-1] == (
        "AttributeError: module 'provider.client' has no attribute 'connect_wasmbuss'"
    )


# --- a provider of the test's own ----------------------------------------------------------------


def new_lattice():
    return f"wasmbusclient{os.getpid()}x{next(_numbers)}"


class Responder:
    """Whatever listens where a provider should, and remembers what it was sent.

    Attributes:
        answer: makes the bytes to answer with, from the invocation or, elsewhere, nothing; None for
            no answer. May be a coroutine function.
        messages: what came, and the invocation in it if it was one.
    """

    def __init__(self, client, lattice):
        self.client = client
        self.lattice = lattice
        self.answer = lambda _: None
        self.messages = asyncio.Queue()

    async def open(self):
        rpc = f"wasmbus.rpc.{self.lattice}.python.default"
        await self.client.subscribe(rpc, cb=self.take)
        await self.client.subscribe(f"{rpc}.>", cb=self.hear)
        await settle(self.client)

    async def take(self, message):
        await self.answer_with(message, decode_invocation(message.data))

    async def hear(self, message):
        await self.answer_with(message, None)

    async def answer_with(self, message, invocation):
        self.messages.put_nowait((message, invocation))
        data = self.answer(invocation)
        if inspect.isawaitable(data):
            data = await data
        if data is not None:
            await message.respond(data)

    async def received(self):
        async with asyncio.timeout(PATIENCE):
            return await self.messages.get()


@pytest.fixture
async def responder(jetstream_nats):
    other = await nats.connect(jetstream_nats.url)
    responder = Responder(other, new_lattice())
    await responder.open()
    yield responder
    await other.close()


@pytest.fixture
async def caller(jetstream_nats, responder):
    async with connect_wasmbus(
        jetstream_nats.url, cluster=CLUSTER, lattice=responder.lattice, timeout=PATIENCE
    ) as wasmbus:
        yield wasmbus


def answering(msg=b"", **changes):
    """An answer to an invocation, as it should be but for the changes."""

    def answer(invocation):
        fields = {"invocation_id": invocation.id, "content_length": len(msg), **changes}
        return encode_response(InvocationResponse(msg=msg, **fields))

    return answer


async def test_the_trace_is_sent_twice(caller, responder):
    responder.answer = answering(b"\x01")
    assert await caller.call("x", trace={**TRACE, "other": "thing"}) == 1
    message, invocation = await responder.received()
    assert message.headers == TRACE
    assert invocation.trace_context == {**TRACE, "other": "thing"}
    await caller.call("x")
    message, invocation = await responder.received()
    assert message.headers is None
    assert invocation.trace_context == {}


async def test_no_argument_is_an_empty_message(caller, responder):
    responder.answer = answering()
    for argument, msg in (((), b""), ((None,), b"\x7f\xf6"), ((1,), b"\x7f\x01")):
        assert await caller.call("x", *argument) is None
        _, invocation = await responder.received()
        assert (invocation.operation, invocation.msg) == ("x", msg)


async def test_a_long_argument_is_there_before_the_message(caller, responder):
    store = ChunkStore(responder.client, responder.lattice, most=2_000_000)
    read = []

    async def answer(invocation):
        read.append(await store.get(invocation.id, invocation.content_length, PATIENCE))
        return answering(b"\x01")(invocation)

    responder.answer = answer
    msg = b"\x7f" + cbor2.dumps(os.urandom(1_000_000))
    assert await caller.call_bytes("x", msg) == b"\x01"
    assert read == [msg]


HOSTILE = {
    "garbage": lambda _: b"\xff\0garbage",
    "nothing": lambda _: b"",
    "of another call": answering(invocation_id="other"),
    "of no call": answering(invocation_id="", error="deser error: x"),
    "without a length": lambda invocation: msgspec.msgpack.encode(
        {"msg": b"\x01", "invocation_id": invocation.id}
    ),
    "of another length": answering(b"\x01", content_length=2),
    "chunked too early": answering(content_length=CHUNK_ABOVE),
    "inline too late": answering(b"x" * (CHUNK_ABOVE + 1)),
}
TOLD = {
    "garbage": "the provider's answer cannot be read: deser error: ",
    "nothing": "the provider's answer cannot be read: deser error: ",
    "of another call": "invocation ID mismatch, 'other' instead of",
    "of no call": "; its error: deser error: x",
    "without a length": "missing field `content_length`",
    "of another length": "message size mismatch, 1 bytes instead of 2",
    "chunked too early": "message size mismatch, 0 bytes instead of 921600",
    "inline too late": "921601 bytes are looked for in the object store",
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_answers_no_host_accepts(caller, responder, what):
    responder.answer = HOSTILE[what]
    with pytest.raises(BadResult) as caught:
        await caller.call("x")
    assert TOLD[what] in caught.value.message


async def test_results_that_are_no_value(caller, responder):
    for msg in (b"\xff", b"\x01\x02", b"\xd8\x63\x01"):
        responder.answer = answering(msg)
        with pytest.raises(BadResult, match="the provider's result cannot be read"):
            await caller.call("x")


async def test_a_long_result_that_is_not_there(caller, responder):
    responder.answer = answering(content_length=CHUNK_ABOVE + 1)
    with pytest.raises(BadRequest, match="error starting to receive chunked stream for inv"):
        await caller.call("x")
    responder.answer = answering(content_length=1 << 50)
    with pytest.raises(TooLarge, match="over the limit"):
        await caller.call("x")


async def test_an_error_stands_whole_whatever_is_beside_it(caller, responder):
    text = "x" * 10_000
    responder.answer = answering(error=text)
    with pytest.raises(InvocationError) as caught:
        await caller.call("x")
    assert caught.value.message == text


async def test_no_answer_in_time(caller, responder):
    with pytest.raises(CallTimeout, match=r"within 0\.05 s"):
        await caller.call("x", timeout=0.05)


async def test_a_long_argument_may_take_longer(caller, responder):
    async def answer(invocation):
        await asyncio.sleep(0.1)  # longer than the caller's own timeout
        return answering(b"\x01")(invocation)

    responder.answer = answer
    assert await caller.call("x", b"x" * 1_000_000, timeout=0.001) == 1


async def test_nobody_listens(jetstream_nats):
    async with connect_wasmbus(
        jetstream_nats.url, cluster=CLUSTER, lattice=new_lattice()
    ) as wasmbus:
        for work in (
            wasmbus.call("x"),
            wasmbus.health(),
            wasmbus.shutdown(),
            wasmbus.link(),
            wasmbus.unlink(),
        ):
            with pytest.raises(client.NoProvider, match="no provider listens on wasmbus"):
                await work


# --- what hosts tell and ask ---------------------------------------------------------------------


@pytest.mark.parametrize("test_mode", [False, True])
async def test_links_are_published(jetstream_nats, responder, test_mode):
    async with connect_wasmbus(
        jetstream_nats.url,
        cluster=CLUSTER,
        lattice=responder.lattice,
        actor="MACTOR",
        contract_id="my:contract",
        test_mode=test_mode,
    ) as wasmbus:
        await wasmbus.link({"a": "b"})
        await wasmbus.unlink()
    for token, values in (("put", {"a": "b"}), ("del", {})):
        message, _ = await responder.received()
        assert message.subject.endswith(f".default.linkdefs.{token}")
        definition = decode_link(message.data, json=test_mode)
        assert msgspec.structs.asdict(definition) == {
            "actor_id": "MACTOR",
            "provider_id": "python",
            "link_name": "default",
            "contract_id": "my:contract",
            "values": values,
        }


async def test_the_provider_is_healthy(wasmbus):
    assert await wasmbus.health(timeout=PATIENCE) == HealthCheckResponse(healthy=True)


async def test_health_in_test_mode_is_json(jetstream_nats, responder):
    ill = HealthCheckResponse(healthy=False, message="ill")
    responder.answer = lambda _: encode_health(ill, json=True)
    async with connect_wasmbus(
        jetstream_nats.url, cluster=CLUSTER, lattice=responder.lattice, test_mode=True
    ) as wasmbus:
        assert await wasmbus.health(timeout=PATIENCE) == ill
    message, _ = await responder.received()
    assert json.loads(message.data) == {}


async def test_health_that_cannot_be_read(caller, responder):
    responder.answer = lambda _: b"garbage"
    with pytest.raises(BadResult, match="the provider's health cannot be read"):
        await caller.health(timeout=PATIENCE)


async def test_shutdown_names_the_host(caller, responder):
    responder.answer = lambda _: SHUTTING_DOWN
    for host_id, named in ((None, CLUSTER.public), ("NHOST", "NHOST"), ("", "")):
        await caller.shutdown(host_id, timeout=PATIENCE)
        message, _ = await responder.received()
        assert json.loads(message.data) == {"host_id": named}


async def test_another_word_than_shutting_down(caller, responder):
    responder.answer = lambda _: b"no"
    with pytest.raises(BadResult, match="the provider answered b'no' to shutdown"):
        await caller.shutdown(timeout=PATIENCE)


async def test_a_provider_of_no_host_does_not_obey(wasmbus):
    with pytest.raises(CallTimeout):
        await wasmbus.shutdown(timeout=0.1)


def test_what_is_exported_is_what_is_here():
    assert client.Wasmbus is Wasmbus
    assert client.connect_wasmbus is connect_wasmbus
    assert client.InvocationError is InvocationError
