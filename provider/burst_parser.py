"""Messages out of what a NATS connection brings, in the turn of the loop that brings it.

The rule of this file: with `burst_client`, it shortens the way of a message, and nothing else. What
is no message of a direct subscription is nats-py's to read, in the order of the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nats.aio.client import Client
from nats.protocol.parser import AWAITING_CONTROL_LINE, MAX_CONTROL_LINE_SIZE

from provider.steady_parser import SteadyParser
from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider.burst_client import BurstClient

    Take = Callable[[bytes, bytes, bytes, dict[str, str] | None], None]

NEVER_TO = (
    *(b"provider.", b"_PROVIDER.", b"wasmbus.", b"$SRV."),
    *(b"$JS.API.", b"$KV.", b"$O.", b"$SYS."),
)
"""Beginnings of subjects no answer goes to. Who asks chooses where the answer goes, and NATS lets
him choose what he may not publish to himself; on these somebody obeys what comes, or keeps it."""
USUAL = b"_INBOX."
"""How nearly all reply subjects begin; one comparison in place of eight."""
SPLIT_AT_ONCE = 64 * 1024
"""Most bytes of a read that are cut at every end of a line. Those of large messages would be copied
in vain."""

_PONG = b"PONG\r\n"
_log = logs.get_logger(component="nats")


def read_headers(block: bytes) -> dict[str, str]:
    """The headers in a block that begins with the version, and a status after it at most."""
    return Client._parse_header_lines(block.partition(b"\r\n")[2])  # noqa: SLF001  as in burst_client


def give(take: Take, subject: bytes, reply: bytes, data: bytes, headers: Any) -> None:
    """Have a message taken. One that cannot be must not end the reading of all others."""
    try:
        take(subject, reply, data, headers)
    except Exception:  # noqa: BLE001  whatever a door does with one message
        _log.exception("message_not_taken", size=len(data))


class FirstLook:
    """Stands before the stream nats-py reads a connection from.

    Messages of direct subscriptions are taken as they come in. Everything else passes, as soon as
    there is something else, and so does everything while nats-py is not done with what passed: the
    order stays that of the connection.

    Args:
        parser: takes messages.
        reader: an `asyncio.StreamReader`, whose data this looks at from now on.
    """

    def __init__(self, parser: BurstParser, reader: Any) -> None:
        self._parser = parser
        self._reader = reader
        self._pass: Callable[[bytes], None] = reader.feed_data
        self._held: list[bytes | memoryview] = []
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
            held, self._held = self._held, []
            after = parser.take_in_pieces(held, -self._wanted) if is_free else None
            data = b"".join(held) if after is None else after
        if not is_free:
            self._pass(data)
            return
        parser.heard()
        position = parser.take_messages(data)
        if position == len(data):
            return
        self._wanted = parser.missing(data, position)
        if self._wanted:
            self._held.append(memoryview(data)[position:] if position else data)
        else:
            self._pass(data[position:] if position else data)


class BurstParser(SteadyParser):
    """Cuts whole messages of direct subscriptions out of what was read; the rest is nats-py's."""

    nc: BurstClient

    @property
    def is_between_messages(self) -> bool:
        """Whether nats-py waits for no rest of anything."""
        return self.state == AWAITING_CONTROL_LINE and not self.buf

    def heard(self) -> None:
        """Whatever comes says that the server is there, also while a PONG waits behind much."""
        self.nc._pings_outstanding = 0  # noqa: SLF001  as in burst_client

    async def parse(self, data: bytes = b"") -> None:
        """What nats-py's reading task does with what it has read."""
        self.heard()
        if self.state != AWAITING_CONTROL_LINE:
            # In the middle of a large message, whose pieces nats-py collects.
            missing = self.needed + len(b"\r\n") - len(self.buf)
            await super().parse(data[:missing])
            data = data[missing:]
        elif self.buf:
            data = bytes(self.buf) + data
            self.buf.clear()
        data = data[self.take_messages(data) :]
        while data.startswith(_PONG):  # some twenty a second, among messages
            await self.nc._process_pong()  # noqa: SLF001  as in burst_client
            data = data[len(_PONG) :]
            data = data[self.take_messages(data) :]
        if data:
            await super().parse(data)

    def missing(self, data: bytes, position: int) -> int:
        """How many bytes a message of a direct subscription lacks that begins here, at least.

        Args:
            data: what `take_messages` was given.
            position: and what it returned.

        Returns:
            0 where something else begins, or may.
        """
        line_end = data.find(b"\r\n", position)
        if line_end < 0:
            start, size = data[position : position + 5], len(data) - position
            begins = any(start[: len(kind)] == kind[:size] for kind in (b"MSG ", b"HMSG "))
            return int(begins and size < MAX_CONTROL_LINE_SIZE)
        words = data[position:line_end].split(b" ")
        try:
            if words[0] in (b"MSG", b"HMSG") and words[2] in self.nc.takers:
                return max(0, line_end + 4 + int(words[-1]) - len(data))
        except (ValueError, IndexError):
            pass
        return 0

    def take_in_pieces(self, pieces: list[bytes | memoryview], after: int) -> bytes | None:
        """Take a large message without headers, which is put together once, without its line.

        Args:
            pieces: of the message, in order; each but the last is not its end.
            after: bytes in the last piece that stand behind it.

        Returns:
            These; None where it is not for this way.
        """
        line, end, _ = bytes(pieces[0][:MAX_CONTROL_LINE_SIZE]).partition(b"\r\n")
        words = line.split(b" ")
        if not end or words[0] != b"MSG" or int(words[-1]) <= SPLIT_AT_ONCE:
            return None
        last = pieces[-1]
        rest = bytes(last[len(last) - after :])
        body = [memoryview(piece) for piece in pieces]
        body[0] = body[0][len(line) + 2 :]
        cut = after + len(b"\r\n")
        while cut:
            less = min(cut, len(body[-1]))
            body[-1] = body[-1][: len(body[-1]) - less]
            cut -= less
            if cut:
                body.pop()
        client, data = self.nc, b"".join(body)
        reply = words[3] if len(words) == 5 else b""
        client.burst.begin()
        if reply.startswith(NEVER_TO):
            client.refuse_reply(reply)
        else:
            give(client.takers[words[2]], words[1], reply, data, None)
        client.burst.end()
        client.stats["in_msgs"] += 1
        client.stats["in_bytes"] += len(data)
        return rest

    def take_messages(self, data: bytes) -> int:
        """Take the whole messages at the start of the data; the position after them."""
        if not data:
            return 0
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
        client = self.nc
        takers, count = client.takers, 0
        lines = iter(pieces)
        for line, body in zip(lines, lines, strict=False):
            try:
                kind, subject, sid, reply, size = line.split(b" ")
                if kind != b"MSG" or int(size) != len(body):
                    break
                take = takers[sid]
            except (ValueError, KeyError):
                break
            count += 1
            if not reply.startswith(USUAL) and reply.startswith(NEVER_TO):
                client.refuse_reply(reply)
                continue
            try:
                take(subject, reply, body, None)
            except Exception:  # noqa: BLE001  as in `give`
                _log.exception("message_not_taken", size=len(body))
        else:
            if len(pieces) % 2 == 0:
                return len(data) - len(rest), count
        return sum(map(len, pieces[: 2 * count])) + 4 * count, count

    def _take_any(self, data: bytes, position: int) -> tuple[int, int]:
        """Take whole messages of any kind; the position after them, and how many they were."""
        client = self.nc
        taker_of, find = client.takers.get, data.find
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
                    headers = read_headers(data[block:start])
                elif words[0] != b"MSG":
                    break
            except (ValueError, IndexError):
                break
            reply = words[3] if len(words) == 5 else b""
            if reply.startswith(NEVER_TO):
                client.refuse_reply(reply)
            else:
                give(take, words[1], reply, data[start:after], headers)
            count += 1
            position = after + 2
        return position, count
