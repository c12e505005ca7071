"""`grpc.reflection`: which services there are, and what their messages are made of.

The rule of this file: what is told is of a pool of its own, made of the files of the services, so
that two programs in one process know nothing of each other. The versions v1 and v1alpha are the
same bytes under two names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection, reflection_pb2

from provider.errors import BadRequest, StartError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

    from provider.doors.grpc.answering import Answering, Asked
    from provider.doors.grpc.server import Service

ALPHA, NEWER = "grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection"
METHOD = "ServerReflectionInfo"

_pb: Any = reflection_pb2
_reflection: Any = reflection


class Reflection:
    """Says what is served.

    Args:
        services: that are served beside it; all of them, when `methods` is asked.
    """

    names = (ALPHA, NEWER)

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services

    @property
    def files(self) -> tuple[bytes, ...]:
        """As `Service.files`."""
        alpha: bytes = _pb.DESCRIPTOR.serialized_pb
        return (alpha, _newer(alpha))

    def methods(self, answering: Answering) -> Mapping[str, Any]:
        """As `Service.methods`.

        Raises:
            StartError: two files define one thing in two ways.
        """
        pool = _pool(self._services)
        names = [name for service in self._services for name in service.names]
        servicer = _reflection.aio.ReflectionServicer(names, pool=pool)

        async def tell(
            messages: AsyncIterator[bytes], _asked: Asked
        ) -> AsyncGenerator[bytes, None]:
            async for answer in servicer.ServerReflectionInfo(_read(messages), None):
                yield answer.SerializeToString()

        return {
            f"/{name}/{METHOD}": answering.duplex(tell, counted=False) for name in (ALPHA, NEWER)
        }


async def _read(messages: AsyncIterator[bytes]) -> AsyncGenerator[Any, None]:
    async for message in messages:
        try:
            yield _pb.ServerReflectionRequest.FromString(message)
        except DecodeError:
            raise BadRequest("the message is no ServerReflectionRequest") from None


def _newer(alpha: bytes) -> bytes:
    """The file of v1, made of that of v1alpha."""
    file = descriptor_pb2.FileDescriptorProto.FromString(alpha)
    file.name = file.name.replace("v1alpha", "v1")
    file.package = file.package.replace("v1alpha", "v1")
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace("v1alpha", "v1")
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace("v1alpha", "v1")
            method.output_type = method.output_type.replace("v1alpha", "v1")
    newer: bytes = file.SerializeToString()
    return newer


def _pool(services: Sequence[Service]) -> Any:
    pool = descriptor_pool.DescriptorPool()
    for service in services:
        for file in service.files:
            try:
                pool.AddSerializedFile(file)
            except TypeError as error:
                raise StartError(f"the files of services do not fit together: {error}") from None
    return pool
