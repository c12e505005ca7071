"""`inference.GRPCInferenceService` on the gRPC door.

The rule of this file: a message of a stream that cannot be answered is told of in the stream, which
goes on; a model that failed while it ran ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from provider import __version__
from provider.doors.kserve.models import UNKNOWN_TO_INFER
from provider.errors import CallError
from provider.kserve import messages, schema
from provider.kserve.faults import fault, is_row, row_of
from provider.kserve.tensors import About

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from provider.doors.grpc.answering import Answering, Asked
    from provider.doors.kserve.models import BackendModels
    from provider.kserve.tensors import InferRequest

SERVER = "python-provider"
"""The name of the server, as clients are told."""
_ENDING = frozenset({"worker_lost", "cancelled", "timeout", "unavailable"})


class KServe:
    """The service.

    Args:
        models: what it answers for.
    """

    def __init__(self, models: BackendModels) -> None:
        self._models = models
        self.names = (schema.SERVICE,)
        """Of its one service."""
        self.files = (schema.file().SerializeToString(),)
        """For reflection."""

    def methods(self, answering: Answering) -> Mapping[str, Any]:
        """Handlers by path."""
        made: dict[str, Any] = {
            "ServerLive": answering.unary(self._live, status_of, counted=False),
            "ServerReady": answering.unary(self._ready, status_of, counted=False),
            "ServerMetadata": answering.unary(self._metadata, status_of, counted=False),
            "ModelReady": answering.unary(self._model_ready, status_of),
            "ModelMetadata": answering.unary(self._model_metadata, status_of),
            "ModelInfer": answering.unary(self._infer, status_of),
            "ModelStreamInfer": answering.duplex(self._stream, status_of),
        }
        return {f"/{schema.SERVICE}/{name}": handler for name, handler in made.items()}

    async def _live(self, _message: bytes, _asked: Asked) -> bytes:
        return messages.write("ServerLiveResponse", live=True)

    async def _ready(self, _message: bytes, _asked: Asked) -> bytes:
        return messages.write("ServerReadyResponse", ready=await self._models.server_ready())

    async def _metadata(self, _message: bytes, _asked: Asked) -> bytes:
        return messages.write("ServerMetadataResponse", name=SERVER, version=__version__)

    async def _model_ready(self, message: bytes, _asked: Asked) -> bytes:
        name = messages.read("ModelReadyRequest", message).name
        return messages.write("ModelReadyResponse", ready=await self._models.ready(name))

    async def _model_metadata(self, message: bytes, _asked: Asked) -> bytes:
        name = messages.read("ModelMetadataRequest", message).name
        return messages.write_metadata(await self._models.metadata(name))

    async def _infer(self, message: bytes, asked: Asked) -> bytes:
        request = messages.read_infer(message)
        about = About(asked.id, asked.timeout, dict(asked.headers))
        return b"".join(messages.write_infer(await self._models.infer(request, about)))

    async def _stream(
        self, given: AsyncIterator[bytes], asked: Asked
    ) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        end = None if asked.timeout is None else loop.time() + asked.timeout
        model = None
        async for message in given:
            left = None if end is None else max(end - loop.time(), 0.001)
            try:
                request = messages.read_infer(message)
                model = request.model if model is None else model
                _check_model(request, model)
                about = About(asked.id, left, dict(asked.headers))
                async with contextlib.aclosing(self._models.stream(request, about)) as responses:
                    async for response in responses:
                        yield messages.write_streamed(response)
            except CallError as error:
                if _ends(error) or is_row(error, UNKNOWN_TO_INFER):
                    raise
                yield messages.write_stream_error(error.message)


def status_of(error: CallError) -> str:
    """The name of the gRPC status of an error."""
    row = row_of(error)
    return row.grpc if row is not None else error.grpc


def _check_model(request: InferRequest, model: str) -> None:
    if request.model != model:
        raise fault(
            "INVALID_MESSAGE_STRUCTURE",
            f"this stream is one of {model:.256}, the message is for {request.model:.256}",
        )


def _ends(error: CallError) -> bool:
    return error.kind in _ENDING or is_row(error, "MEDIAPIPE_EXECUTION_ERROR")
