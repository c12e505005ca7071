"""nats-py's client, with a short way for messages that come and go in bursts.

The rule of this file: it is the only one that knows nats-py from inside, and it shortens only the
way of a message. Connecting, reconnecting, pings, headers, and everything that is not a message of
a direct subscription stay nats-py's.

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
from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from nats.protocol.parser import AWAITING_CONTROL_LINE, MAX_CONTROL_LINE_SIZE, Parser

from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from provider.host.burst import Burst

    Take = Callable[[bytes, bytes, bytes, dict[str, str] | None], None]

SPLIT_AT_ONCE = 64 * 1024
"""Most bytes of a read that are cut at every end of a line. Those of large messages would be copied
in vain."""

_VERSION_LINE = b"NATS/1.0\r\n"
_log = logs.get_logger(component="nats")


class BurstClient(Client):
    """A NATS client, some of whose subscriptions are direct.

    Args:
        burst: begun and ended around the messages of each read.
    """

    def __init__(self, burst: Burst) -> None:
        super().__init__()
        self.burst = burst
        self.takers: dict[bytes, Take] = {}
        """By subscription id, as the server writes it, what takes its messages."""
        self._ps: _BurstParser = _BurstParser(self)

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

    def post(self, commands: list[bytes]) -> None:
        """Send finished commands, see `pub` and `hpub`, as `publish` would send them.

        Raises:
            nats.errors.Error: the connection is closed, or away with too much waiting for it.
        """
        data = commands[0] if len(commands) == 1 else b"".join(commands)
        size = len(data)
        if self.is_closed:
            raise nats.errors.ConnectionClosedError
        if not self.is_connected and size + self._pending_data_size > self._max_pending_size:
            raise nats.errors.OutboundBufferLimitError
        self.stats["out_msgs"] += len(commands)
        self.stats["out_bytes"] += size
        if self.is_connected and not self._pending and isinstance(self._transport, TcpTransport):
            self._transport.write(data)  # type: ignore[no-untyped-call]  # it has no types
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

    async def _read_loop(self) -> None:
        """What nats-py reads a connection with, one after the other; ours looks first."""
        reader = getattr(self._transport, "_io_reader", None)
        if isinstance(reader, asyncio.StreamReader):  # not over a websocket
            _FirstLook(self._ps, reader)
        await super()._read_loop()

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        """What nats-py's parser calls: messages that came in pieces, those of others."""
        take = self.takers.get(b"%d" % sid)
        if take is None:
            await super()._process_msg(sid, subject, reply, data, headers)  # type: ignore[arg-type]  # it takes None
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


class _FirstLook:
    """Stands before the stream nats-py reads a connection from.

    Messages of direct subscriptions are taken as they come in. Everything else passes, as soon as
    there is something else, and so does everything while nats-py is not done with what passed: the
    order stays that of the connection.

    Args:
        parser: takes messages.
        reader: an `asyncio.StreamReader`, whose data this looks at from now on.
    """

    def __init__(self, parser: _BurstParser, reader: Any) -> None:
        self._parser = parser
        self._reader = reader
        self._pass: Callable[[bytes], None] = reader.feed_data
        self._held: list[bytes] = []
        """The beginning of a message whose end is still to come."""
        self._wanted = 0
        reader.feed_data = self._look

    def _look(self, data: bytes) -> None:
        parser = self._parser
        # Without a waiter nats-py's task is at work, or on its way to it.
        is_free = self._reader._waiter is not None and parser.is_between_messages  # noqa: SLF001
        if self._held:
            self._held.append(data)
            self._wanted -= len(data)
            if is_free and self._wanted > 0:
                return
            data = b"".join(self._held)
            self._held.clear()
        if not is_free:
            self._pass(data)
            return
        position = parser.take_messages(data)
        if position == len(data):
            return
        rest = data[position:] if position else data
        self._wanted = parser.missing(rest)
        if self._wanted:
            self._held.append(rest)
        else:
            self._pass(rest)


