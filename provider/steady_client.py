"""nats-py's client, made to outlive whatever happens to its connection.

The rule of this file: with `burst_client` and the two parsers, it is the only one that knows
nats-py from inside, and it ends only when it is told to. What nats-py 2.16 leaves open, each with
a test:

- A connection whose server stands still is closed in order, and that waits for a server which does
  not read. Here it is dropped.
- A try to reconnect that fails late leaves the tasks of that try behind: two read loops, and pings
  counted twice.
- A PONG after somebody stopped waiting for it ends the read loop, and the client is deaf.
- An error nobody thought of ends the reconnecting, and the client waits for ever.
- An error told by the server, as when a login expires, closes the client for good.
- A server that announces that it is leaving (lame duck) is waited for until it hangs up.
- A message whose subjects or headers are no UTF-8 ends the read loop, and lines are read otherwise
  than a server writes them (steady_parser.py). Whoever may publish can send such messages.
- What was written and not read yet by the server is lost with the connection (unconfirmed.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import nats.errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from nats.protocol import command
from nats.protocol.parser import PERMISSIONS_ERR, STALE_CONNECTION

from provider.denied import Denials
from provider.steady_parser import SteadyParser
from provider.telemetry import logs
from provider.unconfirmed import MOST_AGAIN, Unconfirmed

if TYPE_CHECKING:
    from nats.aio.client import Srv

    from provider.unconfirmed import Asked

AGAIN = 1.0
"""Seconds before reconnecting begins anew after an error that nobody thought of."""
GOODBYE = 2
"""Seconds a server has to take what is left when the connection is closed or moved."""
MOVING = 1.0
"""Seconds within which all providers of a server that is leaving move to another."""
REACH = 2
"""Seconds another server has to answer."""
_PING = b"PING\r\n"
_FIRM = ("authorization", "authentication", "expired", "revoked", "connections")
"""Words of errors that are not about what we sent."""

_log = logs.get_logger(component="nats")


@dataclass
class ConnectionNumbers:
    """What became of a connection so far.

    Attributes:
        lost: times it was lost.
        tries: to connect that failed.
        sent_again: bytes that were sent a second time, since they may not have arrived.
        given_up: bytes that were not, because the server refused something among them.
        unreadable: messages dropped because their line or their headers cannot be read.
        missed: messages dropped because they came faster than they were handled, by the subject
            subscribed to.
    """

    lost: int = 0
    tries: int = 0
    sent_again: int = 0
    given_up: int = 0
    unreadable: int = 0
    missed: dict[str, int] = field(default_factory=dict)

    def as_map(self) -> dict[str, Any]:
        """All of it, by name."""
        return asdict(self)


class SteadyClient(Client):
    """A NATS client that stays.

    Attributes:
        most_pending: bytes that wait to be sent, or to be read by the server, at most.
        unconfirmed: what was posted and the server has not been heard to have read.
        denials: of the server, for whoever waits on what it denies.
        numbers: counted for whoever watches.
        why: the connection was lost the last time.
    """

    most_pending = 64 << 20

    def __init__(self) -> None:
        super().__init__()
        self._ps = SteadyParser(self)
        self.unconfirmed = Unconfirmed(self._ping_behind)
        self.denials = Denials(lambda: bytes(self._inbox_prefix).decode())
        self.numbers = ConnectionNumbers()
        self.why = ""
        self._moving = False
        self._next: Srv | None = None
        """Tried before all others."""
        self._left: Srv | None = None
        """Not tried first, since it was lost."""

    async def close(self) -> None:
        """End. A server that does not read does not keep us."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE):
                await super().close()
                return
        self._drop_connection()
        if self._closed_cb is not None:
            await self._closed_cb()

    async def leave_lame_duck(self) -> bool:
        """Move to another server of the cluster, if there is one that answers; whether we did.

        The server is told to send nothing more, and what it had sent has been taken, before the
        connection is left; so nothing of it is lost by moving.
        """
        if self._moving:
            return False
        self._moving = True
        times = self.stats["reconnects"]
        try:
            other = await self._another_that_answers()
            if other is None:
                return False
            await asyncio.sleep(random.uniform(0, MOVING))  # noqa: S311  no secret hangs on it
            if not self.is_connected or self.stats["reconnects"] != times:
                return False  # it hung up meanwhile, and this is another connection
            assert self._transport is not None
            # nats-py keeps them in mind and subscribes again on the other server.
            with contextlib.suppress(nats.errors.Error, RuntimeError):  # it has just gone
                for number in self._subs:
                    self._transport.write(command.unsub_cmd(number, 0))
                await self.flush(GOODBYE)
            self._next, self.why = other, "the server leaves"
            await self.force_reconnect()
        finally:
            self._moving = False
        return True

    async def _another_that_answers(self) -> Srv | None:
        here = self._current_server
        for server in list(self._server_pool):
            if here is None or server.uri.netloc == here.uri.netloc:
                continue
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(REACH):
                    _, writer = await asyncio.open_connection(server.uri.hostname, server.uri.port)
                writer.close()
                return server
        return None

    # --- unconfirmed -----------------------------------------------------------------------------

    def _ping_behind(self, asked: Asked) -> bool:
        if not self.is_connected or self._transport is None:
            return False
        if self._pending:
            # A PING goes past what nats-py has still to write.
            asyncio.get_running_loop().call_later(0.01, self.unconfirmed.connected)
            return False
        try:
            self._transport.write(_PING)
        except RuntimeError:
            return False  # it has just gone
        self._pongs.append(asked)  # type: ignore[arg-type]  # it has what is asked of a future there
        if not isinstance(self._transport, TcpTransport):
            # A websocket sends what was written when nats-py drains it.
            self._pending_data_size += len(_PING)
            if self._flush_queue is not None and self._flush_queue.empty():
                self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())
        return True

    def _take_back(self) -> None:
        """Have what the connection took along sent again, before what waits already."""
        again = self.unconfirmed.take_back(self._pending)
        if not again:
            return
        self.unconfirmed.again += 1
        if self.unconfirmed.again > MOST_AGAIN:
            self._give_up_unconfirmed()
            return
        size = sum(map(len, again))
        self._pending[:0] = again
        self._pending_data_size = sum(map(len, self._pending))
        self.numbers.sent_again += size
        _log.warning("answers_sent_again", bytes=size)

    def _give_up_unconfirmed(self) -> None:
        _log.error("answers_given_up", bytes=self.unconfirmed.size)
        self.numbers.given_up += self.unconfirmed.size
        self.unconfirmed.forget()
        self._pending.clear()
        self._pending_data_size = 0

    # --- what nats-py calls ----------------------------------------------------------------------

    async def _attempt_reconnect(self) -> None:
        self._drop_connection()
        self._left = self._current_server
        while True:
            try:
                await super()._attempt_reconnect()
                break
            except Exception:  # noqa: BLE001  whatever it is, being deaf for ever is worse
                if self.is_closed:
                    return
                _log.exception("nats_reconnecting_failed")
            self._status = Client.RECONNECTING
            await asyncio.sleep(AGAIN)
        if self.is_connected:
            self.denials.forget()
            self.unconfirmed.connected()

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        if not self.is_connected:
            # nats-py would write it to a connection that is gone, and fail before it has told of
            # the end.
            self._pending.clear()
            self._pending_data_size = 0
        await super()._close(status, do_cbs)

    async def _select_next_server(self) -> None:
        pool = self._server_pool
        if self._left is not None and len(pool) > 1 and pool[0] is self._left:
            # One that stands still would be waited for.
            pool.append(pool.pop(0))
        self._left = None
        if self._next in self._server_pool:
            self._server_pool.remove(self._next)
            self._server_pool.insert(0, self._next)
            self._next.last_attempt = None  # nothing to wait for
        self._next = None
        await super()._select_next_server()

    async def _connect_to_server(self, s: Srv) -> None:
        current = asyncio.current_task()
        for task in (self._reading_task, self._ping_interval_task, self._flusher_task):
            if task is not None and task is not current:
                task.cancel()
        self._drop_connection()
        self._take_back()
        await super()._connect_to_server(s)

    async def _process_msg(self, *message: Any) -> None:
        # Whatever comes says that the server is there, also while a PONG waits behind much else.
        self._pings_outstanding = 0
        try:
            await super()._process_msg(*message)
        except (UnicodeDecodeError, IndexError) as error:
            self.numbers.unreadable += 1
            if self.numbers.unreadable.bit_count() == 1:  # at the 1st, 2nd, 4th and so on
                _log.warning("message_unreadable", error=str(error), times=self.numbers.unreadable)

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            # Whoever asked no longer waits.
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _process_err(self, err_msg: str) -> None:
        if STALE_CONNECTION in err_msg or PERMISSIONS_ERR in err_msg:
            self.denials.tell(err_msg)
            await super()._process_err(err_msg)
            return
        if not any(word in err_msg for word in _FIRM):
            # It was about something we sent, which must not be sent again and again.
            self._give_up_unconfirmed()
        error = nats.errors.Error("nats: " + err_msg.strip("'"))
        await self._error_cb(error)
        await self._process_op_err(error)

    async def _process_op_err(self, e: Exception) -> None:
        if self.is_connected:
            self.why = str(e) or type(e).__name__
        await super()._process_op_err(e)

    def _drop_connection(self) -> None:
        writer: Any = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
