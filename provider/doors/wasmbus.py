"""The wasmbus door: calls that a wasmCloud host signed, and what the host asks and tells.

The rule of this file: nothing a message says counts before its claims were checked, and every
message with a reply subject is answered once, in the words of the original provider. What is costly
or waits (signatures, the object store) is done elsewhere; here is the order of the steps:

    take -> (chunks) -> Examiner -> check -> CallPath -> answer -> (chunks) -> sent with its burst

Invocations come in on the native subject, so the NATS door reads them and hands them over. Links,
health and shutdown have subjects of their own and no queue group: every instance hears them.
Sources: wasmbus-rpc 0.15 (`provider.rs`, `rpc_client.rs`), wasmCloud 0.82 (`host/src/wasmbus`).
"""

from __future__ import annotations

import asyncio
import time
from time import monotonic
from typing import TYPE_CHECKING, Any

from provider.burst_client import pub
from provider.doors.subscriptions import bounded, drain, settle
from provider.errors import BadRequest, BadResult, CallError, Overloaded, TooLarge, Unauthorized
from provider.host.call import Call
from provider.lattice import subjects
from provider.lattice.chunks import ChunkStore
from provider.lattice.claims import Identity, check, check_expiry, parse
from provider.lattice.examiner import Examined, Examiner
from provider.lattice.links import Links, matches
from provider.lattice.replays import Replays
from provider.telemetry import logs
from provider.wire.about import trace_of, write_about
from provider.wire.envelope import check_operation
from provider.wire.frames import Encoding
from provider.wire.wasmbus import (
    CHUNK_ABOVE,
    HealthCheckResponse,
    InvocationResponse,
    decode_invocation,
    decode_link,
    decode_shutdown,
    encode_health,
    encode_response,
)
from provider.wire.wasmbus_payload import encode_result, error_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from provider.burst_client import BurstClient
    from provider.doors.nats import NatsDoor
    from provider.host.path import CallPath
    from provider.lattice.membership import Membership
    from provider.wire.address import Address
    from provider.wire.values import Values

CHUNK_TIMEOUT = 15.0
"""Seconds the object store has for one argument or result; as long as Elixir hosts wait in all."""
_CBOR, _ABSENT = int(Encoding.CBOR), int(Encoding.ABSENT)
_log = logs.get_logger(component="wasmbus_door")


