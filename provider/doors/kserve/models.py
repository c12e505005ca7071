"""What can be asked for inference: everything the program declares.

The rule of this file: a model is an operation under its own name, and a graph of Python nodes is
one that is written in its own way. What is declared is looked at for each request, so models follow
reloads; a name nobody knows is asked for again before it is refused.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from provider.doors.backend import HttpCall
from provider.errors import BadRequest, BadResult, Unavailable
from provider.kserve import cbor
from provider.kserve.faults import fault
from provider.kserve.graph import Graph, is_graph
from provider.kserve.operation import Operation
from provider.kserve.tensors import InferResponse
from provider.wire.envelope import check_operation
from provider.wire.frames import Encoding
from provider.wire.values import Limits, Values

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from provider.doors.backend import Backend
    from provider.kserve.tensors import About, InferRequest, ModelMetadata

UNKNOWN_TO_INFER, UNKNOWN = "MEDIAPIPE_DEFINITION_NAME_MISSING", "MODEL_NAME_MISSING"


class BackendModels:
    """The models of a backend.

    Args:
        backend: runs the calls.
        limits: of the values sent and received.
    """

    def __init__(self, backend: Backend, limits: Limits) -> None:
        self._backend = backend
        self._values = Values(limits)
        self._generation: object = None
        self._told: dict[str, Mapping[str, Any]] = {}
        self._made: dict[str, Graph | Operation] = {}

    async def server_ready(self) -> bool:
        """Whether models are answered now."""
        return (await self._backend.health()).ready

    async def ready(self, name: str) -> bool:
        """Whether the model answers.

        Raises:
            CallError: there is none of that name.
        """
        told = await self._find(name, UNKNOWN)
        return not (is_graph(told) and Graph(told).problem)

    async def graphs(self) -> list[Graph]:
        """All graphs of Python nodes."""
        await self._look()
        return [Graph(told) for told in self._told.values() if is_graph(told)]

    async def metadata(self, name: str) -> ModelMetadata:
        """What is known of the model.

        Raises:
            CallError: there is none, or it is not loaded.
        """
        return (await self._model(name, UNKNOWN)).metadata()

    async def infer(self, request: InferRequest, about: About) -> InferResponse:
        """Its answer.

        Raises:
            CallError: why there is none.
        """
        model = await self._model(request.model, UNKNOWN_TO_INFER)
        if isinstance(model, Graph) and model.streams:
            # It runs to its end, of which it may say that something is wrong.
            chunks = [chunk async for chunk in self._first(self._call(model, request, about))]
            return model.response(request, self._read(chunks[0]))
        result = await self._backend.call(self._call(model, request, about))
        return model.response(request, self._read(result))

    async def stream(
        self, request: InferRequest, about: About
    ) -> AsyncGenerator[InferResponse, None]:
        """Its answers to one message of a stream. Of a graph, each output is one of its own.

        Raises:
            CallError: why there are no more.
        """
        model = await self._model(request.model, UNKNOWN_TO_INFER)
        call = self._call(model, request, about, stream=True)
        if not model.streams:
            for response in _parts(model, request, self._read(await self._backend.call(call))):
                yield response
            return
        async with contextlib.aclosing(self._backend.stream(call)) as chunks:
            async for chunk in chunks:
                for response in _parts(model, request, self._read(chunk)):
                    yield response

    async def _first(self, call: HttpCall) -> AsyncGenerator[bytes, None]:
        """The first chunk of a stream that is read to its end."""
        first = True
        async with contextlib.aclosing(self._backend.stream(call)) as chunks:
            async for chunk in chunks:
                if first:
                    yield chunk
                first = False

    def _call(
        self, model: Graph | Operation, request: InferRequest, about: About, *, stream: bool = False
    ) -> HttpCall:
        if isinstance(model, Graph):
            payload = model.argument(request, self._values, stream=stream)
        else:
            payload = model.argument(request, self._values)
        encoding = Encoding.CBOR if payload else Encoding.ABSENT
        return HttpCall(request.model, payload, encoding, about.timeout, about.id, about.headers)

    def _read(self, result: bytes) -> Any:
        try:
            return cbor.read(result, self._values)
        except BadRequest as error:  # of the worker, and not of whoever asked
            raise BadResult(f"the result cannot be read: {error.message}") from None

    async def _model(self, name: str, unknown: str) -> Graph | Operation:
        told = await self._find(name, unknown)
        made = self._made.get(name)
        if made is None:
            if is_graph(told):
                made = Graph(told)
            else:
                generation = self._generation
                schemas = await self._backend.schemas()
                made = Operation({**told, "name": name}, schemas.get(str(told["name"]), {}))
                if generation != self._generation:
                    return made
            if len(self._made) < len(self._told) + MOST_PREFIXED:
                self._made[name] = made
        return made

    async def _find(self, name: str, unknown: str) -> Mapping[str, Any]:
        """What is told of the operation a name means.

        Raises:
            CallError: it means none.
        """
        if name:
            check_operation(name)  # names that are asked for are remembered
        await self._look()
        told = self._known(name)
        if told is None:
            await self._backend.refresh()
            self._take()
            told = self._known(name)
        if told is None:
            if not self._told and not (await self._backend.health()).started:
                raise Unavailable("the program is being loaded", retry_after_ms=1000)
            raise fault(unknown, f"{name:.256}" if name else "it has no name")
        return told

    def _known(self, name: str) -> Mapping[str, Any] | None:
        told = self._told.get(name)
        if told is None:
            told = self._told.get(name.rpartition(".")[2])
            if told is not None and not told["free"]:
                return None
        return told

    async def _look(self) -> None:
        if self._backend.outdated:
            await self._backend.refresh()
        self._take()

    def _take(self) -> None:
        described = self._backend.described()
        if described.generation != self._generation:
            self._generation = described.generation
            self._told = {str(told["name"]): told for told in described.operations}
            self._made = {}


MOST_PREFIXED = 1024
"""Models remembered under names with a prefix, which callers make up."""


def _parts(model: Graph | Operation, request: InferRequest, result: Any) -> list[InferResponse]:
    whole = model.response(request, result)
    if isinstance(model, Operation):
        return [whole]
    return [InferResponse(whole.model, "", [each], whole.parameters) for each in whole.outputs]
