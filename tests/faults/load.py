"""Calls in great numbers over a real NATS connection, each of them accounted for.

The rule of this file: every call has a number, and whatever comes back for a number is counted: the
right result, an error by its kind, a second answer, whether that one says the same, an answer that
came late, nothing at all. It speaks NATS itself, because a client that is comfortable would be most
of what the machine does.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import json
import random
import time

import cbor2

from tests.faults.count import LATE, REFUSALS, Count
from tests.faults.numbered import ASKED, FIRST, HEAD, NUMBER, REQUEST, RESULT, SIZE

GIVEN_UP = 10.0
"""Seconds after its deadline from which on a call counts as unanswered."""


class Load(asyncio.Protocol):
    """Keeps calls in flight on one NATS connection, which it makes again when it is lost.

    Args:
        port: of nats-server, on 127.0.0.1.
        subject: of the provider's native requests.
        timeout: seconds the provider gives each call (PROVIDER_CALL_TIMEOUT).
        in_flight: calls under way at any time; with a rate, the most of them.
        rate: calls a second, however many are under way; 0 for as fast as answers come.
        pause: seconds until a call that was refused is followed by the next one.
        numbers: where the calls get their numbers, if several loads share them.
    """

    def __init__(
        self,
        port: int,
        subject: str,
        *,
        timeout: float = 20.0,
        in_flight: int = 64,
        rate: float = 0.0,
        pause: float = 0.05,
        numbers: itertools.count[int] | None = None,
    ) -> None:
        self.count = Count()
        self.port = port
        self.timeout = timeout
        self.in_flight = in_flight
        self.rate = rate
        self.pause = pause
        self.results: set[int] = set()
        """Numbers of the calls that were answered with a result."""
        self.not_run: set[int] = set()
        """Numbers of the calls whose answer says that they were not run."""
        self.given_up: set[int] = set()
        """Numbers of the calls that count as unanswered."""
        self._written_off: set[int] = set()
        self.connections = 0
        self._numbers = itertools.count(1) if numbers is None else numbers
        self._subject = subject.encode()
        self._token = b"%08x" % random.getrandbits(32)
        self._inbox = b""
        self._open: dict[int, float] = {}
        self._resting = 0
        """Places in flight that wait after a refusal."""
        self._sending = False
        self._closing = False
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        self._ready = asyncio.Event()
        self._pongs: collections.deque[asyncio.Future[None]] = collections.deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: list[tuple[int, asyncio.Future[bool]]] = []
        self._over = False
        self._idle = asyncio.Event()

    # --- what scenarios use ----------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect, and keep connected from here on."""
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._keep_connected()))
        self._tasks.append(loop.create_task(self._give_up_on_old_ones()))
        await self._ready.wait()

    def begin(self) -> None:
        """Begin to call."""
        self._sending, self._over = True, False
        if self.rate:
            self._tasks.append(asyncio.get_running_loop().create_task(self._keep_rate()))
        else:
            self._fill()

    def stop(self) -> None:
        """Send no more."""
        self._sending, self._over = False, True
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            if not future.done():
                future.set_result(False)

    async def end(self) -> None:
        """Send no more, and wait until nothing is open: answered, cut or given up."""
        self.stop()
        while self._open:
            self._idle.clear()
            await self._idle.wait()

    async def close(self) -> None:
        """Take what is still on the way, and disconnect."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.flush(), GIVEN_UP)
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()

    async def flush(self) -> None:
        """Wait until nats-server has seen all that was sent, and sent all that it had."""
        await self._ready.wait()
        assert self._transport is not None
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self._transport.write(b"PING\r\n")
        await pong

    async def more(self, calls: int) -> bool:
        """Wait until so many more calls were taken and answered; False once the load is over."""
        if self._over:
            return False
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((self.count.taken + calls, future))
        return await future

    def write_off(self) -> None:
        """Who had the calls that are open has been killed; nobody else knows of them."""
        self.count.cut += len(self._open)
        self._written_off.update(self._open)
        self._open.clear()
        self._settle()
        if not self.rate:
            self._fill()

    @property
    def over(self) -> bool:
        """Whether no more calls are sent."""
        return self._over

    @property
    def open(self) -> int:
        """Calls that are not answered."""
        return len(self._open)

    # --- sending ---------------------------------------------------------------------------------

    def _fill(self) -> None:
        room = self.in_flight - len(self._open) - self._resting
        if room > 0 and self._sending and self._ready.is_set():
            self._send(room)

    def _send(self, count: int) -> None:
        assert self._transport is not None
        subject, inbox, pack, size = self._subject, self._inbox, REQUEST.pack, REQUEST.size
        now, open_ = time.monotonic(), self._open
        out = []
        for number in itertools.islice(self._numbers, count):
            out.append(
                b"PUB %b %b%d %d\r\n%b\r\n"
                % (subject, inbox, number, size, pack(ASKED, NUMBER, number))
            )
            open_[number] = now
        self.count.sent += count
        self._transport.write(b"".join(out))

    async def _keep_rate(self) -> None:
        began, sent = time.monotonic(), 0
        while True:
            await asyncio.sleep(0.002)  # what is due in a moment goes out together
            if not self._sending:
                return
            due = int((time.monotonic() - began) * self.rate)
            room = self.in_flight - len(self._open)
            if self._ready.is_set() and room > 0 and due > sent:
                self._send(min(due - sent, room))
            sent = due

    def _rested(self) -> None:
        self._resting -= 1
        if not self.rate:
            self._fill()

    # --- the connection --------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._transport is None:
                with contextlib.suppress(OSError):
                    await loop.create_connection(lambda: self, "127.0.0.1", self.port)
            await asyncio.sleep(0.05)  # a server that comes back tells nobody

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is of no class of asyncio
        self.connections += 1
        # Another one for each connection: what was lost with the old one cannot be answered here.
        self._inbox = b"_INBOX.%b%d." % (self._token, self.connections)
        self._rest = b""
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pong.add_done_callback(self._connected)
        self._pongs.append(pong)
        self._transport.write(
            b"CONNECT %b\r\nSUB %b* 1\r\nPING\r\n" % (json.dumps(options).encode(), self._inbox)
        )

    def _connected(self, pong: asyncio.Future[None]) -> None:
        if not pong.cancelled():
            self._ready.set()
            if not self.rate:
                self._fill()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._ready.clear()
        pongs, self._pongs = self._pongs, collections.deque()
        for pong in pongs:
            pong.cancel()
        self.count.cut += len(self._open)
        self._open.clear()
        self._settle()

    # --- answers ---------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self._rest:
            data = self._rest + data
        position, end = 0, len(data)
        inbox, open_, results, count = self._inbox, self._open, self.results, self.count
        prefix, unpack = b"MSG " + inbox, RESULT.unpack_from
        skip, worst, first = len(prefix), count.worst.get("result", 0.0), FIRST
        allowed = self.timeout + LATE
        while (line_end := data.find(b"\r\n", position)) >= 0:
            if not data.startswith(prefix, position):
                after = self._other(data, position, line_end)
                if after < 0:
                    break
                position = after
                continue
            name, _, size = data[position + skip : line_end].split(b" ")
            body = line_end + 2
            after = body + int(size) + 2
            if after > end:
                break
            number = int(name)
            sent = open_.pop(number, None)
            is_right = (
                after - body == SIZE + 2
                and data.startswith(HEAD, body)
                and unpack(data, body + len(HEAD))[0] == first + 7 * number
            )
            if sent is None:
                self._one_too_many(number, is_right=is_right)
            elif is_right:
                count.results += 1
                results.add(number)
                took = now - sent
                if took > worst:
                    worst = took
                if took > allowed:
                    self._note_late(number, took)
            else:
                count.wrong += 1
                count.note(f"call {number} was answered with {data[body : after - 2]!r}")
            position = after
        self._rest = data[position:]
        if count.results:
            count.worst["result"] = worst
        self._settle()
        if not self.rate:
            self._fill()

    def _other(self, data: bytes, position: int, line_end: int) -> int:
        """Take what is no plain message; where the next thing begins, -1 if this is not all."""
        line = data[position:line_end]
        if not line.startswith(b"HMSG "):
            self._told(line)
            return line_end + 2
        _, subject, _, headers, size = line.split(b" ")
        body = line_end + 2
        after = body + int(size) + 2
        if after > len(data):
            return -1
        number = int(subject[len(self._inbox) :])
        head, content = data[body : body + int(headers)], data[body + int(headers) : after - 2]
        self._take_error(number, head, content)
        return after

    def _take_error(self, number: int, head: bytes, content: bytes) -> None:
        count = self.count
        sent = self._open.pop(number, None)
        if sent is None:
            self._one_too_many(number, is_right=False)
            return
        if head.startswith(b"NATS/1.0 503"):
            kind, message = "no_responders", ""
        else:
            try:
                error = cbor2.loads(content)["error"]
                kind, message = error["kind"], error["message"]
            except (ValueError, KeyError, TypeError, cbor2.CBORDecodeError):
                count.wrong += 1
                count.note(f"call {number} was answered with {head + content!r}")
                return
        took = time.monotonic() - sent
        count.errors[kind] += 1
        count.worst[kind] = max(count.worst.get(kind, 0.0), took)
        if took > self.timeout + LATE:
            self._note_late(number, took)
        if kind in {"overloaded", "no_responders"} or "not run" in message:
            self.not_run.add(number)
        if kind in REFUSALS and self.pause:
            self._resting += 1
            asyncio.get_running_loop().call_later(self.pause, self._rested)

    def _told(self, line: bytes) -> None:
        if line == b"PING":
            assert self._transport is not None
            self._transport.write(b"PONG\r\n")
        elif line == b"PONG":
            pong = self._pongs.popleft()
            if not pong.done():
                pong.set_result(None)
        elif not line.startswith(b"INFO "):
            self.count.note(f"nats-server says {line!r}")

    def _one_too_many(self, number: int, *, is_right: bool) -> None:
        if number in self._written_off:
            self._written_off.discard(number)
            return
        self.count.twice += 1
        self.count.note(f"call {number} was answered though it was not open")
        if number not in self.given_up and (number in self.results) != is_right:
            self.count.wrong += 1
            self.count.note(f"call {number} was answered first one way and then another")

    def _note_late(self, number: int, took: float) -> None:
        self.count.late += 1
        self.count.note(f"call {number} was answered after {took:.3f} s")

    def _settle(self) -> None:
        """Wake who waits for so many answers, or for the last one."""
        if self._waiting:
            taken = self.count.taken
            for due in [each for each in self._waiting if each[0] <= taken]:
                self._waiting.remove(due)
                if not due[1].done():
                    due[1].set_result(True)
        if not self._open:
            self._idle.set()

    async def _give_up_on_old_ones(self) -> None:
        while True:
            await asyncio.sleep(0.25)  # fine enough for what has taken seconds too long
            allowed = self.timeout + GIVEN_UP
            long_ago = time.monotonic() - allowed
            for number, sent in list(itertools.islice(self._open.items(), self.in_flight)):
                if sent >= long_ago:
                    break
                del self._open[number]
                self.given_up.add(number)
                self.count.unanswered += 1
                self.count.note(f"call {number} was not answered within {allowed:g} s")
            self._settle()
            if not self.rate:
                self._fill()
