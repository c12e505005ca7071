"""nats-py's client, with a short way for messages that come and go in bursts.

The rule of this file: with `steady_client`, it is the only one that knows nats-py from inside, and
it shortens only the way of a message. Connecting, headers, and everything that is not a message of
a direct subscription stay nats-py's.

For each message nats-py spends two regular expressions, an object, a queue and two turns of a task,
and four coroutines for each answer. Here it is the search for the end of a line and the call of a
plain function, in the turn of the loop that read it, in the order of arrival; and one write for all
answers of a burst. Measured beside a nats-py echo, that saves two thirds of its cost
(benchmarks/call.py has what remains).

The inside may move with any release. The range of nats-py is pinned to one minor version
(pyproject.toml), and tests/test_burst_client.py holds what is assumed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import nats.errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from provider.steady_client import SteadyClient
from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from provider.host.burst import Burst

    Take = Callable[[bytes, bytes, bytes, dict[str, str] | None], None]

NEVER_TO = (
    *(b"provider.", b"_PROVIDER.", b"wasmbus.", b"$SRV."),
    *(b"$JS.API.", b"$KV.", b"$O.", b"$SYS."),
)
"""Beginnings of subjects no answer goes to. Who asks chooses where the answer goes, and NATS lets
him choose what he may not publish to himself; on these somebody obeys what comes, or keeps it."""

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
        self.takers: dict[int, Take] = {}
        """By subscription id, what takes its messages."""
        self.replies_refused = 0
        """Messages dropped for the subject they wanted an answer on."""
        self._ps = _BurstParser(self)

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
        self.takers[subscription._id] = take  # noqa: SLF001  the rule of this file
        return subscription

    async def unsubscribe_directly(self, subscription: Subscription) -> None:
        """Ask for no more messages. Those on the way are taken until the server has obeyed.

        nats-py forgets the subscription at once, and would drop them; ours is not its way.
        """
        await subscription.unsubscribe()

    def post(self, commands: list[bytes]) -> None:
        """Send finished commands, see `pub` and `hpub`, as `publish` would send them.

        They are kept until the server has read them, and sent again when it has not.

        Raises:
            nats.errors.Error: the connection is closed, or too much is kept already.
        """
        data = commands[0] if len(commands) == 1 else b"".join(commands)
        size = len(data)
        if self.is_closed:
            raise nats.errors.ConnectionClosedError
        kept = self.unconfirmed.size
        if size + kept > self._max_pending_size and (kept or not self.is_connected):
            raise nats.errors.OutboundBufferLimitError
        self.unconfirmed.add(data)
        self.stats["out_msgs"] += len(commands)
        self.stats["out_bytes"] += size
        if self.is_connected and not self._pending and isinstance(self._transport, TcpTransport):
            try:  # noqa: SIM105  a context manager for each burst costs
                self._transport.write(data)  # type: ignore[no-untyped-call]  # it has no types
            except RuntimeError:
                # From uvloop, where the connection has gone and nats-py has not noticed yet. It is
                # kept, and must not end the reading of whoever made the answers.
                pass
            return
        # Behind what nats-py has still to send; it is sent after a reconnect too. And over a
        # websocket, which sends what was written only when nats-py drains it.
        self._pending.append(data)
        self._pending_data_size += size
        if self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    @property
    def backlog(self) -> int:
        """Bytes that were posted and have not left yet."""
        writer = getattr(self._transport, "_io_writer", None)
        written = 0 if writer is None else writer.transport.get_write_buffer_size()
        return int(self._pending_data_size + written)

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
        take = self.takers.get(sid)
        if take is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        fields = _read_headers(headers) if headers else None
        self.burst.begin()
        _take(take, subject, reply, data, fields)
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


def _read_headers(block: bytes) -> dict[str, str]:
    """The headers in a block that begins with the version, and a status after it at most."""
    return Client._parse_header_lines(block.partition(b"\r\n")[2])  # noqa: SLF001  the rule of this file


def _take(take: Take, subject: bytes, reply: bytes, data: bytes, headers: Any) -> None:
    try:
        take(subject, reply, data, headers)
    except Exception:  # noqa: BLE001  whatever a door does with one message
        # One message must not end the reading of all others.
        _log.exception("message_not_taken", size=len(data))


class _BurstParser(Parser):
    """Cuts whole messages of direct subscriptions out of what was read; the rest is nats-py's."""

    nc: BurstClient

    async def parse(self, data: bytes = b"") -> None:
        # Whatever comes says that the server is there, also while a PONG waits behind much else.
        self.nc._pings_outstanding = 0  # noqa: SLF001  the rule of this file
        if self.state != AWAITING_CONTROL_LINE:
            # In the middle of a large message, whose pieces nats-py collects.
            missing = self.needed + len(b"\r\n") - len(self.buf)
            await super().parse(data[:missing])
            data = data[missing:]
        elif self.buf:
            data = bytes(self.buf) + data
            self.buf.clear()
        position = self._take_messages(data)
        if position < len(data):
            await super().parse(data[position:] if position else data)

    def _take_messages(self, data: bytes) -> int:
        """Take the whole messages at the start of the data; the position after them."""
        client = self.nc
        taker_of, find = client.takers.get, data.find
        position, end, count = 0, len(data), 0
        client.burst.begin()
        while (line_end := find(b"\r\n", position)) > 0:
            # MSG <subject> <sid> [reply-to] <#bytes>
            # HMSG <subject> <sid> [reply-to] <#header bytes> <#total bytes>
            words = data[position:line_end].split(b" ")
            start = line_end + 2
            headers = None
            try:
                take, after = taker_of(int(words[2])), start + int(words[-1])
                if take is None or after + 2 > end:
                    break
                if words[0] == b"HMSG":
                    block, start = start, start + int(words.pop(-2))
                    headers = _read_headers(data[block:start])
                elif words[0] != b"MSG":
                    break
            except (ValueError, IndexError):
                break
            reply = words[3] if len(words) == 5 else b""
            if reply.startswith(NEVER_TO):
                client.refuse_reply(reply)
            else:
                _take(take, words[1], reply, data[start:after], headers)
            count += 1
            position = after + 2
        client.burst.end()
        client.stats["in_msgs"] += count
        client.stats["in_bytes"] += position
        return position
