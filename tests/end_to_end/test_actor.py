"""A WebAssembly actor calls Python over the lattice; and no guest harms who runs it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from provider.client import connected
from provider.errors import CallError
from provider.lattice.nkeys import KeyPair, Kind
from provider.lattice.seed_file import write as write_seed
from provider.wasmbus_client import Wasmbus
from provider.wire.address import Address
from provider.wire.wasmbus import WasmCloudEntity, decode_response, encode_invocation
from tests.conftest import PATIENCE, clean_environment

FOLDER = Path(__file__).parents[2] / "dispatch_examples" / "actor"
CLUSTER = KeyPair.generate(Kind.CLUSTER)
DISPATCH = """
    def handle(command, arg):
        if command != "py.factorial":
            return f"unknown command {command}"
        if isinstance(arg, int) and arg < 0:
            raise ValueError(f"no factorial of {arg}")
        if isinstance(arg, int):
            product = 1
            for factor in range(2, arg + 1):
                product *= factor
            return product
        return arg
"""


@pytest.fixture(scope="module")
def provider(serve):
    return serve(DISPATCH, PROVIDER_CLUSTER_ISSUERS=CLUSTER.public)


@pytest.fixture(scope="module")
def example():
    """The runner as a module; as a program it has its folder on the path."""
    sys.path.insert(0, str(FOLDER))
    try:
        import run_actor
    finally:
        sys.path.remove(str(FOLDER))
    return run_actor


class Actor:
    """An actor that is run, and who calls it."""

    def __init__(self, example, lattice: str, connection, guest: Path, timeout: float) -> None:
        self._example = example
        self.connection = connection
        self.address = Address(lattice)
        self.key = KeyPair.generate(Kind.MODULE).public
        self.link = Wasmbus(connection, self.address, CLUSTER, actor=self.key)
        self.host = example.Host(
            connection, self.link, example.Guest(guest), lattice, CLUSTER.public, timeout
        )

    async def call(self, argument: object, operation: str = "Calculate") -> object:
        caller = Wasmbus(self.connection, self.address, CLUSTER)
        return await self._example.call_actor(self.host, caller, operation, argument)

    async def refused(self, *call) -> str:
        """What a call that fails is answered with."""
        with pytest.raises(CallError) as caught:
            await self.call(*call)
        return str(caught.value)

    async def ask(self, data: bytes) -> str | None:
        """Send this to the actor; the text of the error in the answer."""
        answer = await self.connection.request(self.host.subject, data, timeout=PATIENCE)
        return decode_response(answer.data).error


@pytest.fixture
async def run(example, provider):
    """`await run(guest, timeout=...)`: an actor that is linked and listens."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(guest: Path = FOLDER / "actor.wat", timeout: float = 30.0) -> Actor:
            connection = await stack.enter_async_context(connected(provider.url))
            actor = Actor(
                example, provider.environment["PROVIDER_LATTICE"], connection, guest, timeout
            )
            await stack.enter_async_context(actor.host.serving())
            await asyncio.to_thread(provider.wait_for, "link_put", actor=actor.key)
            return actor

        yield start


# --- The way of a call ----------------------------------------------------------------------------


async def test_an_actor_computes_with_python(run):
    actor = await run()
    assert await actor.call(10) == 3628800
    assert await actor.call(20) == 2432902008176640000
    assert await actor.call(None) is None
    assert await actor.call({"n": [1.5, "é", b"\0"]}) == {"n": [1.5, "é", b"\0"]}


async def test_messages_longer_than_the_guests_memory_make_it_grow(run):
    message = bytes(range(256)) * 3000
    assert await (await run()).call(message) == message


async def test_the_actors_caller_reads_what_the_handler_raised(run):
    actor = await run()
    text = await actor.refused(-1)
    assert text == "Exception raised ValueError: no factorial of -1\n"
    assert await actor.call(3) == 6


async def test_an_actor_that_lost_its_link_is_told(run, provider):
    actor = await run()
    assert await actor.call(4) == 24
    await actor.link.unlink()
    await asyncio.to_thread(provider.wait_for, "link_deleted", actor=actor.key)
    assert await actor.refused(4) == f"unlinked actor: '{actor.key}'"


