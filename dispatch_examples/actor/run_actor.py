"""Run a WebAssembly actor as a wasmCloud host does: calls for it come over NATS, its own go out.

    python dispatch_examples/actor/run_actor.py --demo
    python dispatch_examples/actor/run_actor.py --cluster-seed FILE [--call 10]

The rule of this file: a call is checked before the guest sees it, and every call is answered. The
guest runs in a thread, because a call it makes keeps it waiting for the answer; one runs at a time.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import cbor2
from guest import Guest, GuestError

from provider.client import connected, request_answer
from provider.errors import CallError, ProviderError
from provider.lattice import seed_file, subjects
from provider.lattice.claims import Identity, validate
from provider.lattice.nkeys import KeyPair, Kind
from provider.wasmbus_client import CONTRACT_ID, Wasmbus
from provider.wire import wasmbus
from provider.wire.address import Address

HERE = Path(__file__).parent
OURS = ("PROVIDER_", "NATS_URL")  # settings the demo makes itself
GRACE = 1.0  # seconds a guest has left to answer when the time for its own calls is over


class Host:
    """What a wasmCloud host is to one actor, which is linked to one provider."""

    def __init__(self, connection, provider, guest, lattice, cluster, timeout):
        self.connection, self.provider, self.guest = connection, provider, guest
        self.subject = subjects.actor(lattice, provider.actor)
        self.identity = Identity(provider.actor, cluster, {cluster})
        self.timeout = timeout

    @contextlib.asynccontextmanager
    async def serving(self):
        """Link the actor and answer its calls. Hosts with the same actor share them."""
        await self.provider.link()
        calls = await self.connection.subscribe(self.subject, queue=self.subject, cb=self.hear)
        await self.connection.flush()
        try:
            yield
        finally:
            await calls.drain()
            with contextlib.suppress(CallError):
                await self.provider.unlink()

    async def hear(self, message):
        """Answer one message. nats-py brings the next one when this is done."""
        called = None
        try:
            called = wasmbus.decode_invocation(message.data)
            answer = {"msg": await self.run(called)}
        except Exception as error:  # noqa: BLE001  whatever went wrong, the caller is told
            answer = {"error": str(error) or repr(error), "content_length": 0}
        if message.reply:
            name = called.id if called else ""
            response = wasmbus.InvocationResponse(invocation_id=name, **answer)
            await message.respond(wasmbus.encode_response(response))

    async def run(self, invocation):
        """Check a call, and run the guest until it answers or its time is over."""
        if invocation.is_chunked:
            raise GuestError(f"an argument of over {wasmbus.CHUNK_ABOVE} bytes is not taken here")
        # An actor may be called by every other actor of the lattice, so all of them are linked.
        linked = {invocation.origin.public_key}
        validate(invocation, invocation.msg, identity=self.identity, linked=linked, now=time.time())
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout

        def ask(*call):
            return asyncio.run_coroutine_threadsafe(self.ask(*call, deadline), loop).result()

        timer = loop.call_at(deadline + GRACE, self.guest.stop)
        try:
            response = await asyncio.to_thread(
                self.guest.call, invocation.operation, invocation.msg, ask
            )
        finally:
            timer.cancel()
            self.guest.stop()  # it has ended, unless we were told to leave
        if len(response) > wasmbus.CHUNK_ABOVE:
            raise GuestError(f"the actor's response of {len(response)} bytes is too long")
        return response

    async def ask(self, link, contract, operation, message, deadline):
        """Call the provider in the actor's name: signed with the key of the cluster."""
        target = self.provider.target
        if (link, contract) != (target.link_name, target.contract_id):
            raise GuestError(f"the actor has no link {link[:100]!r} to contract {contract[:100]!r}")
        seconds = max(deadline - asyncio.get_running_loop().time(), 0.001)
        return await self.provider.call_bytes(operation, message, timeout=seconds)


async def call_actor(host, caller, operation, argument):
    """What another actor of the lattice does to call ours: the result of one operation."""
    caller.target = wasmbus.WasmCloudEntity(public_key=host.provider.actor, contract_id="")
    invocation = caller.sign(operation, b"\x7f" + cbor2.dumps(argument))
    message = wasmbus.encode_invocation(invocation)
    seconds = host.timeout + 2 * GRACE
    answer = await request_answer(host.connection, host.subject, message, seconds)
    response = wasmbus.decode_response(answer.data)
    if response.error is not None:
        raise GuestError(response.error)
    return cbor2.loads(response.msg) if response.msg else None


@contextlib.asynccontextmanager
async def own_provider(cluster):
    """A provider with the factorial example and a NATS server, which believes this cluster."""
    command = "-m provider run --no-env-file --example factorial --embedded-nats --embedded-port 0"
    kept = {name: os.environ[name] for name in os.environ if name[:9] not in OURS}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command.split(),
        env={**kept, "PROVIDER_CLUSTER_ISSUERS": cluster, "PROVIDER_LOG_FORMAT": "json"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        url, said = None, []
        async for line in process.stderr:
            said.append(line.decode("utf-8", "replace"))
            event = json.loads(line) if line.startswith(b"{") else {}
            url = event.get("url", url)
            if event.get("event") == "ready":
                break
        else:
            raise ProviderError("the provider did not start:\n" + "".join(said))
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def main(options):
    """Serve the actor until stopped, or only until it was called once."""
    guest, task = Guest(options.guest), asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with contextlib.AsyncExitStack() as stack:
        if options.demo:
            cluster = KeyPair.generate(Kind.CLUSTER)
            url = await stack.enter_async_context(own_provider(cluster.public))
        else:
            cluster, url = seed_file.read(options.cluster_seed, Kind.CLUSTER), options.nats_url
        connection = await stack.enter_async_context(connected(url))
        # A host signs with the key of the cluster; of the actor's key it knows the public half.
        actor = options.actor or KeyPair.generate(Kind.MODULE).public
        address = Address(options.lattice, options.provider_key, options.link_name)
        python = Wasmbus(connection, address, cluster, actor=actor, contract_id=options.contract_id)
        host = Host(connection, python, guest, options.lattice, cluster.public, options.timeout)
        await stack.enter_async_context(host.serving())
        print(f"actor {actor} is called at {host.subject}", file=sys.stderr, flush=True)
        if options.call is None:
            await asyncio.Event().wait()
        caller = Wasmbus(connection, address, cluster)
        print(json.dumps(await call_actor(host, caller, "Calculate", options.call)))


def arguments():
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Run a WebAssembly actor on a lattice.")
    keys = parser.add_mutually_exclusive_group(required=True)
    keys.add_argument("--demo", action="store_true", help="start a provider, too, and call once")
    keys.add_argument("--cluster-seed", type=Path, help="the file `provider keygen cluster` made")
    parser.add_argument("--call", type=json.loads, help="call Calculate once with this JSON value")
    parser.add_argument("--guest", type=Path, default=HERE / "actor.wat", help=".wasm or .wat")
    parser.add_argument("--actor", help="its public key (M...); without it, a new one")
    parser.add_argument("--nats-url", default=os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
    parser.add_argument("--lattice", default="default")
    parser.add_argument("--provider-key", default="python")
    parser.add_argument("--link-name", default="default")
    parser.add_argument("--contract-id", default=CONTRACT_ID)
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for the guest's calls")
    options = parser.parse_args()
    if options.demo and options.call is None:
        options.call = 10
    return options


if __name__ == "__main__":
    try:
        with contextlib.suppress(asyncio.CancelledError):  # what a signal does
            asyncio.run(main(arguments()))
    except ProviderError as error:
        sys.exit(str(error))
