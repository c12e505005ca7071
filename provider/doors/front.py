"""The doors that need more than the provider has by itself: HTTP and gRPC.

The rule of this file: what they stand on is imported when one of them opens, so that nobody else
waits for it or needs it. Hosts and gateways open, drain and close them in the same way.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from provider.errors import StartError

if TYPE_CHECKING:
    from provider.doors.backend import Backend
    from provider.doors.grpc.options import GrpcOptions
    from provider.doors.grpc.server import GrpcServer
    from provider.doors.http.options import HttpOptions
    from provider.doors.http.server import HttpServer


class Front:
    """HTTP and gRPC, as far as they are wanted.

    Args:
        backend: runs the calls.
        http: of the HTTP door; None for none.
        grpc: of the gRPC door; None for none.
    """

    def __init__(
        self, backend: Backend, http: HttpOptions | None, grpc: GrpcOptions | None
    ) -> None:
        self._backend = backend
        self._http_options = http
        self._grpc_options = grpc
        self._http: HttpServer | None = None
        self._grpc: GrpcServer | None = None

    @property
    def addresses(self) -> dict[str, str]:
        """Where they listen: `http` is a URL, `grpc` is host:port; only those that are open."""
        addresses = {}
        if self._http is not None:
            addresses["http"] = self._http.url
        if self._grpc is not None:
            addresses["grpc"] = self._grpc.address
        return addresses

    async def open(self) -> None:
        """Listen.

        Raises:
            StartError: a port is taken, a file is of no use, or a package is missing.
        """
        if self._http_options is not None:
            await self._open_http(self._http_options)
        if self._grpc_options is not None:
            await self._open_grpc(self._grpc_options)

    async def _open_http(self, options: HttpOptions) -> None:
        try:
            from provider.doors.http.server import HttpServer
        except ImportError as error:
            raise StartError(
                f"the HTTP door needs more: pip install 'python-provider[http]' ({error})"
            ) from None
        self._http = HttpServer(self._backend, options)
        await self._http.open()

    async def _open_grpc(self, options: GrpcOptions) -> None:
        try:
            from provider.doors.grpc import protos
            from provider.doors.grpc.server import GrpcServer
            from provider.doors.grpc.services import OwnServices
            from provider.doors.kserve.grpc import KServe
            from provider.doors.kserve.models import BackendModels
        except ImportError as error:
            raise StartError(
                f"the gRPC door needs more: pip install 'python-provider[grpc]' ({error})"
            ) from None
        server = GrpcServer(self._backend, options)
        if options.protos:
            compiled = await asyncio.to_thread(protos.compiled, options.protos)
            server.add(OwnServices(compiled, self._backend, options.limits))
        server.add(KServe(BackendModels(self._backend, options.limits)))
        self._grpc = server
        await server.open()

    def stop_listening(self) -> None:
        """Let nobody connect any more."""
        for door in (self._http, self._grpc):
            if door is not None:
                door.stop_listening()

    async def settled(self) -> None:
        """Wait until all that has begun is answered."""
        for door in (self._http, self._grpc):
            if door is not None:
                await door.settled()

    async def close(self) -> None:
        """End, whatever is still open."""
        await asyncio.gather(
            *(door.close() for door in (self._http, self._grpc) if door is not None)
        )