async def test_an_operation_the_actor_does_not_have_stays_its_own_business(run):
    actor = await run()
    for operation in ("Calculatf", "calculate", "Calculate.", ""):
        text = await actor.refused(10, operation)
        assert text == "unknown operation; this actor has one: Calculate"


@pytest.mark.parametrize(
    ("listens", "reason"),
    [("python.>", "no answer on"), ("*.*.linkdefs.*", "no provider listens on")],
)
async def test_a_provider_that_does_not_answer_is_an_error_of_the_call(
    listens, reason, example, shared_nats
):
    lattice = f"silent{os.getpid()}"
    async with connected(shared_nats.url) as connection:
        await connection.subscribe(f"wasmbus.rpc.{lattice}.{listens}", cb=ignore)
        actor = Actor(example, lattice, connection, FOLDER / "actor.wat", timeout=2)
        async with actor.host.serving():
            assert f"{reason} {actor.address.rpc}" in await actor.refused(10)


async def ignore(message) -> None:
    pass


# --- Who may call the actor -----------------------------------------------------------------------


async def test_calls_nobody_signed_for_do_not_reach_the_guest(run):
    actor = await run()
    stranger = Wasmbus(actor.connection, actor.address, KeyPair.generate(Kind.CLUSTER))
    stranger.target = WasmCloudEntity(public_key=actor.key, contract_id="")
    invocation = stranger.sign("Calculate", b"\x7f\x0a")
    text = await actor.ask(encode_invocation(invocation))
    assert text == "Issuer of this invocation is not in list of cluster issuers"
    assert "deser error" in (await actor.ask(b"\xc1 garbage") or "")
    misled = Wasmbus(actor.connection, actor.address, CLUSTER).sign("Calculate", b"\x7f\x0a")
    assert "target key mismatch" in (await actor.ask(encode_invocation(misled)) or "")
    assert await actor.call(5) == 120


async def test_an_argument_in_the_object_store_is_refused(run):
    text = await (await run()).refused(bytes(921_600))
    assert text == "an argument of over 921600 bytes is not taken here"


# --- Guests that mean no good ---------------------------------------------------------------------

WAT = """
(module
  (import "wasmbus" "__guest_request" (func $request (param i32 i32)))
  (import "wasmbus" "__guest_response" (func $response (param i32 i32)))
  (import "wasmbus" "__guest_error" (func $error (param i32 i32)))
  (import "wasmbus" "__console_log" (func $log (param i32 i32)))
  (import "wasmbus" "__host_call"
    (func $call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasmbus" "__host_error_len" (func $refusal_length (result i32)))
  (import "wasmbus" "__host_error" (func $refusal (param i32)))
  (memory {memory} 1)
  (data (i32.const 0) "other\\ff")
  (func $dig (call $dig) (call $dig))
  (func $forever (loop $again (br $again)))
  {start}
  (func (export "{entry}") (param i32 i32) (result i32)
    {body}
    (i32.const {result})))
"""
SAY_REFUSAL = (  # behind the five letters at 0, so that it is seen to come from the guest
    "(call $refusal (i32.const 5))"
    "(call $error (i32.const 0) (i32.add (call $refusal_length) (i32.const 5)))"
)


def guest(body="", *, result=1, memory='(export "memory")', start="", entry="__guest_call") -> str:
    return WAT.format(body=body, result=result, memory=memory, start=start, entry=entry)


