"""The listening end of the HTTP door, in the loop of whoever opens it.

The rule of this file: who listens has said so before anybody is told to call, and who stops
finishes what has begun. uvicorn reads and writes HTTP; its own way of living, with signals and a
process to itself, is not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from email.utils import formatdate
from typing import TYPE_CHECKING

from uvicorn.config import Config
from uvicorn.server import ServerState

from provider.doors.http.app import Door
from provider.doors.http.connection import Connection, Phase
from provider.errors import CallError, StartError, Unavailable
from provider.telemetry import logs

if TYPE_CHECKING:
    from provider.doors.backend import Backend
    from provider.doors.http.options import HttpOptions

TICK = 1.0
"""Seconds between two looks at the connections."""
SPARE_DESCRIPTORS = 64
"""Files and sockets left to others."""
LAST_WORDS = 1.0
"""Seconds an answer has to get out at the end."""

_log = logs.get_logger(component="http_door")


class HttpServer:
    """Listens, and ends.

    Args:
        backend: runs the calls.
        options: of the door.
    """

    def __init__(self, backend: Backend, options: HttpOptions) -> None:
        self._options = options
        self.door = Door(backend, options)
        self._config = Config(
            self.door,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws="none",
        )
        self._config.load()
        self._state = ServerState()
        self._most = options.connections
        self._servers: list[asyncio.Server] = []
        self._left = asyncio.Event()
        """A connection has ended."""
        self._looking: asyncio.Task[None] | None = None
        self.url = ""
        """Where it listens."""

    async def open(self) -> None:
        """Listen. When this returns, clients can connect.

        Raises:
            StartError: it cannot listen there.
        """
        self._limit_connections()
        loop = asyncio.get_running_loop()
        self._renew_headers()
        place = f"{self._options.host}:{self._options.port}"
        try:
            for listening in await _listen(self._options.host, self._options.port):
                self._servers.append(
                    await loop.create_server(self._connection, sock=listening, backlog=2048)
                )
        except OSError as error:
            raise StartError(
                f"cannot listen on {place} (PROVIDER_HTTP): {error.strerror or error}"
            ) from None
        host, port = self._servers[0].sockets[0].getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._looking = asyncio.create_task(self._look())
        _log.info("http_open", url=self.url)

    def stop_listening(self) -> None:
        """Let nobody connect any more, and end connections that wait for a request."""
        for server in self._servers:
            server.close()
        for connection in self._connections():
            connection.shutdown()

    async def settled(self) -> None:
        """Wait until all requests are answered."""
        while self._state.tasks:
            await asyncio.wait(set(self._state.tasks))

    async def close(self) -> None:
        """End, whatever is still open; answers that are written get a moment to get out."""
        self.stop_listening()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        for connection in self._connections():
            connection.end(Unavailable("the provider is stopping; call another instance"))
        tasks = set(self._state.tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._empty(), LAST_WORDS)
        for connection in self._connections():
            connection.transport.abort()

    async def _empty(self) -> None:
        while self._state.connections:
            self._left.clear()
            await self._left.wait()

    # --- connections -----------------------------------------------------------------------------

    def _connection(self) -> Connection:
        loop = asyncio.get_running_loop()
        return Connection(
            self._config, self._state, loop, self._options, self._admit, self._left.set
        )

    def _connections(self) -> list[Connection]:
        return [each for each in self._state.connections if isinstance(each, Connection)]

    def _admit(self, newest: Connection) -> CallError | None:
        """Make room for a connection, or say why there is none."""
        if len(self._state.connections) <= self._most:
            return None
        idle = [
            each
            for each in self._connections()
            if each is not newest and each.phase is Phase.IDLE and not each.transport.is_closing()
        ]
        if idle:
            min(idle, key=lambda each: each.since).transport.close()
            return None
        if len(self._state.connections) > self._most + SPARE_DESCRIPTORS // 2:
            newest.transport.abort()  # there is not even room to say so
        return Unavailable(
            f"{self._most} connections are open (PROVIDER_HTTP_CONNECTIONS)", retry_after_ms=1000
        )

    def _limit_connections(self) -> None:
        """Keep to the descriptors there are, so that there is always one to say no with."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            return
        room = max(1, soft - SPARE_DESCRIPTORS) if soft > 2 * SPARE_DESCRIPTORS else soft // 2
        if room < self._most:
            _log.warning("fewer_connections", wanted=self._most, connections=room, descriptors=soft)
            self._most = room

    async def _look(self) -> None:
        options = self._options
        tick = min(TICK, options.read_timeout / 4, options.idle_timeout / 4)
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.01, tick))
            self._renew_headers()
            now = loop.time()
            for connection in self._connections():
                with contextlib.suppress(Exception):  # one that is ending must not keep the others
                    connection.look(now)

    def _renew_headers(self) -> None:
        self._state.default_headers = [
            (b"date", formatdate(usegmt=True).encode()),
            (b"x-content-type-options", b"nosniff"),
        ]


async def _listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that are bound to all addresses of this name, on one port."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
    )
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listening = socket.socket(family, kind, protocol)
            sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            chosen = sockets[0].getsockname()[1] if len(sockets) > 1 and not port else port
            listening.bind((address[0], chosen, *address[2:]))
            listening.setblocking(False)
    except BaseException:  # cancelled too: none is left open
        for listening in sockets:
            listening.close()
        raise
    return sockets
