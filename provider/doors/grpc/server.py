"""The listening end of the gRPC door, in the loop of whoever opens it.

The rule of this file: who listens has said so before anybody is told to call, and who stops
finishes what has begun. What is served are `Service`s: our own are added here, others by whoever
has them, before it opens. HTTP/2 and its threads are grpc's; its handlers run in our loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, Protocol

import grpc
import grpc.aio

from provider.doors.grpc import tls
from provider.doors.grpc.answering import Answering
from provider.doors.grpc.health import Health
from provider.doors.grpc.reflection import Reflection
from provider.errors import StartError
from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provider.doors.backend import Backend
    from provider.doors.grpc.options import GrpcOptions

SPARE = 64
"""Requests that may be open beyond the calls: of health, of reflection, and to be refused."""
REFUSING = 0.25
"""Seconds for which calls are refused before connections are."""
FOR_EVER = 3e8
"""Seconds calls may take to end before `close` ends them."""
LAST_WORDS = 1.0
"""Seconds an answer has to get out at the end."""
MOST_METADATA = 16 * 1024
"""Bytes of metadata of a request."""

_log = logs.get_logger(component="grpc_door")


class Service(Protocol):
    """What can be served: one or more services of a `.proto`."""

    @property
    def names(self) -> Sequence[str]:
        """Full names of its services, such as `package.Service`."""
        ...

    @property
    def files(self) -> Sequence[bytes]:
        """Serialized `FileDescriptorProto`s for reflection, each after those it imports."""
        ...

    def methods(self, answering: Answering) -> Mapping[str, Any]:
        """Handlers, made by `answering`, by path: `/package.Service/Method`."""
        ...


class GrpcServer:
    """Listens, and ends.

    Args:
        backend: runs the calls.
        options: of the door.
    """

    def __init__(self, backend: Backend, options: GrpcOptions) -> None:
        self._options = options
        self._services: list[Service] = []
        self._server: Any = None
        self._answering = Answering(options.concurrency, tracebacks=options.tracebacks)
        self._stopped: asyncio.Task[None] | None = None
        self.address = ""
        """Where it listens, host:port."""
        self.add(Health(backend, lambda: self._names))

    @property
    def _names(self) -> list[str]:
        return [name for service in self._services for name in service.names]

    def add(self, service: Service) -> None:
        """Serve this, too.

        Args:
            service: added before `open`.
        """
        self._services.append(service)

    async def open(self) -> None:
        """Listen. When this returns, clients can connect.

        Raises:
            StartError: it cannot listen there, its certificates do not fit, or two services have
                one name.
        """
        options = self._options
        if options.reflection:
            self.add(Reflection(self._services))
        methods: dict[str, Any] = {}
        for service in self._services:
            for path, handler in service.methods(self._answering).items():
                if path in methods:
                    raise StartError(f"two services have a method {path.strip('/')}")
                methods[path] = handler
        credentials = tls.credentials(options)
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", options.max_message),
                ("grpc.max_send_message_length", options.max_message),
                ("grpc.max_allowed_incoming_connections", options.connections),
                ("grpc.max_metadata_size", MOST_METADATA),
                ("grpc.absolute_max_metadata_size", MOST_METADATA),
                ("grpc.so_reuseport", 0),  # a port that is taken is an error
            ],
            maximum_concurrent_rpcs=options.concurrency + SPARE,
        )
        self._server.add_generic_rpc_handlers((_Methods(methods),))
        host = f"[{options.host}]" if ":" in options.host else options.host
        place = f"{host}:{options.port}"
        try:
            if credentials is None:
                port = self._server.add_insecure_port(place)
            else:
                port = self._server.add_secure_port(place, credentials)
        except RuntimeError:
            why = _why_not(options.host, options.port)
            raise StartError(f"cannot listen on {place} (PROVIDER_GRPC): {why}") from None
        await self._server.start()
        self.address = f"{host}:{port}"
        _log.info("grpc_open", address=self.address, services=self._names)

    def stop_listening(self) -> None:
        """Let nobody connect or call any more; calls that have begun go on."""
        self._answering.stopping.set()
        if self._server is not None and self._stopped is None:
            self._stopped = asyncio.ensure_future(self._stop())

    async def _stop(self) -> None:
        if self._answering.busy:
            # What comes at the moment grpc stops is answered by it with CANCELLED, which tells
            # clients to give up. So most of them are told `unavailable` first, by us.
            await asyncio.sleep(REFUSING)
        await self._server.stop(FOR_EVER)

    async def settled(self) -> None:
        """Wait until all calls are answered."""
        if self._stopped is not None:
            await asyncio.shield(self._stopped)

    async def close(self) -> None:
        """End, whatever is still open; answers that are written get a moment to get out."""
        if self._server is None:
            return
        self.stop_listening()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.settled(), LAST_WORDS)
        await self._server.stop(None)
        await self.settled()


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]  # no types are shipped
    """Finds the handler of a path."""

    def __init__(self, methods: dict[str, Any]) -> None:
        self._methods = methods

    def service(self, handler_call_details: Any) -> Any:
        """The handler, None where there is no such method."""
        return self._methods.get(handler_call_details.method)


def _why_not(host: str, port: int) -> str:
    """Why nobody can listen there; grpc does not say."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as listening:
                listening.bind(address)
                listening.listen()
    except OSError as error:
        return error.strerror or str(error)
    return "it cannot be bound"