HOSTILE = {
    "traps": (guest("unreachable"), "unreachable"),
    "recursion": (guest("(call $dig)"), "call stack exhausted"),
    "reads beyond its memory": (
        guest("(call $response (i32.const 65000) (i32.const 1000))"),
        "names 1000 bytes at 65000, beyond its memory",
    ),
    "reads below its memory": (
        guest("(call $response (i32.const -1) (i32.const 1))"),
        "names 1 bytes at 4294967295, beyond its memory",
    ),
    "a length below zero": (
        guest("(call $error (i32.const 0) (i32.const -1))", result=0),
        "names 4294967295 bytes at 0, beyond its memory",
    ),
    "is written to beyond its memory": (
        guest("(call $request (i32.const 0) (i32.const 65535))"),
        "names 2 bytes at 65535, beyond its memory",
    ),
    "has no memory": (guest("(call $log (i32.const 0) (i32.const 1))", memory=""), "beyond its"),
    "takes all memory": (
        guest(
            "(if (i32.eq (memory.grow (i32.const 300)) (i32.const -1))"
            " (then (call $error (i32.const 0) (i32.const 5))))",
            result=0,
        ),
        "other",
    ),
    "cannot be called": (guest(entry="something"), "the actor exports no __guest_call"),
    "is called otherwise": ('(module (func (export "__guest_call")))', "too many parameters"),
    "is not to be called": (
        '(module (memory (export "__guest_call") 1))',
        "the actor was stopped: 'Memory' object is not callable",
    ),
    "wants another import": (
        '(module (import "wasi" "fd_write" (func)) (func (export "__guest_call")))',
        "fd_write",
    ),
    "traps at the start": (guest(start="(func $no unreachable) (start $no)"), "unreachable"),
    "fails silently": (guest(result=0), "the actor failed silently"),
    "answers 2": (guest(result=2), "the actor failed silently"),
    "answers too much": (
        guest(
            "(drop (memory.grow (i32.const 15)))(call $response (i32.const 0) (i32.const 921601))"
        ),
        "the actor's response of 921601 bytes is too long",
    ),
    "calls another contract": (
        guest(
            "(drop (call $call (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 0)"
            f" (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))) {SAY_REFUSAL}",
            result=0,
        ),
        "otherthe actor has no link 'other' to contract ''",
    ),
    "names nothing in UTF-8": (
        guest(
            "(drop (call $call (i32.const 0) (i32.const 6) (i32.const 0) (i32.const 0)"
            f" (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))) {SAY_REFUSAL}",
            result=0,
        ),
        "other'utf-8' codec can't decode",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_guest_that_misbehaves_is_answered(name, run, tmp_path):
    source, reason = HOSTILE[name]
    (tmp_path / "guest.wat").write_text(source)
    actor = await run(tmp_path / "guest.wat")
    assert reason in await actor.refused(10)
    assert reason in await actor.refused(10)


@pytest.mark.parametrize(
    "source", [guest("(call $forever)"), guest(start="(start $forever)")], ids=["call", "start"]
)
async def test_a_guest_that_loops_for_ever_is_stopped(source, run, tmp_path):
    (tmp_path / "guest.wat").write_text(source)
    actor = await run(tmp_path / "guest.wat", timeout=0.01)
    assert await actor.refused(10) == "the actor was stopped: wasm trap: interrupt"


def test_a_file_that_holds_no_guest_is_refused(example, tmp_path):
    (tmp_path / "guest.wat").write_text("(module")
    for path in (tmp_path / "guest.wat", tmp_path / "missing.wasm"):
        with pytest.raises(example.GuestError, match=r"guest.wat|missing.wasm"):
            example.Guest(path)


# --- The program ----------------------------------------------------------------------------------


def test_the_program_serves_until_it_is_stopped(provider, tmp_path):
    write_seed(tmp_path / "cluster.nk", CLUSTER)
    lattice, key = provider.environment["PROVIDER_LATTICE"], KeyPair.generate(Kind.MODULE).public
    command = [
        *(sys.executable, FOLDER / "run_actor.py", "--cluster-seed", tmp_path / "cluster.nk"),
        *("--lattice", lattice, "--nats-url", provider.url, "--actor", key),
    ]
    process = subprocess.Popen(
        list(map(str, command)), env=clean_environment(), stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == (
            f"actor {key} is called at wasmbus.rpc.{lattice}.{key}\n"
        )
        provider.wait_for("link_put", actor=key)
        process.terminate()
        assert process.wait(PATIENCE) == 0, process.stderr.read()
        provider.wait_for("link_deleted", actor=key)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