class _BurstParser(Parser):
    """Cuts whole messages of direct subscriptions out of what was read; the rest is nats-py's."""

    nc: BurstClient

    @property
    def is_between_messages(self) -> bool:
        """Whether nats-py waits for no rest of anything."""
        return self.state == AWAITING_CONTROL_LINE and not self.buf

    async def parse(self, data: bytes = b"") -> None:
        if self.state != AWAITING_CONTROL_LINE:
            # In the middle of a large message, whose pieces nats-py collects.
            missing = self.needed + len(b"\r\n") - len(self.buf)
            await super().parse(data[:missing])
            data = data[missing:]
        elif self.buf:
            data = bytes(self.buf) + data
            self.buf.clear()
        position = self.take_messages(data)
        if position < len(data):
            await super().parse(data[position:] if position else data)

    def missing(self, rest: bytes) -> int:
        """How many bytes a message of a direct subscription lacks that begins here, at least.

        Args:
            rest: what `take_messages` left.

        Returns:
            0 where something else begins, or may.
        """
        line_end = rest.find(b"\r\n")
        if line_end < 0:
            starts = any(rest[: len(kind)] == kind[: len(rest)] for kind in (b"MSG ", b"HMSG "))
            return int(starts and len(rest) < MAX_CONTROL_LINE_SIZE)
        words = rest[:line_end].split(b" ")
        try:
            if words[0] in (b"MSG", b"HMSG") and words[2] in self.nc.takers:
                return max(0, line_end + 4 + int(words[-1]) - len(rest))
        except (ValueError, IndexError):
            pass
        return 0

    def take_messages(self, data: bytes) -> int:
        """Take the whole messages at the start of the data; the position after them."""
        client = self.nc
        client.burst.begin()
        position = count = 0
        if len(data) <= SPLIT_AT_ONCE and data.startswith(b"MSG "):
            position, count = self._take_plain(data)
        if position < len(data):
            position, more = self._take_any(data, position)
            count += more
        client.burst.end()
        client.stats["in_msgs"] += count
        client.stats["in_bytes"] += position
        return position

    def _take_plain(self, data: bytes) -> tuple[int, int]:
        """Take messages as long as they have a reply subject and in them no end of a line.

        It is what nearly all are, and all lines and bodies are cut at once, in half the time.

        Returns:
            The position after them, and how many they were.
        """
        pieces = data.split(b"\r\n")
        rest = pieces.pop()
        takers, count = self.nc.takers, 0
        lines = iter(pieces)
        for line, body in zip(lines, lines, strict=False):
            try:
                kind, subject, sid, reply, size = line.split(b" ")
                if kind != b"MSG" or int(size) != len(body):
                    break
                take = takers[sid]
            except (ValueError, KeyError):
                break
            try:
                take(subject, reply, body, None)
            except Exception:  # noqa: BLE001  as in `_take`
                _log.exception("message_not_taken", size=len(body))
            count += 1
        else:
            if len(pieces) % 2 == 0:
                return len(data) - len(rest), count
        return sum(map(len, pieces[: 2 * count])) + 4 * count, count

    def _take_any(self, data: bytes, position: int) -> tuple[int, int]:
        """Take whole messages of any kind; the position after them, and how many they were."""
        taker_of, find = self.nc.takers.get, data.find
        end, count = len(data), 0
        while (line_end := find(b"\r\n", position)) > 0:
            # MSG <subject> <sid> [reply-to] <#bytes>
            # HMSG <subject> <sid> [reply-to] <#header bytes> <#total bytes>
            words = data[position:line_end].split(b" ")
            start = line_end + 2
            headers = None
            try:
                take, after = taker_of(words[2]), start + int(words[-1])
                if take is None or not start <= after <= end - 2:
                    break
                if words[0] == b"HMSG":
                    block, start = start, start + int(words.pop(-2))
                    headers = _read_headers(data[block:start])
                elif words[0] != b"MSG":
                    break
            except (ValueError, IndexError):
                break
            _take(take, words[1], words[3] if len(words) == 5 else b"", data[start:after], headers)
            count += 1
            position = after + 2
        return position, count
