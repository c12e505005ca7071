"""Answers on their way to NATS: kept until their burst has ended, then sent with one write.

The rule of this file: nothing here waits, and nothing makes a task. What is too large for the
server is known before it is sent: a message over `max_payload` would end the connection.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import nats.errors

from provider.burst_client import BurstClient, hpub, pub
from provider.errors import BadResult, CallError, TooLarge, clip
from provider.telemetry import logs
from provider.wire.envelope import error_answer, error_headers, result_answer
from provider.wire.frames import LARGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider.host.burst import Burst
    from provider.host.call import Call

_MOST_OF_HEADERS = 2_200
"""Most bytes of the headers of an error answer; they count towards max_payload."""
_AROUND = 1_000
"""Most bytes of what stands around the message in an error answer: keys, id, class, code."""

_AROUND_RESULT = len(result_answer(b""))
"""Bytes of an answer around its result, when there is no id."""
_log = logs.get_logger(component="nats_door")


class Endpoint:
    """One subscription and its numbers, as ADR-32 counts them.

    Attributes:
        name: of the endpoint, `[A-Za-z0-9_-]+`.
        subject: subscribed to.
        queue: queue group.
        requests: messages received.
        errors: answers that were errors.
        last_error: code and text of the newest one.
        seconds: from message to answer, summed.
    """

    __slots__ = ("errors", "last_error", "name", "queue", "requests", "seconds", "subject")

    def __init__(self, name: str, subject: str, queue: str) -> None:
        self.name = name
        self.subject = subject
        self.queue = queue
        self.requests = 0
        self.errors = 0
        self.last_error = ""
        self.seconds = 0.0


class Asked:
    """What an error answer needs to find its way."""

    __slots__ = ("endpoint", "reply", "since", "write")

    def __init__(
        self,
        reply: bytes,
        endpoint: Endpoint,
        write: Callable[[CallError], bytes],
        since: float,
    ) -> None:
        self.reply = reply
        self.endpoint = endpoint
        self.write = write
        self.since = since


class NatsAnswers:
    """Writes answers, and sends those of a burst together.

    Args:
        client: connected.
        burst: at whose end they are sent.
        native: counts the answers of native calls.
        max_message: most bytes of one; 0 for whatever the server lets through.
        tracebacks: whether callers are sent the traceback of a handler that raised.
    """

    def __init__(
        self,
        client: BurstClient,
        burst: Burst,
        native: Endpoint,
        *,
        max_message: int,
        tracebacks: bool,
    ) -> None:
        self._client = client
        self._burst = burst
        self._native = native
        self._max_message = max_message
        self._tracebacks = tracebacks
        self._out: list[bytes] = []
        self._most = 0
        """Bytes of the largest answer, as it was when `_out` was empty."""
        self.unanswerable = 0
        """Answers dropped because the caller gave no reply subject."""
        self.unsent = 0
        """Answers NATS did not take."""

    @property
    def waiting(self) -> int:
        """Answers that have not been handed to NATS."""
        return len(self._out)

    def send(self, command: bytes) -> None:
        """Send a finished command with the answers of this burst."""
        if not self._out:
            self._begin()
        self._out.append(command)

    def shortly(self, call: Call, result: bytes | None, error: CallError | None) -> None:
        """Answer a native call without an id, whose context is the subject to answer on."""
        # The way of nearly all answers, the result of a native call without an id, in one step.
        reply: bytes = call.context
        if error is None and result is not None and reply:
            if not self._out:
                self._begin()
            size = len(result) + _AROUND_RESULT
            if size <= self._most:
                self._native.seconds += monotonic() - call.received
                if size > LARGE:
                    self._send_apart(b"PUB %b %d\r\n\xa1\x66result" % (reply, size), result)
                    return
                self._out.append(b"PUB %b %d\r\n\xa1\x66result%b\r\n" % (reply, size, result))
                return
        call.context = reply, b""
        self.natively(call, result, error)

    def natively(self, call: Call, result: bytes | None, error: CallError | None) -> None:
        """Answer a native call whose context is the subject to answer on, and its id."""
        reply, request_id = call.context
        if result is None or error is not None:
            asked = self._asked(call, reply, request_id)
            self.error(asked, error or BadResult("the result is missing"))
            return
        self._send_result(self._native, call, reply, result_answer(result, request_id), None)

    def by_subject(self, call: Call, result: bytes | None, error: CallError | None) -> None:
        """Answer a call that came by subject, whose context is an `Asked`."""
        asked: Asked = call.context
        if result is None or error is not None:
            self.error(asked, error or BadResult("the result is missing"))
            return
        self._send_result(asked.endpoint, call, asked.reply, result, asked)

    def _send_result(
        self, endpoint: Endpoint, call: Call, reply: bytes, data: bytes, asked: Asked | None
    ) -> None:
        size = len(data)
        if not self._out:
            self._begin()
        if size > self._most:
            asked = asked or self._asked(call, *call.context)
            self.error(asked, self.too_large(size))
            return
        endpoint.seconds += monotonic() - call.received
        if not reply:
            self.unanswerable += 1
        elif size > LARGE:
            self._send_apart(b"PUB %b %d\r\n" % (reply, size), data)
        else:
            self._out.append(pub(reply, data))

    def _asked(self, call: Call, reply: bytes, request_id: bytes) -> Asked:
        return Asked(
            reply,
            self._native,
            lambda error: error_answer(error, request_id),
            call.received,
        )

    def room(self) -> int:
        """Most bytes an answer of this burst may have."""
        if not self._out:
            self._begin()
        return self._most

    def error(self, asked: Asked, error: CallError) -> None:
        """Send an error, and count it."""
        endpoint = asked.endpoint
        endpoint.errors += 1
        if not self._tracebacks:
            error.traceback = None
        headers = error_headers(error)
        endpoint.last_error = f"{error.code}:{headers['Nats-Service-Error']}"
        endpoint.seconds += monotonic() - asked.since
        data = asked.write(error)
        limit = self._client.max_payload
        if len(data) + _MOST_OF_HEADERS > limit:
            # The author's details, a long traceback, or a server with a very small max_payload.
            short = _shortened(error, len(data), limit)
            data, headers = asked.write(short), error_headers(short)
        if asked.reply:
            if not self._out:
                self._begin()
            self._out.append(hpub(asked.reply, data, headers))
        else:
            self.unanswerable += 1

    def too_large(self, size: int) -> TooLarge:
        """What a caller is told whose answer would have so many bytes."""
        limit = self._client.max_payload
        if 0 < self._max_message < size:
            return TooLarge(
                f"the result takes {size} bytes; this provider sends {self._max_message} "
                "(PROVIDER_MAX_MESSAGE)"
            )
        return TooLarge(
            f"the result takes {size} bytes, the NATS server carries {limit} "
            "(max_payload); return less, or in parts"
        )

    def _begin(self) -> None:
        """Make sure that what comes into `_out` now is sent."""
        limit = self._client.max_payload
        self._most = min(limit, self._max_message) if self._max_message else limit
        self._burst.want()

    def flush(self) -> None:
        """Hand over what this burst has made."""
        if not self._out:
            return
        out, self._out = self._out, []
        try:
            self._client.post(out)
        except nats.errors.Error as error:
            self.unsent += len(out)
            _log.error("answers_not_sent", answers=len(out), error=repr(error))

    def _send_apart(self, head: bytes, body: bytes) -> None:
        """Send an answer that is not worth copying, after those before it."""
        self.flush()
        try:
            self._client.post_apart(head, body)
        except nats.errors.Error as error:
            self.unsent += 1
            _log.error("answers_not_sent", answers=1, error=repr(error))


def _shortened(error: CallError, size: int, limit: int) -> CallError:
    """The same error in few bytes: without traceback and details, the message cut to fit."""
    # A character takes at most six bytes in the body, as an escape in JSON, and four in the header.
    text = clip(error.message, max(1, (limit - _AROUND) // 10))
    return type(error)(
        f"{text} (the whole answer has {size} bytes, too many for max_payload {limit})",
        type=None if error.type is None else clip(error.type, 64),
        retry_after_ms=error.retry_after_ms,
        code=error.code,
    )
