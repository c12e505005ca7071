"""`grpc.health.v1.Health`: whether calls are answered now, for balancers and probes.

The rule of this file: the answer is the backend's own, the same for every service that is there.
Who watches is told of changes, and once more when the door closes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from provider.errors import BadRequest, HandlerError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from provider.doors.backend import Backend
    from provider.doors.grpc.answering import Answering, Asked

NAME = "grpc.health.v1.Health"
AGAIN = 1.0
"""Seconds between two looks for those who watch."""

_pb: Any = health_pb2
_STATUS = _pb.HealthCheckResponse


class Health:
    """Says how the provider is.

    Args:
        backend: knows.
        names: of the services that are there.
    """

    names = (NAME,)

    def __init__(self, backend: Backend, names: Callable[[], Sequence[str]]) -> None:
        self._backend = backend
        self._known = names

    @property
    def files(self) -> tuple[bytes, ...]:
        """As `Service.files`."""
        return (_pb.DESCRIPTOR.serialized_pb,)

    def methods(self, answering: Answering) -> Mapping[str, Any]:
        """As `Service.methods`."""

        async def watch(message: bytes, _asked: Asked) -> AsyncGenerator[bytes, None]:
            service, told = _service(message), None
            while True:
                ending, status = answering.stopping.is_set(), _STATUS.SERVICE_UNKNOWN
                if ending:
                    status = _STATUS.NOT_SERVING
                elif self._is_known(service):
                    status = await self._status()
                if status != told:
                    told = status
                    yield _STATUS(status=status).SerializeToString()
                if ending:
                    return
                await _either(answering.stopping, AGAIN)

        return {
            f"/{NAME}/Check": answering.unary(self._check, counted=False),
            f"/{NAME}/Watch": answering.stream(watch, counted=False),
        }

    async def _check(self, message: bytes, _asked: Asked) -> bytes:
        service = _service(message)
        if not self._is_known(service):
            raise HandlerError(f"no service is called {service!r:.200}", code=404)
        answer: bytes = _STATUS(status=await self._status()).SerializeToString()
        return answer

    def _is_known(self, service: str) -> bool:
        return not service or service in self._known()

    async def _status(self) -> Any:
        ready = (await self._backend.health()).ready
        return _STATUS.SERVING if ready else _STATUS.NOT_SERVING


def _service(message: bytes) -> str:
    try:
        service: str = _pb.HealthCheckRequest.FromString(message).service
    except DecodeError:
        raise BadRequest("the message is no grpc.health.v1.HealthCheckRequest") from None
    return service


async def _either(event: asyncio.Event, seconds: float) -> None:
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()
