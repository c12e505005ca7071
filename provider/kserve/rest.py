"""Bodies of REST to requests, and answers to bodies: JSON, and raw tensors after it.

The rule of this file: a tensor is written raw only for who asks for that, and what JSON has no form
for is refused with the way to get it.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from provider.errors import BadRequest
from provider.kserve import tensors
from provider.kserve.faults import fault
from provider.kserve.tensors import BYTES, VERSION, InferRequest, InferResponse, Tensor, Wanted
from provider.wire import json_form
from provider.wire.servable import FORMATS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider.kserve.tensors import Data, ModelMetadata, TensorMetadata
    from provider.wire.values import Values

HEADER_LENGTH = b"inference-header-content-length"
"""The header that says where JSON ends and raw tensors begin."""
SIZE = "binary_data_size"
_BINARY, _BINARY_ALL = "binary_data", "binary_data_output"
_RAW_ONLY = frozenset({"FP16", "BF16"})
_FLOATS = frozenset({"FP32", "FP64"})
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Body:
    """A request that was read.

    Attributes:
        request: what it asks.
        binary: whether outputs are written raw, where nothing is said of one.
    """

    __slots__ = ("binary", "request")

    def __init__(self, request: InferRequest, *, binary: bool) -> None:
        self.request = request
        self.binary = binary


def read(model: str, body: bytes, header_length: bytes | None, values: Values) -> Body:
    """The request in a body.

    Args:
        model: its name, from the path.
        body: all of it.
        header_length: bytes of JSON at its beginning, as its header says; None for all.
        values: the limits of JSON.

    Raises:
        CallError: it is none, or its tensors are not what they claim to be.
    """
    told, tail = _apart(body, header_length, values)
    inputs = told.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise fault("REST_NO_INPUTS")
    given = told.get("id", "")
    if not isinstance(given, str):
        raise _unfit("id is not text")
    parameters = _parameters(told, "the request")
    binary = parameters.pop(_BINARY_ALL, False)
    if not isinstance(binary, bool):
        raise _unfit(f"{_BINARY_ALL} is not a boolean")
    outputs = told.get("outputs", [])
    if not isinstance(outputs, list):
        raise _unfit("outputs is not a list")
    tensors.check_many(inputs=len(inputs), outputs=len(outputs), parameters=len(parameters))
    place, read_inputs = 0, []
    for each in inputs:
        tensor, place = _input(each, tail, place, sole=len(inputs) == 1)
        read_inputs.append(tensor)
    if place != len(tail):
        raise _unfit(f"{len(tail) - place} bytes follow the last input")
    wanted = [_wanted(each) for each in outputs]
    return Body(InferRequest(model, given, read_inputs, parameters, wanted), binary=binary)


def _apart(body: bytes, header_length: bytes | None, values: Values) -> tuple[dict[str, Any], Data]:
    size = len(body)
    if header_length is not None:
        if not header_length.isdigit() or len(header_length) > 18 or int(header_length) > size:
            raise _unfit(
                f"Inference-Header-Content-Length is {header_length.decode('latin-1')!r:.40}; "
                f"the body has {size} bytes"
            )
        size = int(header_length)
    try:
        told = json_form.decode(body[:size], values)
    except BadRequest as error:
        if error.message.startswith("not JSON:"):
            raise fault("JSON_INVALID", error.message) from None
        raise _unfit(error.message) from None
    if not isinstance(told, dict):
        raise fault("REST_NO_INPUTS", "the body is no object")
    return told, memoryview(body)[size:]


def _input(told: Any, tail: Data, place: int, *, sole: bool) -> tuple[Tensor, int]:
    """A tensor, and where in the tail the next one begins."""
    if not isinstance(told, dict):
        raise _unfit("an input is no object")
    name, datatype, shape = told.get("name"), told.get("datatype"), told.get("shape")
    if not isinstance(name, str) or not isinstance(datatype, str):
        raise _unfit("an input has no name, or no datatype")
    if not isinstance(shape, list) or any(
        type(extent) is not int or not 0 <= extent < 2**63 for extent in shape
    ):
        raise _unfit(f"the shape of {name:.256} is no list of integers from 0")
    parameters = _parameters(told, name)
    size = parameters.get(SIZE)
    if "data" in told:
        if size is not None:
            raise _unfit(f"{name:.256} has data beside {SIZE}")
        return _of_json(name, datatype, shape, told["data"]), place
    if size is None:
        size = _size(name, datatype, shape, len(tail), sole=sole)
    if type(size) is not int or not 0 <= size <= len(tail) - place:
        raise fault(
            "INVALID_CONTENT_SIZE",
            f"{SIZE} of {name:.256} is {size!r:.40}; {len(tail) - place} bytes are left",
        )
    return tensors.raw(name, datatype, shape, tail[place : place + size]), place + size


def _size(name: str, datatype: str, shape: list[int], whole: int, *, sole: bool) -> int:
    if not whole:
        raise _unfit(f"{name:.256} has no data")
    if datatype in FORMATS:
        return tensors.count(shape, name) * FORMATS[datatype][1]
    if sole and datatype == BYTES and shape == [1]:
        return whole
    raise _unfit(f"{name:.256} of {datatype:.40} has neither data nor {SIZE}")


def _of_json(name: str, datatype: str, shape: list[int], data: Any) -> Tensor:
    items = tensors.count(shape, name)
    if datatype in _RAW_ONLY or (datatype not in FORMATS and datatype != BYTES):
        raise fault("INVALID_PRECISION", f"{name:.256} of {datatype:.40} travels raw only")
    flat = _flat(name, data, shape)
    if datatype == BYTES:
        if any(type(each) is not str for each in flat):
            raise _unfit(f"{name:.256} of {BYTES} has an item that is no text")
        return Tensor(name, datatype, tuple(shape), tensors.prefixed(map(str.encode, flat)))
    if len(flat) != items:
        raise fault(
            "INVALID_VALUE_COUNT",
            f"{name:.256} of shape {shape} has {items} items; there are {len(flat)}",
        )
    if datatype in _FLOATS:
        # Written as JSON has it, which has no other way.
        flat = [_NOT_FINITE.get(each, each) if type(each) is str else each for each in flat]
    fitting = {bool} if datatype == "BOOL" else {int, float} if datatype in _FLOATS else {int}
    if not set(map(type, flat)) <= fitting:
        raise _unfit(f"{name:.256} of {datatype} has an item of another type")
    try:
        return Tensor(name, datatype, tuple(shape), tensors.packed(datatype, flat))
    except OverflowError:
        raise _unfit(f"{name:.256} has an item beyond {datatype}") from None


def _flat(name: str, data: Any, shape: list[int]) -> list[Any]:
    """The items of a list, or of lists as deep as the shape has them."""
    if not isinstance(data, list):
        data = [data]
    if not any(isinstance(each, list) for each in data):
        return list(data)
    level: list[Any] = [data]
    other = fault("INVALID_SHAPE", f"the data of {name:.256} has another shape than {shape}")
    for extent in shape:
        if any(not isinstance(each, list) or len(each) != extent for each in level):
            raise other
        level = [item for each in level for item in each]
    if any(isinstance(each, list) for each in level):
        raise other
    return level


def _wanted(told: Any) -> Wanted:
    if not isinstance(told, dict) or not isinstance(told.get("name"), str):
        raise _unfit("an output has no name")
    binary = _parameters(told, told["name"]).get(_BINARY)
    if binary is not None and not isinstance(binary, bool):
        raise _unfit(f"{_BINARY} of {told['name']:.256} is not a boolean")
    return Wanted(told["name"], binary)


def _parameters(told: Mapping[str, Any], what: str) -> dict[str, Any]:
    parameters = told.get("parameters", {})
    if not isinstance(parameters, dict) or any(
        type(value) not in (str, bool, int, float) for value in parameters.values()
    ):
        raise _unfit(f"the parameters of {what:.256} are no texts, booleans and numbers")
    return dict(parameters)


def write(body: Body, response: InferResponse) -> tuple[bytes, int | None]:
    """The body of an answer, and how much of it is JSON; None for all.

    Args:
        body: the request.
        response: the answer to it.

    Raises:
        CallError: a tensor has no form in JSON.
    """
    wanted = {each.name: each.binary for each in body.request.outputs}
    outputs: list[dict[str, Any]] = []
    tail: list[Data] = []
    for tensor in response.outputs:
        told: dict[str, Any] = {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "datatype": tensor.datatype,
        }
        binary = wanted.get(tensor.name)
        if body.binary if binary is None else binary:
            told["parameters"] = {SIZE: len(tensor.data)}
            tail.append(tensor.data)
        else:
            told["data"] = _items(tensor)
        outputs.append(told)
    answer: dict[str, Any] = {"model_name": response.model, "model_version": VERSION}
    if response.id:
        answer["id"] = response.id
    if response.parameters:
        answer["parameters"] = response.parameters
    answer["outputs"] = outputs
    head = dumped(answer)
    return (b"".join([head, *tail]), len(head)) if tail else (head, None)


def _items(tensor: Tensor) -> list[Any]:
    name, datatype = tensor.name, tensor.datatype
    if datatype == BYTES:
        try:
            return [item.decode("utf-8") for item in tensors.split(tensor.data)]
        except ValueError as error:
            raise fault(
                "REST_RESULT", f"{name:.256} is no text ({error}); ask for it with {_BINARY}"
            ) from None
    if datatype not in FORMATS or len(tensor.data) % FORMATS[datatype][1]:
        raise fault("REST_RESULT", f"{name:.256} is {datatype:.40}; ask for it with {_BINARY} true")
    items = tensors.unpacked(datatype, tensor.data)
    if datatype in _FLOATS or datatype == "FP16":
        return [each if math.isfinite(each) else _spelled(each) for each in items]
    return items


def _spelled(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def metadata(told: ModelMetadata) -> bytes:
    """What is known of a model."""
    return dumped(
        {
            "name": told.name,
            "versions": [VERSION],
            "platform": told.platform,
            "inputs": [_metadata(each) for each in told.inputs],
            "outputs": [_metadata(each) for each in told.outputs],
        }
    )


def _metadata(told: TensorMetadata) -> dict[str, Any]:
    return {"name": told.name, "datatype": told.datatype, "shape": list(told.shape)}


def dumped(told: Any, indent: int | None = None) -> bytes:
    """JSON; with `indent` each member on a line of its own, after as many spaces for each level."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(told, ensure_ascii=False, separators=separators, indent=indent)
    return text.encode("utf-8", "replace")


def _unfit(details: str) -> Exception:
    return fault("REST_COULD_NOT_PARSE", details)