class WasmbusDoor:
    """Answers signed calls, and the host.

    Args:
        client: connected.
        door: reads the native subject, sends what is answered, counts.
        path: takes the calls.
        address: the subjects.
        membership: whose calls count.
        values: limits of arguments.
        queue_calls: invocations that may wait for their checks.
        queue_bytes: of their arguments, together and each.
        tracebacks: whether callers are sent the traceback of a function that raised.
        status: says whether calls are served (`ready`) and why not (`reason`).
        shutdown: told that the host wants us to leave, and on which subject it waits for word.
    """

    def __init__(
        self,
        client: BurstClient,
        door: NatsDoor,
        path: CallPath,
        address: Address,
        membership: Membership,
        values: Values,
        *,
        queue_calls: int,
        queue_bytes: int,
        status: Callable[[], Awaitable[dict[str, Any]]],
        shutdown: Callable[[str], None],
        tracebacks: bool = False,
    ) -> None:
        self._client = client
        self._door = door
        self._path = path
        self._address = address
        self._membership = membership
        self._identity = Identity(address.key, membership.host_id, membership.cluster_issuers)
        self._status = status
        self._shutdown = shutdown
        self._queue_calls = queue_calls
        self._queue_bytes = queue_bytes
        self._tracebacks = tracebacks
        self.links = Links(membership.links)
        self._replays = Replays() if membership.strict else None
        self._store = ChunkStore(client, address.lattice, most=queue_bytes)
        self._examiner = Examiner(values)
        self._subscriptions: list[Subscription] = []
        self._open = 0
        self._bytes = 0
        self._settled = asyncio.Event()
        self._settled.set()
        self._tasks: set[asyncio.Task[None]] = set()
        door.take_signed = self._take

    async def open(self) -> None:
        """Listen to the host. Before the NATS door opens, so that a call finds its link."""
        self._path.burst.at_end(self._examiner.flush)
        for subject, heard in (
            (subjects.linkdefs_put(self._address), self._on_put),
            (subjects.linkdefs_del(self._address), self._on_del),
            (subjects.health(self._address), self._on_health),
            (subjects.shutdown(self._address), self._on_shutdown),
        ):
            self._subscriptions.append(await bounded(self._client, subject, heard))
        await settle(self._client)

    async def close(self) -> None:
        """Stop listening to the host."""
        await drain(self._client, self._subscriptions)

    async def settled(self) -> None:
        """Wait until every invocation that came is on the path or answered, and nothing is left
        to be put into the object store.
        """
        while self._open or self._tasks:
            await self._settled.wait()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self) -> None:
        """End what is left: no invocation is examined any more."""
        self._examiner.close()
        for task in self._tasks:
            task.cancel()

    # --- in --------------------------------------------------------------------------------------

    def _take(self, reply: bytes, data: bytes, headers: dict[str, str] | None) -> None:
        now = monotonic()
        asked = _Asked(reply, now)
        try:
            self._door.check_size(data)
            invocation = decode_invocation(data)
            asked.id = invocation.id
            asked.trace = trace_of(headers or {}) or trace_of(invocation.trace_context)
            self._admit(asked, max(len(invocation.msg), invocation.content_length or 0))
            token = parse(invocation.encoded_claims)
            check_expiry(token, time.time())
        except CallError as error:
            self._refuse(asked, error)
            return
        item = Examined(invocation, token, invocation.msg, asked.examined)
        if invocation.is_chunked:
            item.argument = b""
            asked.then = self._chunked
        else:
            asked.then = self._checked
        self._examiner.add(item)
        if not self._path.burst.open:
            self._path.burst.want()

    def _admit(self, asked: _Asked, size: int) -> None:
        if size > self._queue_bytes:
            raise TooLarge(
                f"the argument has {size} bytes; the whole queue holds {self._queue_bytes} "
                "(PROVIDER_QUEUE_BYTES)"
            )
        if self._open >= self._queue_calls or self._bytes + size > self._queue_bytes:
            raise Overloaded(
                f"{self._open} invocations of {self._bytes} bytes wait for their checks already "
                "(PROVIDER_QUEUE_CALLS, PROVIDER_QUEUE_BYTES)"
            )
        self._open += 1
        self._bytes += size
        asked.size = size
        self._settled.clear()

    def _leave(self, asked: _Asked) -> None:
        if asked.size >= 0:
            self._open -= 1
            self._bytes -= asked.size
            asked.size = -1
            if not self._open:
                self._settled.set()

    def _chunked(self, asked: _Asked, item: Examined) -> None:
        # A stranger must not make us read the object store. So whoever signed has to be somebody
        # before we do; whether this is what was signed is told by the hash of the whole argument.
        try:
            if not item.evidence.signature_valid:
                raise Unauthorized("Invocation claims signature invalid")
            if item.token.claims.iss not in self._identity.cluster_issuers:
                raise Unauthorized("Issuer of this invocation is not in list of cluster issuers")
        except CallError as error:
            self._refuse(asked, error)
            return
        self._start(self._fetch(asked, item))

    async def _fetch(self, asked: _Asked, item: Examined) -> None:
        invocation = item.invocation
        name, size = subjects.request_object(invocation.id), invocation.content_length or 0
        try:
            argument = await self._store.get(name, size, CHUNK_TIMEOUT)
        except CallError as error:
            self._refuse(asked, error)
            return
        whole: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def checked(asked: _Asked, item: Examined) -> None:
            accepted = self._checked(asked, item)
            if not whole.done():
                whole.set_result(accepted)

        asked.then = checked
        self._examiner.add(Examined(invocation, item.token, argument, asked.examined))
        self._examiner.flush()
        # Only what was accepted is ours to delete: the id of another's call is easily named.
        if await whole:
            await self._store.delete(name)

    def _checked(self, asked: _Asked, item: Examined) -> bool:
        invocation, now = item.invocation, time.time()
        try:
            check(
                item.token,
                item.evidence,
                invocation,
                identity=self._identity,
                linked=self.links,
                now=now,
            )
            if self._replays is not None:
                self._check_strictly(item, now)
            if item.problem is not None:
                raise item.problem
            if invocation.operation:  # the original takes one without a name
                check_operation(invocation.operation)
        except CallError as error:
            self._refuse(asked, error)
            return False
        self._leave(asked)
        payload, encoding = item.payload, _CBOR
        if payload is None:
            payload, encoding = b"", _ABSENT
        about = write_about(asked.trace, invocation.origin.public_key)
        self._path.submit(
            Call(
                invocation.operation,
                payload,
                encoding,
                self._path.deadline(None, asked.since),
                self._answer,
                asked,
                asked.id,
                asked.since,
                about,
            )
        )
        return True

    def _check_strictly(self, item: Examined, now: float) -> None:
        assert self._replays is not None
        invocation = item.invocation
        link = self.links.get(invocation.origin.public_key)
        if link is None or not matches(link, invocation.target):
            raise Unauthorized(
                f"the link of actor '{invocation.origin.public_key}' is not for contract "
                f"'{invocation.target.contract_id}' and link name '{invocation.target.link_name}' "
                "(PROVIDER_STRICT)"
            )
        self._replays.check(item.token, invocation, now)

    # --- out -------------------------------------------------------------------------------------

    def _answer(self, call: Call, result: bytes | None, error: CallError | None) -> None:
        asked: _Asked = call.context
        if error is None and result is None:
            error = BadResult("the result is missing")
        if error is not None:
            if not self._tracebacks:
                error.traceback = None
            self._respond_error(asked, error, error_text(error))
            return
        message = encode_result(result or b"")
        if len(message) > CHUNK_ABOVE and asked.reply:
            self._start(self._respond_in_chunks(asked, message))
            return
        self._respond(
            asked,
            InvocationResponse(msg=message, invocation_id=asked.id, content_length=len(message)),
        )

    async def _respond_in_chunks(self, asked: _Asked, message: bytes) -> None:
        size = len(message)
        try:
            await self._store.put(subjects.response_object(asked.id), message, CHUNK_TIMEOUT)
        except CallError as error:
            self._respond_error(asked, error, error.message)
            return
        self._respond(asked, InvocationResponse(invocation_id=asked.id, content_length=size))

    def _refuse(self, asked: _Asked, error: CallError) -> None:
        """Answer what never became a call."""
        self._leave(asked)
        _log.debug("invocation_refused", id=asked.id, kind=error.kind, reason=error.message)
        self._respond_error(asked, error, error.message)

    def _respond_error(self, asked: _Asked, error: CallError, text: str) -> None:
        endpoint = self._door.native
        endpoint.errors += 1
        endpoint.last_error = f"{error.code}:{error.message[:200]}"
        self._respond(
            asked, InvocationResponse(invocation_id=asked.id, error=text, content_length=0)
        )

    def _respond(self, asked: _Asked, response: InvocationResponse) -> None:
        self._door.native.seconds += monotonic() - asked.since
        if not asked.reply:
            self._door.answers.unanswerable += 1
            return
        data = encode_response(response)
        limit = self._client.max_payload
        if len(data) > limit:
            text = f"the answer takes {len(data)} bytes, the NATS server carries {limit}"
            data = encode_response(
                InvocationResponse(invocation_id=asked.id, error=text, content_length=0)
            )
        self._door.answers.send(pub(asked.reply, data))

    # --- the host --------------------------------------------------------------------------------

    async def _on_put(self, message: Msg) -> None:
        try:
            link = decode_link(message.data, json=self._membership.test_mode)
        except BadRequest as error:
            _log.warning("link_not_read", reason=error.message)
            return
        put = self.links.put(link)
        log = _log.info if put.stored else _log.warning
        log("link_put", actor=link.actor_id, stored=put.stored, note=put.note or None)

    async def _on_del(self, message: Msg) -> None:
        try:
            link = decode_link(message.data, json=self._membership.test_mode)
        except BadRequest as error:
            _log.warning("link_not_read", reason=error.message)
            return
        _log.info("link_deleted", actor=link.actor_id, known=self.links.delete(link.actor_id))

    async def _on_health(self, message: Msg) -> None:
        if not message.reply:
            return
        status = await self._status()
        healthy = bool(status["healthy"])
        response = HealthCheckResponse(
            healthy=healthy, message=None if healthy else str(status["reason"])
        )
        await message.respond(encode_health(response, json=self._membership.test_mode))

    async def _on_shutdown(self, message: Msg) -> None:
        ours = self._membership.host_id
        if not message.reply or not ours:
            return
        host = decode_shutdown(message.data)
        if host not in ("", ours):
            return
        if not host:
            if self._membership.strict:
                _log.warning("shutdown_ignored", reason="it names no host (PROVIDER_STRICT)")
                return
            _log.warning("shutdown_names_no_host", hint="hosts from 0.59 on name themselves")
        self._shutdown(message.reply)

    # --- tasks -----------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("invocation_lost", error=repr(error))


class _Asked:
    """What an answer needs to find its way."""

    __slots__ = ("id", "reply", "since", "size", "then", "trace")

    def __init__(self, reply: bytes, since: float) -> None:
        self.reply = reply
        self.since = since
        self.id = ""
        self.size = -1
        """Bytes it holds of those that may wait, -1 for none."""
        self.trace: dict[str, str] = {}
        self.then: Callable[[_Asked, Examined], object]

    def examined(self, item: Examined) -> None:
        """Go on with the next step."""
        self.then(self, item)
