"""nats-py's client, with a short way for messages that come and go in bursts.

The rule of this file: with `burst_parser` and `steady_client`, it alone knows nats-py from inside,
and it shortens only the way of a message. Connecting, headers, and everything that is not a message
of a direct subscription stay nats-py's.

For each message nats-py spends two regular expressions, an object, a queue and two turns of a task,
and four coroutines for each answer. Here it is a line taken apart and the call of a plain function,
where the bytes came in, before nats-py's stream and its reading task see them, in the order of
arrival; and one write for all answers of a burst. Measured beside a nats-py echo, that saves two
thirds of its cost (benchmarks/call.py has what remains).

The inside may move with any release. The range of nats-py is pinned to one minor version
(pyproject.toml), and tests/test_burst_client.py holds what is assumed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import nats.errors
from nats.aio.transport import TcpTransport

from provider.burst_parser import NEVER_TO, BurstParser, FirstLook, give, read_headers
from provider.steady_client import SteadyClient
from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from provider.burst_parser import Take
    from provider.host.burst import Burst

_VERSION_LINE = b"NATS/1.0\r\n"
_log = logs.get_logger(component="nats")


class BurstClient(SteadyClient):
    """A NATS client, some of whose subscriptions are direct.

    Args:
        burst: begun and ended around the messages of each read.
    """

    # What was accepted is answered: with all that a worker has in hand when no more is taken.
    most_pending = 512 << 20

    def __init__(self, burst: Burst) -> None:
        super().__init__()
        self.burst = burst
        self.takers: dict[bytes, Take] = {}
        """By subscription id, as the server writes it, what takes its messages."""
        self.replies_refused = 0
        """Messages dropped for the subject they wanted an answer on."""
        self._ps: BurstParser = BurstParser(self)

    async def subscribe_directly(self, subject: str, queue: str, take: Take) -> Subscription:
        """Have the messages of a subject taken as they are read.

        Args:
            subject: may have wildcards.
            queue: queue group.
            take: is given subject, reply subject (empty for none), data, and headers or None. A
                plain function that keeps nobody waiting.
        """

        async def otherwise(message: Msg) -> None:
            take(message.subject.encode(), message.reply.encode(), message.data, message.headers)

        subscription = await self.subscribe(subject, queue=queue, cb=otherwise)
        self.takers[b"%d" % subscription._id] = take  # noqa: SLF001  the rule of this file
        return subscription

    async def unsubscribe_directly(self, subscription: Subscription) -> None:
        """Ask for no more messages. Those on the way are taken until the server has obeyed.

        nats-py forgets the subscription at once, and would drop them; ours is not its way.
        """
        await subscription.unsubscribe()

    def forget(self, subscriptions: Iterable[Subscription]) -> None:
        """Take nothing more for these, of which no message is on the way any more."""
        for subscription in subscriptions:
            self.takers.pop(b"%d" % subscription._id, None)  # noqa: SLF001  the rule of this file

    def post(self, commands: list[bytes]) -> None:
        """Send finished commands, see `pub` and `hpub`, as `publish` would send them.

        They are kept until the server has read them, and sent again when it has not.

        Raises:
            nats.errors.Error: the connection is closed, or too much is kept already.
        """
        self._post([commands[0] if len(commands) == 1 else b"".join(commands)], len(commands))

    def post_apart(self, head: bytes, body: bytes) -> None:
        """Send one message whose large body is not copied, as `post` does.

        Args:
            head: the line of the command, its end, and what stands before `body` in the message.
            body: the rest of the message; not changed afterwards.

        Raises:
            nats.errors.Error: as `post`.
        """
        # Views of their own: what is kept is told apart by what object it is.
        self._post([head, memoryview(body), memoryview(b"\r\n")], 1)

    def _post(self, parts: list[Any], messages: int) -> None:
        size = sum(map(len, parts))
        if self.is_closed:
            raise nats.errors.ConnectionClosedError
        kept = self.unconfirmed.size
        if size + kept > self._max_pending_size and (kept or not self.is_connected):
            raise nats.errors.OutboundBufferLimitError
        for data in parts:
            self.unconfirmed.add(data)
        self.stats["out_msgs"] += messages
        self.stats["out_bytes"] += size
        if self.is_connected and not self._pending and isinstance(self._transport, TcpTransport):
            try:
                if len(parts) == 1:
                    self._transport.write(parts[0])  # type: ignore[no-untyped-call]  # it has no types
                else:
                    self._transport.writelines(parts)  # type: ignore[no-untyped-call]  # as above
            except RuntimeError:
                # From uvloop, where the connection has gone and nats-py has not noticed yet. It is
                # kept, and must not end the reading of whoever made the answers.
                pass
            return
        # Behind what nats-py has still to send; it is sent after a reconnect too. And over a
        # websocket, which sends what was written only when nats-py drains it.
        self._pending += parts
        self._pending_data_size += size
        if self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    @property
    def backlog(self) -> int:
        """Bytes that were posted and have not left yet."""
        writer = getattr(self._transport, "_io_writer", None)
        written = 0 if writer is None else writer.transport.get_write_buffer_size()
        return int(self._pending_data_size + written)

    async def _read_loop(self) -> None:
        """What nats-py reads a connection with, one after the other; ours looks first."""
        reader = getattr(self._transport, "_io_reader", None)
        if isinstance(reader, asyncio.StreamReader):  # not over a websocket
            FirstLook(self._ps, reader)
        await super()._read_loop()

    def refuse_reply(self, reply: bytes) -> None:
        """Say that a message is dropped for the subject it wanted an answer on."""
        self.replies_refused += 1
        if self.replies_refused.bit_count() == 1:  # at the 1st, 2nd, 4th: whoever asks may go on
            _log.warning(
                "reply_subject_refused",
                reply=reply.decode("utf-8", "replace"),
                times=self.replies_refused,
            )

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        """What nats-py's parser calls: messages that came in pieces, those of others."""
        if reply and reply.startswith(NEVER_TO):
            self.refuse_reply(reply)
            return
        take = self.takers.get(b"%d" % sid)
        if take is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        fields = read_headers(headers) if headers else None
        self.burst.begin()
        give(take, subject, reply, data, fields)
        self.burst.end()


def pub(subject: bytes, data: bytes) -> bytes:
    """The command that publishes a message."""
    return b"PUB %b %d\r\n%b\r\n" % (subject, len(data), data)


def pub_asking(subject: bytes, reply: bytes, data: bytes) -> bytes:
    """The command that publishes a message with a reply subject."""
    return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(data), data)


def hpub(subject: bytes, data: bytes, headers: dict[str, str]) -> bytes:
    """The command that publishes a message with headers.

    Args:
        subject: as the server wrote it.
        data: the body.
        headers: names and values without control characters.
    """
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    block = _VERSION_LINE + lines.encode() + b"\r\n"
    size = len(block)
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (subject, size, size + len(data), block, data)
