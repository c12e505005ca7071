"""Streamed answers over NATS: chunks out, credit in.

The rule of this file: whoever holds a chunk holds the subject on which its stream is steered, and
nobody else does. Each chunk names it as its reply subject; it cannot be guessed. What is published
there and cannot be read changes nothing.

A NATS server answers a message that nobody takes with an empty one to its reply subject. So when a
caller has gone, the next chunk tells. One who asked for progress is told at once that the stream
was accepted, so it can be steered before its first chunk; and something every few seconds, so that
it is missed even where no chunk comes.
"""

from __future__ import annotations

import asyncio
import secrets
from time import monotonic
from typing import TYPE_CHECKING, Any

from provider.burst_client import pub, pub_asking
from provider.errors import BadRequest, CallError, Cancelled
from provider.host.call import StreamedCall
from provider.telemetry import logs
from provider.wire.address import flow_subject
from provider.wire.streamed import read_said
from provider.wire.window import BYTES, CHUNKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider.burst_client import BurstClient
    from provider.doors.nats_answers import Asked, NatsAnswers
    from provider.host.call import Call
    from provider.host.path import CallPath
    from provider.wire.advance import Advance

PAUSE = 0.01
"""Seconds after which a stream without flow control looks again whether NATS has caught up."""
AGAIN = 5.0
"""Seconds after which a caller who asked for progress is told the same again, come what may."""

_log = logs.get_logger(component="nats_door")


class _Stream:
    """Where one streamed answer goes, and how it is written."""

    __slots__ = ("again", "asked", "chunk", "end", "flow", "key", "subject", "tell", "told")

    def __init__(
        self,
        asked: Asked,
        chunk: Callable[[bytes, int], bytes],
        end: Callable[[int], bytes],
        tell: Callable[[Advance | None], bytes] | None,
        *,
        flow: bool,
    ) -> None:
        self.asked = asked
        self.chunk = chunk
        self.end = end
        self.tell = tell
        self.told: Advance | None = None
        self.again: asyncio.TimerHandle | None = None
        """When the caller is told the same again; it keeps the call."""
        self.flow = flow
        self.key = b""
        self.subject = b""


class NatsStreams:
    """The streamed answers of one door.

    Args:
        client: connected.
        path: takes the calls.
        answers: sends.
    """

    def __init__(self, client: BurstClient, path: CallPath, answers: NatsAnswers) -> None:
        self._client = client
        self._path = path
        self._answers = answers
        self._prefix = flow_subject(secrets.token_hex(8))
        self._open: dict[bytes, StreamedCall] = {}

    async def open(self) -> None:
        """Subscribe to what callers say of their streams."""
        await self._client.subscribe_directly(f"{self._prefix}.*", "", self._hear)

    def submit(
        self,
        asked: Asked,
        chunk: Callable[[bytes, int], bytes],
        end: Callable[[int], bytes],
        *arguments: Any,
        flow: bool,
        tell: Callable[[Advance | None], bytes] | None = None,
        **more: Any,
    ) -> None:
        """Take a call that asks for a stream.

        Args:
            asked: where the answer goes.
            chunk: writes a message around a chunk and its number.
            end: writes the last message, from the number of chunks.
            arguments: of `Call`, up to `deadline`.
            flow: whether chunks wait for the caller's credit.
            tell: writes a message that says how far the stream is, and first of all, with None,
                that it was accepted; None for a caller who does not want to know.
            more: keyword arguments of `Call`.
        """
        stream = _Stream(asked, chunk, end, tell, flow=flow)
        stream.key = secrets.token_hex(8).encode()
        stream.subject = self._prefix.encode() + b"." + stream.key
        call = StreamedCall(
            *arguments,
            on_chunk=self._chunk,
            on_progress=None if tell is None else self._tell,
            answer=self._end,
            context=stream,
            **more,
        )
        self._open[stream.key] = call
        self._path.submit(call)
        if tell is not None and call.open:
            self._tell_again(call)

    # --- out -------------------------------------------------------------------------------------

    def _chunk(self, call: StreamedCall, chunk: bytes, number: int) -> None:
        stream: _Stream = call.context
        if not self._send(stream, chunk, number):
            size = len(stream.chunk(chunk, number))
            self._path.streams.stop(call, self._answers.too_large(size))
        elif not stream.flow and (call.window.chunks >= CHUNKS // 2 or not call.window.open):
            self._credit_freely(call)

    def _tell_again(self, call: StreamedCall) -> None:
        """Say that it was accepted, or what was said last; so who has gone is missed."""
        if call.open:
            stream: _Stream = call.context
            self._tell(call, stream.told)
            loop = asyncio.get_running_loop()
            stream.again = loop.call_later(AGAIN, self._tell_again, call)

    def _tell(self, call: StreamedCall, told: Advance | None) -> None:
        stream: _Stream = call.context
        assert stream.tell is not None
        stream.told = told
        data = stream.tell(told)
        if len(data) <= self._answers.room():
            self._answers.send(pub_asking(stream.asked.reply, stream.subject, data))

    def _send(self, stream: _Stream, chunk: bytes, number: int) -> bool:
        """Send a chunk, unless it is too large."""
        data = stream.chunk(chunk, number)
        if len(data) > self._answers.room():
            return False
        self._answers.send(pub_asking(stream.asked.reply, stream.subject, data))
        return True

    def _credit_freely(self, call: StreamedCall) -> None:
        """For callers who give no credit: as much as NATS takes."""
        if not call.open:
            return
        if self._client.backlog > BYTES:
            asyncio.get_running_loop().call_later(PAUSE, self._credit_freely, call)
        else:
            self._path.streams.credit(call, call.window.chunks)

    def _end(self, call: Call, result: bytes | None, error: CallError | None) -> None:
        assert isinstance(call, StreamedCall)
        stream: _Stream = call.context
        self._open.pop(stream.key, None)
        call.tell()
        if stream.again is not None:
            stream.again.cancel()
        if error is None and result:  # of something that does not stream
            if self._send(stream, result, call.sent):
                call.sent += 1
            else:
                error = self._answers.too_large(len(stream.chunk(result, call.sent)))
        if error is not None:
            self._answers.error(stream.asked, error)
            return
        stream.asked.endpoint.seconds += monotonic() - call.received
        self._answers.send(pub(stream.asked.reply, stream.end(call.sent)))

    # --- in --------------------------------------------------------------------------------------

    def _hear(
        self, subject: bytes, _reply: bytes, data: bytes, _headers: dict[str, str] | None
    ) -> None:
        call = self._open.get(subject.rpartition(b".")[2])
        if call is None:
            return
        if not data:
            self._path.streams.stop(call, Cancelled("nobody takes the stream any more"))
            return
        try:
            said = read_said(data)
        except BadRequest as error:
            _log.debug("not_understood", subject=subject.decode(), reason=error.message)
            return
        if said.cancel:
            self._path.streams.stop(call, Cancelled("the caller wants no more of this stream"))
        else:
            self._path.streams.credit(call, said.credit)
