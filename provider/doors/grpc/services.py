"""Services of the user's own `.proto`: each method is an operation.

The rule of this file: a method is called by its full name, `package.Service.Method`, or by its bare
name where the program declares only that. One that is called as a stream is a stream, whatever the
function is; the worker sees no protobuf.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from provider.doors.grpc.messages import Messages
from provider.errors import BadRequest, BadResult, UnknownOperation
from provider.telemetry import logs
from provider.wire.frames import Encoding
from provider.wire.values import Limits, Values

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from provider.doors.backend import Backend, HttpCall
    from provider.doors.grpc.answering import Answering, Asked
    from provider.doors.grpc.protos import Protos

_log = logs.get_logger(component="grpc_door")


class OwnServices:
    """The services of some files.

    Args:
        protos: that were compiled.
        backend: runs the operations.
        limits: of the values sent and received.
    """

    def __init__(self, protos: Protos, backend: Backend, limits: Limits) -> None:
        self._protos = protos
        self._backend = backend
        self._values = Values(limits)
        self._generation: object = None
        self._declared: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """As `Service.names`."""
        return tuple(service.full_name for service in self._protos.services)

    @property
    def files(self) -> tuple[bytes, ...]:
        """As `Service.files`."""
        return self._protos.files

    def methods(self, answering: Answering) -> Mapping[str, Any]:
        """As `Service.methods`."""
        return {
            f"/{service.full_name}/{method.name}": self._handler(method, answering)
            for service in self._protos.services
            for method in service.methods
        }

    def _handler(self, method: Any, answering: Answering) -> Any:
        if method.client_streaming:
            _log.warning("method_left_out", method=method.full_name, reason="client streaming")
            return answering.refusing(
                UnknownOperation(
                    f"{method.full_name} takes a stream of messages; only methods that take one "
                    "message are operations"
                )
            )
        taken, given = Messages(method.input_type), Messages(method.output_type)

        async def call(message: bytes, asked: Asked) -> bytes:
            submitted = await self._call(method, taken, message, asked)
            return self._written(method, given, await self._backend.call(submitted))

        async def stream(message: bytes, asked: Asked) -> AsyncGenerator[bytes, None]:
            submitted = await self._call(method, taken, message, asked)
            async with contextlib.aclosing(self._backend.stream(submitted)) as chunks:
                async for chunk in chunks:
                    yield self._written(method, given, chunk)

        return answering.stream(stream) if method.server_streaming else answering.unary(call)

    async def _call(self, method: Any, taken: Messages, message: bytes, asked: Asked) -> HttpCall:
        value = taken.read(message)
        if self._backend.outdated:
            await self._backend.refresh()
        operation = self._operation(method)
        if taken.empty:
            return asked.call(operation, b"", Encoding.ABSENT)
        try:
            payload = self._values.encode(value)
        except BadResult as error:  # to whom it is a result is the caller
            text = error.message.replace("the result", "the message", 1)
            raise BadRequest(text) from None
        return asked.call(operation, payload, Encoding.CBOR)

    def _operation(self, method: Any) -> str:
        described = self._backend.described()
        if described.generation != self._generation:
            self._declared = frozenset(str(each["name"]) for each in described.operations)
            self._generation = described.generation
        full, bare = str(method.full_name), str(method.name)
        return bare if bare in self._declared and full not in self._declared else full

    def _written(self, method: Any, given: Messages, result: bytes) -> bytes:
        try:
            return given.write(self._values.decode_result(result) if result else None)
        except BadResult as error:
            # The author of the function has to know, and reads the log.
            _log.error("result_unfit", method=method.full_name, reason=error.message)
            raise
