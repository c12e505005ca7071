"""A graph of Python nodes as a model: its tensors are those of the request.

The rule of this file: the map that a graph's operation takes and gives is that of
`worker.servables.request`; nothing is said of a tensor here that the worker does not say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from provider.errors import BadResult, TooLarge
from provider.kserve import cbor
from provider.kserve.faults import fault
from provider.kserve.tensors import InferResponse, ModelMetadata, Tensor, TensorMetadata
from provider.wire.servable import NOT_LOADED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider.kserve.cbor import Part
    from provider.kserve.tensors import InferRequest
    from provider.wire.values import Values

PLATFORM = "OpenVINO"
_SERVABLE = re.compile(r"Servable: inputs (.+); outputs (.+)")
_SIGNATURE = re.compile(
    r"\(inputs: list, parameters: dict \| None = None, stream: bool = False\).*"
)


def is_graph(told: Mapping[str, Any]) -> bool:
    """Whether an operation is that of a graph, by what the worker tells of it."""
    doc = str(told["doc"])
    fits = doc.startswith(NOT_LOADED) or _SERVABLE.fullmatch(doc) is not None
    return fits and _SIGNATURE.fullmatch(str(told["signature"])) is not None


class Graph:
    """A graph.

    Args:
        told: of its operation, as `Described.operations` has it.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.name = str(told["name"])
        self.streams = bool(told["streams"])
        doc = str(told["doc"])
        self.problem = doc.removeprefix(NOT_LOADED) if doc.startswith(NOT_LOADED) else ""
        """Why it is not loaded, empty when it is."""
        found = _SERVABLE.fullmatch(doc)
        self._inputs = found[1].split(", ") if found else []
        self._outputs = found[2].split(", ") if found else []

    def metadata(self) -> ModelMetadata:
        """What is known of it: names.

        Raises:
            CallError: it is not loaded.
        """
        if self.problem:
            raise fault("MEDIAPIPE_DEFINITION_NOT_LOADED_YET", self.problem)
        return ModelMetadata(
            self.name,
            PLATFORM,
            tuple(map(TensorMetadata, self._inputs)),
            tuple(map(TensorMetadata, self._outputs)),
        )

    def argument(self, request: InferRequest, values: Values, *, stream: bool) -> bytes:
        """The argument of the operation.

        Args:
            request: what it is asked.
            values: write its parameters.
            stream: whether inputs and outputs may be missing.

        Raises:
            TooLarge: its parameters are over a limit.
        """
        try:
            parameters = values.encode(request.parameters)
        except BadResult as error:
            raise TooLarge(error.message.removeprefix("the result cannot travel: ")) from None
        inputs = [
            cbor.map_of(
                (
                    ("name", [cbor.text(tensor.name)]),
                    ("datatype", [cbor.text(tensor.datatype)]),
                    ("shape", [cbor.integers(tensor.shape)]),
                    ("data", cbor.byte_string(tensor.data)),
                )
            )
            for tensor in request.inputs
        ]
        parts: list[Part] = cbor.map_of(
            (
                ("inputs", cbor.list_of(inputs)),
                ("parameters", [parameters]),
                ("stream", [b"\xf5" if stream else b"\xf4"]),
            )
        )
        return b"".join(parts)

    def response(self, request: InferRequest, result: Any) -> InferResponse:
        """The answer in one result of the operation.

        Args:
            request: what was asked.
            result: as `cbor.read` has it.

        Raises:
            BadResult: it is no answer of a graph.
        """
        try:
            outputs = [_tensor(each) for each in result["outputs"]]
            parameters = _parameters(result["parameters"])
        except (TypeError, KeyError, ValueError, IndexError):
            raise BadResult("this is no answer of a graph") from None
        return InferResponse(self.name, request.id, outputs, parameters)


def _parameters(told: Any) -> dict[str, Any]:
    parameters = dict(told)
    for name, value in parameters.items():
        if not isinstance(name, str) or type(value) not in (str, bool, int, float):
            raise TypeError
        if type(value) is int and not -(2**63) <= value < 2**64:
            raise ValueError
    return parameters


def _tensor(told: Any) -> Tensor:
    shape = tuple(told["shape"])
    name, datatype, data = told["name"], told["datatype"], told["data"]
    if not (isinstance(name, str) and isinstance(datatype, str)):
        raise TypeError
    if any(type(extent) is not int or not 0 <= extent < 2**63 for extent in shape):
        raise ValueError
    return Tensor(name, datatype, shape, memoryview(data))
