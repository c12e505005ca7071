"""Call a provider as a wasmCloud host does in the name of an actor; and tell it what hosts tell.

    async with provider.client.connect_wasmbus(cluster=key) as wasmbus:
        await wasmbus.link()
        await wasmbus.call("py.factorial", 10)

The rule of this file: it sends what a host sends and reads as strictly as the strictest host does
(wasmCloud 0.82), so that whoever can be called from here can be called from there. Sources:
wasmbus-rpc 0.15 (`rpc_client.rs`), wasmCloud 0.82 (`host/src/wasmbus`).
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from typing import TYPE_CHECKING, Any

import nats.errors
from msgspec.structs import replace

from provider.client import ABSENT, DEFAULT_TIMEOUT, NoProvider, connected, request_answer
from provider.doors.subscriptions import settle
from provider.errors import BadRequest, BadResult, CallError, Unavailable, clip
from provider.lattice import subjects
from provider.lattice.chunks import ChunkStore
from provider.lattice.claims import sign_invocation
from provider.lattice.nkeys import KeyPair, Kind
from provider.wire.about import TRACEPARENT, TRACESTATE
from provider.wire.address import Address
from provider.wire.values import Limits, Values
from provider.wire.wasmbus import (
    CHUNK_ABOVE,
    SHUTTING_DOWN,
    HealthCheckResponse,
    Invocation,
    InvocationResponse,
    LinkDefinition,
    WasmCloudEntity,
    decode_health,
    decode_response,
    encode_invocation,
    encode_link,
    encode_shutdown,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from nats.aio.client import Client

    from provider.nats_options import NatsOptions

CONTRACT_ID = "wasmcloud:example:python"
"""The contract of the original Python provider."""
CHUNK_EXTRA = 13.0
"""Seconds a call may last longer when its argument goes through the object store, as in the Rust
library; and what the store has for one object."""
MAX_RESULT = 64 * 1024 * 1024
"""Most bytes of a result that are read from the object store, unless the caller says otherwise."""
HOST_TIMEOUT = 2.0
"""Seconds a host waits for word of health or shutdown."""
SETTLE_WITHIN = 10
"""Seconds the NATS server has to take a link."""


class InvocationError(CallError):
    """The provider refused the call, or the call failed.

    On this protocol an error is one text and nothing else: a refusal and what a handler raised come
    the same way, so they are one class here. The text is whole in `message`; of what the handler
    raised it begins with `Exception raised <class>: `.
    """

    def as_map(self) -> dict[str, Any]:
        """The text alone; nobody said of which kind the error is."""
        return {"message": clip(self.message)}


def default_actor(cluster: str) -> str:
    """The actor in whose name calls are made when none is given.

    It follows from the cluster's key, so that what links it and what calls in its name agree
    without a word. Nothing is signed with an actor's key, so nobody has to keep its seed.

    Args:
        cluster: public key of the cluster (`C...`).
    """
    seed = hashlib.sha256(f"the default actor of {cluster}".encode()).digest()
    return KeyPair.from_raw(Kind.MODULE, seed).public


class Wasmbus:
    """A provider, as a host of its lattice sees it. Made by `connect_wasmbus`.

    Attributes:
        actor: public key of the actor in whose name calls are made.
        host_id: what we give as our host's public key.
        target: whom calls are for; another one may be set.
    """

    def __init__(
        self,
        client: Client,
        address: Address,
        cluster: KeyPair,
        *,
        actor: str | None = None,
        host_id: str | None = None,
        contract_id: str = CONTRACT_ID,
        timeout: float = DEFAULT_TIMEOUT,
        limits: Limits | None = None,
        test_mode: bool = False,
        max_result: int = MAX_RESULT,
    ) -> None:
        self._client = client
        self._address = address
        self._cluster = cluster
        self.actor = default_actor(cluster.public) if actor is None else actor
        self.host_id = cluster.public if host_id is None else host_id
        self.target = WasmCloudEntity(
            public_key=address.key, link_name=address.link_name, contract_id=contract_id
        )
        self._timeout = timeout
        self._values = Values(limits)
        self._test_mode = test_mode
        self._store = ChunkStore(client, address.lattice, most=max_result)

    async def call(
        self,
        operation: str,
        argument: Any = ABSENT,
        *,
        timeout: float | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> Any:
        """Call an operation and return its result.

        Args:
            operation: its name, such as `py.factorial`.
            argument: any value that can travel; left out, the message is empty.
            timeout: seconds until the call fails; 0 for ever. `CHUNK_EXTRA` more when the argument
                is too long for a message.
            trace: W3C trace context by header name: `traceparent`, `tracestate`.

        Raises:
            InvocationError: refused or failed, with the text of the provider.
            NoProvider: nobody listens.
            CallTimeout: no answer came in time.
            CallError: the subclass of what else went wrong.
            TypeError: the argument cannot travel; the text names the path inside it.
        """
        msg = b""
        if argument is not ABSENT:
            try:
                msg = b"\x7f" + self._values.encode(argument)
            except BadResult as error:
                raise TypeError(error.message.replace("the result", "the argument", 1)) from None
        result = await self.call_bytes(operation, msg, timeout=timeout, trace=trace)
        if not result:
            return None
        try:
            return self._values.decode(result)
        except BadRequest as error:
            raise BadResult(f"the provider's result cannot be read: {error.message}") from None

    async def call_bytes(
        self,
        operation: str,
        msg: bytes = b"",
        *,
        timeout: float | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> bytes:
        """Call an operation, with the argument and the result left as bytes.

        Args:
            operation: as `call`.
            msg: sent exactly so: 7f and CBOR, c1 and MessagePack, bare MessagePack, or nothing.
            timeout: as `call`.
            trace: as `call`.

        Returns:
            Bare CBOR, empty for None.

        Raises:
            CallError: as `call`.
        """
        seconds = self._timeout if timeout is None else timeout
        invocation = self.sign(operation, msg, trace=trace)
        if invocation.is_chunked:
            response = await self._invoke_chunked(invocation, msg, seconds)
        else:
            response = await self.invoke(invocation, timeout=seconds)
        if response.error is not None:
            raise InvocationError(response.error)
        return response.msg

    def sign(
        self, operation: str, msg: bytes = b"", *, trace: Mapping[str, str] | None = None
    ) -> Invocation:
        """What `call_bytes` sends. An argument too long for a message is left out of it."""
        return sign_invocation(
            key=self._cluster,
            origin=WasmCloudEntity(public_key=self.actor, contract_id=""),
            target=self.target,
            operation=operation,
            argument=msg,
            invocation_id=str(uuid.uuid4()),
            host_id=self.host_id,
            now=time.time(),
            trace_context=trace,
        )

    async def invoke(
        self, invocation: Invocation, *, timeout: float | None = None
    ) -> InvocationResponse:
        """Send exactly this invocation and return the answer, its `msg` whole.

        A result that lies in the object store is fetched from there and deleted. An argument is
        not put there; `call_bytes` does that.

        Args:
            invocation: from `sign`, or forged.
            timeout: seconds; 0 for ever.

        Raises:
            BadResult: no host could read the answer: another id, a missing or wrong length.
            CallError: as `call`, but for `InvocationError`: the text is in the answer.
        """
        seconds = self._timeout if timeout is None else timeout
        context = invocation.trace_context
        message = await request_answer(
            self._client,
            self._address.rpc,
            encode_invocation(invocation),
            seconds,
            headers={name: context[name] for name in (TRACEPARENT, TRACESTATE) if name in context}
            or None,
        )
        try:
            response = decode_response(message.data)
        except BadRequest as error:
            raise BadResult(f"the provider's answer cannot be read: {error.message}") from None
        problem = _problem(invocation, response)
        if problem:
            told = "" if response.error is None else f"; its error: {clip(response.error)}"
            raise BadResult(f"the provider's answer is not one a host accepts: {problem}{told}")
        if not response.is_chunked:
            return response
        name = subjects.response_object(invocation.id)
        assert response.content_length is not None  # it is chunked
        try:
            msg = await self._store.get(name, response.content_length, CHUNK_EXTRA)
        finally:
            await self._store.delete(name)
        return replace(response, msg=msg)

    async def _invoke_chunked(
        self, invocation: Invocation, msg: bytes, seconds: float
    ) -> InvocationResponse:
        name = subjects.request_object(invocation.id)
        await self._store.put(name, msg, CHUNK_EXTRA)
        try:
            return await self.invoke(invocation, timeout=seconds and seconds + CHUNK_EXTRA)
        finally:
            # The provider deletes what it accepted; what it refused or never saw, nobody would.
            await self._store.delete(name)

    async def link(self, values: Mapping[str, str] | None = None) -> None:
        """Let the actor call: publish its link. Whether it counts is answered by nobody.

        Args:
            values: settings of the link.

        Raises:
            NoProvider: nobody listens for links.
            Unavailable: NATS did not take it.
        """
        await self._tell(subjects.linkdefs_put(self._address), values or {})

    async def unlink(self) -> None:
        """Let the actor call no more.

        Raises:
            NoProvider: nobody listens for links.
            Unavailable: NATS did not take it.
        """
        await self._tell(subjects.linkdefs_del(self._address), {})

    async def health(self, *, timeout: float = HOST_TIMEOUT) -> HealthCheckResponse:
        """How the provider is; with several instances, the first that answers.

        Raises:
            CallError: as `call`.
        """
        subject = subjects.health(self._address)
        asked = b"{}" if self._test_mode else b""
        message = await request_answer(self._client, subject, asked, timeout)
        try:
            return decode_health(message.data, json=self._test_mode)
        except BadRequest as error:
            raise BadResult(f"the provider's health cannot be read: {error.message}") from None

    async def shutdown(self, host_id: str | None = None, *, timeout: float = HOST_TIMEOUT) -> None:
        """Tell the instances a host launched to leave, and wait for the first to obey.

        Args:
            host_id: of the host that launched them; ours by default. Empty is for all.
            timeout: seconds.

        Raises:
            CallTimeout: nobody obeyed; those of other hosts do not answer.
            CallError: as `call`.
        """
        subject = subjects.shutdown(self._address)
        data = encode_shutdown(self.host_id if host_id is None else host_id)
        message = await request_answer(self._client, subject, data, timeout)
        if message.data != SHUTTING_DOWN:
            raise BadResult(f"the provider answered {message.data[:100]!r} to shutdown")

    async def _tell(self, subject: str, values: Mapping[str, str]) -> None:
        link = LinkDefinition(
            actor_id=self.actor,
            provider_id=self.target.public_key,
            link_name=self.target.link_name,
            contract_id=self.target.contract_id,
            values=dict(values),
        )
        # No provider answers, but the server does when there is none, before all is settled.
        inbox = self._client.new_inbox()
        try:
            answers = await self._client.subscribe(inbox, max_msgs=1)
            try:
                data = encode_link(link, json=self._test_mode)
                await self._client.publish(subject, data, reply=inbox)
                await settle(self._client, SETTLE_WITHIN)
                nobody = answers.pending_msgs
            finally:
                await answers.unsubscribe()
        except nats.errors.Error as error:
            raise Unavailable(f"NATS did not take the link: {error!r}") from None
        if nobody:
            raise NoProvider(
                f"no provider listens on {subject}; is it running, and are signed "
                "calls on (PROVIDER_CLUSTER_ISSUERS)?"
            )


def _problem(invocation: Invocation, response: InvocationResponse) -> str:
    """What the strictest host finds wrong with an answer, empty for nothing."""
    if response.invocation_id != invocation.id:
        return (
            f"invocation ID mismatch, {response.invocation_id[:100]!r} instead of "
            f"{invocation.id[:100]!r}"
        )
    length = response.content_length
    if length is None:
        return "missing field `content_length`"
    if length <= CHUNK_ABOVE and length != len(response.msg):
        return f"message size mismatch, {len(response.msg)} bytes instead of {length}"
    if length > CHUNK_ABOVE and response.msg:
        return f"{length} bytes are looked for in the object store, and it has them in itself"
    return ""


@contextlib.asynccontextmanager
async def connect_wasmbus(
    servers: str | NatsOptions = "nats://127.0.0.1:4222",
    *,
    cluster: KeyPair,
    lattice: str = "default",
    key: str = "python",
    link_name: str = "default",
    contract_id: str = CONTRACT_ID,
    actor: str | None = None,
    host_id: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    limits: Limits | None = None,
    test_mode: bool = False,
    max_result: int = MAX_RESULT,
) -> AsyncIterator[Wasmbus]:
    """Connect to NATS and yield the provider found there, to be called as by an actor.

    Args:
        servers: URL of the NATS server, several with commas, or full options.
        cluster: signs the calls; its public key is among the provider's
            PROVIDER_CLUSTER_ISSUERS.
        lattice: the provider's PROVIDER_LATTICE.
        key: its PROVIDER_KEY.
        link_name: its PROVIDER_LINK_NAME.
        contract_id: the contract in targets and links.
        actor: public key (`M...`); without it, `default_actor` of the cluster.
        host_id: public key given for the host; the cluster's own by default, as Elixir hosts do.
        timeout: seconds a call waits unless it says otherwise; 0 for ever.
        limits: of the values sent and received.
        test_mode: links and health are written in JSON, as the test harness does.
        max_result: most bytes of an argument or a result that goes through the object store.

    Raises:
        StartError: NATS cannot be reached.
        ValueError: `servers` is no URL of a NATS server.
    """
    async with connected(servers) as client:
        yield Wasmbus(
            client,
            Address(lattice, key, link_name),
            cluster,
            actor=actor,
            host_id=host_id,
            contract_id=contract_id,
            timeout=timeout,
            limits=limits,
            test_mode=test_mode,
            max_result=max_result,
        )
