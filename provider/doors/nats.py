"""The NATS door: messages become calls. Their answers are written by `nats_answers`.

The rule of this file: nothing that takes a message waits, and nothing makes a task. A message
becomes a `Call` where it is read.

Two ways to call (docs/protocol.md): a native request on the lattice subject, and by subject, where
the last tokens are the operation and the body is the argument, in CBOR or JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

import cbor2
import nats.errors

from provider.doors.nats_answers import Asked, Endpoint, NatsAnswers
from provider.doors.nats_streams import NatsStreams
from provider.doors.subscriptions import PATIENCE, settle
from provider.errors import BadRequest, CallError, TooLarge, Unauthorized
from provider.host.call import Call
from provider.telemetry import logs
from provider.wire.about import trace_of, write_about
from provider.wire.address import RPC_QUEUE, SERVICE_QUEUE, Address
from provider.wire.envelope import (
    MAX_ID,
    RequestReader,
    check_operation,
    error_answer,
    error_answer_json,
)
from provider.wire.frames import LARGE, Encoding
from provider.wire.streamed import (
    chunk_answer,
    chunk_answer_json,
    end_answer,
    end_answer_json,
    progress_answer,
    progress_answer_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.subscription import Subscription

    from provider.burst_client import BurstClient
    from provider.host.path import CallPath
    from provider.wire.values import Values

    TakeSigned = Callable[[bytes, bytes, dict[str, str] | None], None]

TIMEOUT_HEADER = "Provider-Timeout-Ms"
ID_HEADER = "Provider-Request-Id"
STREAM_HEADER, FLOW_HEADER = "Provider-Stream", "Provider-Flow"
PROGRESS_HEADER = "Provider-Progress"
_CONTENT_TYPE = "Content-Type"
_JSON = "application/json"
_CBOR_TYPES = frozenset({"application/cbor", "application/octet-stream"})
_CBOR_MAPS = frozenset(range(0xA0, 0xC0))
"""First bytes of a CBOR map; none of them begins a map or an array of MessagePack."""
_CBOR, _ABSENT = int(Encoding.CBOR), int(Encoding.ABSENT)
_log = logs.get_logger(component="nats_door")


class NatsDoor:
    """Answers calls that come over one NATS connection.

    Args:
        client: connected.
        path: takes the calls.
        address: the subjects.
        values: reads what stands around the payloads.
        max_message: most bytes of a message, either way; 0 for whatever the server lets through.
        tracebacks: whether callers are sent the traceback of a handler that raised.
        unsigned: whether calls are taken that nobody signed.
    """

    def __init__(
        self,
        client: BurstClient,
        path: CallPath,
        address: Address,
        values: Values,
        *,
        max_message: int = 0,
        tracebacks: bool = False,
        unsigned: bool = True,
    ) -> None:
        self._unsigned = unsigned
        self.take_signed: TakeSigned | None = None
        """Where what is no CBOR map goes, on a wasmCloud lattice; None where there is none."""
        self._client = client
        self._path = path
        self._values = values
        self._reader = RequestReader(values)
        self._max_message = max_message
        self._largest = max_message or sys.maxsize
        self._prefix = len(address.operations) + 1
        self.native = Endpoint("native", address.rpc, RPC_QUEUE)
        self.by_subject = Endpoint("operations", f"{address.operations}.>", SERVICE_QUEUE)
        self.answers = NatsAnswers(
            client, path.burst, self.native, max_message=max_message, tracebacks=tracebacks
        )
        self._answer = self.answers.shortly
        self.streams = NatsStreams(client, path, self.answers)
        self._subscriptions: list[Subscription] = []
        self.listens = False
        """Whether calls arrive, or will when the connection is there again."""

    async def open(self) -> None:
        """Subscribe. When this returns, calls arrive."""
        self._path.burst.at_end(self.answers.flush)
        await self.streams.open()
        await self.listen()

    async def listen(self) -> None:
        """Join the queue groups."""
        self.listens = True
        plain = self.take_signed is None and self._unsigned
        for endpoint, take in (
            (self.native, self._take_native if plain else self._take_either),
            (self.by_subject, self._take_by_subject if plain else self._take_if_allowed),
        ):
            self._subscriptions.append(
                await self._client.subscribe_directly(endpoint.subject, endpoint.queue, take)
            )
        # Without this a call sent at once may find nobody there.
        await settle(self._client)

    async def stop_listening(self) -> None:
        """Take no more messages; those already delivered are still accepted."""
        self.listens = False
        ending, self._subscriptions = self._subscriptions, []
        # A server that leaves in the middle of it takes along what it had not delivered.
        with contextlib.suppress(nats.errors.Error):
            for subscription in ending:
                await self._client.unsubscribe_directly(subscription)
            if self._client.is_connected:
                await settle(self._client)
                self._client.forget(ending)

    async def close(self) -> None:
        """Send what is left and end."""
        self.answers.flush()
        # A server that is silent or away must not keep us for long.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._client.unconfirmed.empty()
        if self._client.unconfirmed.size:
            _log.warning("answers_not_delivered", bytes=self._client.unconfirmed.size)

    def check_size(self, data: bytes) -> None:
        """Refuse a message that is larger than it may be.

        Raises:
            TooLarge: it is.
        """
        if 0 < self._max_message < len(data):
            raise TooLarge(
                f"the message has {len(data)} bytes; this provider takes {self._max_message} "
                "(PROVIDER_MAX_MESSAGE)"
            )

    # --- in --------------------------------------------------------------------------------------

    def _take_either(
        self, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> None:
        if self.take_signed is not None and (not data or data[0] not in _CBOR_MAPS):
            self.native.requests += 1
            self.take_signed(reply, data, headers)
        elif self._unsigned:
            self._take_native(subject, reply, data, headers)
        else:
            self.native.requests += 1
            self._refuse_unsigned(Asked(reply, self.native, error_answer, monotonic()))

    def _take_if_allowed(
        self, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> None:
        if self._unsigned:
            self._take_by_subject(subject, reply, data, headers)
        else:
            self.by_subject.requests += 1
            self._refuse_unsigned(Asked(reply, self.by_subject, error_answer, monotonic()))

    def _refuse_unsigned(self, asked: Asked) -> None:
        self.answers.error(
            asked, Unauthorized("calls have to be signed here (PROVIDER_STRICT); see --wasmbus")
        )

    def _take_native(
        self, _subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> None:
        now = monotonic()
        self.native.requests += 1
        path, reader = self._path, self._reader
        if data.startswith(reader.head) and not headers:
            # Nearly all calls come this way: as the one before, with another argument perhaps.
            size = reader.size
            if size < len(data) <= self._largest:
                operation, deadline = reader.operation, now + path.patience
                rest = data[size:] if len(data) <= LARGE else memoryview(data)[size:]
                path.submit(Call(operation, rest, _CBOR, deadline, self._answer, reply, "", now))
                return
        try:
            self.check_size(data)
            if not headers and (plain := reader.plain(data)) is not None:
                operation, argument = plain
                deadline = now + path.patience
                path.submit(
                    Call(operation, argument, _CBOR, deadline, self._answer, reply, "", now)
                )
                return
            operation, payload, request_id, timeout_ms, stream, flow, progress = reader.read(data)
            if timeout_ms is not None:
                deadline = path.deadline(timeout_ms / 1000, now)
            elif headers:
                deadline = path.deadline(_timeout(headers), now)
            else:
                deadline = now + path.patience
        except CallError as error:
            self.answers.error(Asked(reply, self.native, error_answer, now), error)
            return
        if payload is None:
            payload, encoding = b"", _ABSENT
        else:
            encoding = _CBOR
        about = b""
        if headers or request_id:
            about = self._about(headers, _text_of(request_id) if request_id else "")
        if stream:
            self._stream_natively(
                reply,
                request_id,
                operation,
                payload,
                encoding,
                deadline,
                flow=flow,
                progress=progress,
                received=now,
                about=about,
            )
            return
        context: bytes | tuple[bytes, bytes] = reply
        name, answer = "", self._answer
        if request_id:
            context = reply, request_id
            name, answer = _text_of(request_id), self.answers.natively
        path.submit(Call(operation, payload, encoding, deadline, answer, context, name, now, about))

    def _take_by_subject(
        self, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> None:
        now = monotonic()
        self.by_subject.requests += 1
        headers = headers or {}
        content_type = _header(headers, _CONTENT_TYPE) or ""
        content_type = content_type.partition(";")[0].strip().lower()
        is_json = content_type == _JSON
        asked = Asked(reply, self.by_subject, error_answer_json if is_json else error_answer, now)
        try:
            self.check_size(data)
            if content_type and not is_json and content_type not in _CBOR_TYPES:
                raise BadRequest(
                    f"Content-Type {content_type!r:.80} is not spoken here; send "
                    "application/cbor or application/json"
                )
            operation = check_operation(subject.decode("utf-8", "replace")[self._prefix :])
            deadline = self._path.deadline(_timeout(headers), now)
            streams = _truth(headers, STREAM_HEADER, otherwise=False)
            flow = _truth(headers, FLOW_HEADER, otherwise=True)
            progress = _truth(headers, PROGRESS_HEADER, otherwise=False)
            if streams:
                _need_reply(reply)
        except CallError as error:
            self.answers.error(asked, error)
            return
        if is_json:
            encoding = Encoding.JSON if data else Encoding.JSON_ABSENT
        else:
            encoding = Encoding.CBOR if data else Encoding.ABSENT
        name = (_header(headers, ID_HEADER) or "")[:MAX_ID]
        answer, about = self.answers.by_subject, self._about(headers, name)
        if streams:
            wrap, end, tell = (
                (chunk_answer_json, end_answer_json, progress_answer_json)
                if is_json
                else (chunk_answer, end_answer, progress_answer)
            )
            self.streams.submit(
                asked,
                wrap,
                end,
                operation,
                data,
                encoding,
                deadline,
                flow=flow,
                tell=tell if progress else None,
                id=name,
                received=now,
                about=about,
            )
            return
        self._path.submit(
            Call(operation, data, encoding, deadline, answer, asked, name, now, about)
        )

    def _stream_natively(
        self,
        reply: bytes,
        request_id: bytes,
        *arguments: Any,
        progress: bool,
        **more: Any,
    ) -> None:
        asked = Asked(
            reply,
            self.native,
            lambda error: error_answer(error, request_id),
            more["received"],
        )
        try:
            _need_reply(reply)
        except BadRequest as error:
            self.answers.error(asked, error)
            return
        self.streams.submit(
            asked,
            lambda chunk, number: chunk_answer(chunk, number, request_id),
            lambda count: end_answer(count, request_id),
            *arguments,
            tell=(lambda told: progress_answer(told, request_id)) if progress else None,
            id=_text_of(request_id) if request_id else "",
            **more,
        )

    def _about(self, headers: dict[str, str] | None, name: str) -> bytes:
        trace = trace_of(headers) if headers else {}
        if self._path.wants_context:
            return write_about(trace, id=name, headers=headers)
        return write_about(trace)


def _header(headers: dict[str, str], name: str) -> str | None:
    """The header of this name in any case: NATS tells cases apart, people do not."""
    text = headers.get(name)
    if text is None and headers:
        name = name.lower()
        for other, value in headers.items():
            if other.lower() == name:
                return value
    return text


def _truth(headers: dict[str, str], name: str, *, otherwise: bool) -> bool:
    text = _header(headers, name)
    if text is None:
        return otherwise
    if text.lower() not in ("true", "false"):
        raise BadRequest(f"{name} is {text!r:.50}; it must be true or false")
    return text.lower() == "true"


def _need_reply(reply: bytes) -> None:
    if not reply:
        raise BadRequest("a stream needs a reply subject; send a NATS request")


def _timeout(headers: dict[str, str]) -> float | None:
    text = _header(headers, TIMEOUT_HEADER)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 16 and int(text) > 0):
        raise BadRequest(f"{TIMEOUT_HEADER} is {text!r:.50}; it must be a positive integer")
    return int(text) / 1000


def _text_of(item: bytes) -> str:
    value = cbor2.loads(item)
    return value if isinstance(value, str) else value.hex()
