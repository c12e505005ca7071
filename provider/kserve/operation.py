"""Any operation as a model: tensors to its argument, and its result to tensors.

The rule of this file: numbers travel as typed arrays around the bytes that came, and become plain
values only where the author asks for those. What tensors have no form for goes as JSON in a text.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from provider.errors import BadRequest, BadResult, TooLarge
from provider.kserve import cbor, kinds, tensors
from provider.kserve.faults import fault
from provider.kserve.kinds import Kind, Shape, plain_map
from provider.kserve.tensors import BYTES, InferResponse, ModelMetadata, Tensor
from provider.wire import json_form
from provider.wire.servable import FORMATS
from provider.wire.values import Values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider.kserve.cbor import Part
    from provider.kserve.tensors import Data, InferRequest

PLATFORM = "python"
OUTPUT = "output0"
"""The name of a result that has none."""
_PLAIN = Values()
_SCALARS = frozenset({Kind.INTEGER, Kind.NUMBER, Kind.BOOLEAN, Kind.TEXT, Kind.BINARY, Kind.OTHER})


class Operation:
    """An operation.

    Args:
        told: as `Described.operations` has it.
        schemas: JSON Schema of `argument` and `result`.
    """

    def __init__(self, told: Mapping[str, Any], schemas: Mapping[str, Any]) -> None:
        self.name = str(told["name"])
        self.streams = bool(told["streams"])
        signature = str(told["signature"])
        schemas = plain_map(schemas)
        self._inputs = kinds.inputs(plain_map(schemas.get("argument")), signature)
        result = plain_map(schemas.get("result"))
        if self.streams and "items" in result:
            result = {**plain_map(result["items"]), "$defs": result.get("$defs")}
            signature = ""
        self._outputs = kinds.outputs(result, signature)

    def metadata(self) -> ModelMetadata:
        """What is known of it."""
        inputs = tuple(shape.metadata(name) for name, shape in self._inputs.named.items())
        return ModelMetadata(self.name, PLATFORM, inputs, self._outputs)

    def argument(self, request: InferRequest, values: Values) -> bytes:
        """The argument of a call, empty for none.

        Args:
            request: what it is asked.
            values: write what is plain.

        Raises:
            CallError: its tensors are not what the operation takes.
        """
        takes = self._inputs
        found: dict[str, list[Part]] = {}
        for tensor in request.inputs:
            shape = takes.named.get(tensor.name)
            if shape is None and not takes.open:
                raise fault("INVALID_UNEXPECTED_INPUT", f"{tensor.name:.256} is unexpected")
            if tensor.name in found:
                status = "MEDIAPIPE_GRAPH_ADD_PACKET_INPUT_STREAM_ERROR"
                raise fault(status, f"{tensor.name:.256} is there twice")
            try:
                found[tensor.name] = _value(tensor, shape or kinds.ANY, values)
            except BadResult as error:
                raise TooLarge(error.message.removeprefix("the result cannot travel: ")) from None
        if takes.whole and (not takes.open or found.keys() <= takes.named.keys()):
            (name,) = takes.named
            missing = [] if found else sorted(takes.required)
        else:
            name = ""
            missing = [] if takes.whole else sorted(takes.required - found.keys())
        if missing:
            raise fault("INVALID_NO_OF_INPUTS", f"{', '.join(missing)} is missing")
        if not found:
            return b"" if takes.whole or not (takes.named or takes.open) else b"\xa0"
        return b"".join(found[name] if name else cbor.map_of(found.items()))

    def response(self, request: InferRequest, result: Any) -> InferResponse:
        """The answer in a result.

        Args:
            request: what was asked.
            result: as `cbor.read` has it.

        Raises:
            CallError: the result cannot be written, or an output that is asked for is not there.
        """
        named = result if isinstance(result, dict) else {OUTPUT: result}
        wanted = [each.name for each in request.outputs]
        for name in wanted:
            if name not in named:
                raise fault(
                    "INVALID_OUTPUT", f"{name:.256} is none of {', '.join(named)[:256] or 'none'}"
                )
        outputs = [_tensor(name, named[name]) for name in dict.fromkeys(wanted or named)]
        return InferResponse(self.name, request.id, outputs)


# --- what a tensor is to a function --------------------------------------------------------------


def _value(tensor: Tensor, shape: Shape, values: Values) -> list[Part]:
    if tensor.datatype == BYTES:
        return [values.encode(_texts(tensor, shape, values))]
    if tensor.datatype not in FORMATS:
        return cbor.byte_string(tensor.data)
    if shape.kind in _SCALARS and not shape.levels:
        return [values.encode(_one(tensor, shape.kind))]
    if shape.kind is Kind.LIST or shape.levels:
        _check_items(tensor, values)
        items = tensors.unpacked(tensor.datatype, tensor.data)
        return [values.encode(_nested(items, tensor.shape or (1,)))]
    return cbor.typed_array(tensor.datatype, tensor.shape, tensor.data)


def _one(tensor: Tensor, kind: Kind) -> Any:
    if math.prod(tensor.shape) != 1:
        raise fault("INVALID_SHAPE", f"{tensor.name:.256} is one value; its shape must be [1]")
    if kind in (Kind.BINARY, Kind.TEXT, Kind.OTHER):
        raise fault("INVALID_PRECISION", f"{tensor.name:.256} is {BYTES}")
    return tensors.unpacked(tensor.datatype, tensor.data)[0]


def _check_items(tensor: Tensor, values: Values) -> int:
    """How many plain values a tensor becomes.

    Raises:
        TooLarge: more than there may be.
    """
    items = math.prod(tensor.shape)
    if items > values.limits.items:
        raise TooLarge(
            f"{tensor.name:.256} becomes a list of {items} items, over the limit of "
            f"{values.limits.items}"
        )
    return items


def _texts(tensor: Tensor, shape: Shape, values: Values) -> Any:
    """The value of a tensor of BYTES."""
    name, count = tensor.name, _check_items(tensor, values)
    try:
        items = tensors.split(tensor.data, count)
    except ValueError as error:
        raise fault("INVALID_CONTENT_SIZE", f"{name:.256} of {BYTES}: {error}") from None
    if len(items) != count:
        raise fault(
            "INVALID_VALUE_COUNT",
            f"{name:.256} of shape {list(tensor.shape)} has {count} items; there are {len(items)}",
        )
    if shape.kind in (Kind.INTEGER, Kind.NUMBER, Kind.BOOLEAN):
        raise fault("INVALID_PRECISION", f"{name:.256} is {shape.kind.value}, not {BYTES}")
    if shape.kind is Kind.BINARY:
        found: list[Any] = list(items)
    elif shape.kind is Kind.OTHER:
        found = [_json(name, item) for item in items]
    else:
        found = [_text(name, item, strict=shape.kind is Kind.TEXT) for item in items]
    scalar = shape.kind in _SCALARS and not shape.levels
    if scalar and count != 1:
        raise fault("INVALID_SHAPE", f"{name:.256} is one value; its shape must be [1]")
    if scalar or (shape.kind is Kind.ANY and tensor.shape in ((), (1,))):
        return found[0]
    return _nested(found, tensor.shape or (1,))


def _text(name: str, item: bytes, *, strict: bool) -> Any:
    try:
        return item.decode("utf-8")
    except UnicodeDecodeError:
        if strict:
            raise fault("INVALID_PRECISION", f"{name:.256} has an item that is not UTF-8") from None
        return item


def _json(name: str, item: bytes) -> Any:
    try:
        return json_form.decode(item, _PLAIN)
    except BadRequest as error:
        raise fault("INVALID_PRECISION", f"{name:.256} is JSON: {error.message}") from None


def _nested(items: list[Any], shape: tuple[int, ...]) -> list[Any]:
    if 0 in shape:
        # Extents after the first zero say nothing, and before it there may be no end of them.
        leading = shape[: shape.index(0)]
        if math.prod(leading) > tensors.MOST_EMPTY:
            raise fault("INVALID_SHAPE", f"shape {list(shape)} of no items")
        items, shape = [[] for _ in range(math.prod(leading))], leading
        if not shape:
            return []
    for extent in reversed(shape[1:]):
        items = [items[place : place + extent] for place in range(0, len(items), extent)]
    return items


# --- what a result is as a tensor ----------------------------------------------------------------


def _tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, cbor.Typed):
        return Tensor(name, value.datatype, value.shape, value.data)
    if isinstance(value, (list, tuple)):
        made = _of_list(name, list(value))
        if made is not None:
            return made
    elif type(value) in (bool, int, float):
        datatype = _datatype({type(value)}, [value])
        if datatype:
            return Tensor(name, datatype, (1,), tensors.packed(datatype, [value]))
    elif isinstance(value, (str, bytes, memoryview)):
        return Tensor(name, BYTES, (1,), tensors.prefixed([_bytes(value)]))
    try:
        written = json_form.encode(_spread(value), _PLAIN)
    except BadResult as error:
        raise fault("REST_RESULT", f"{name:.256}: {error.message}") from None
    return Tensor(name, BYTES, (1,), tensors.prefixed([written]))


def _of_list(name: str, value: list[Any]) -> Tensor | None:
    """The tensor of a regular list of numbers or texts, None for any other."""
    shape = [len(value)]
    while value and all(type(each) is list for each in value):
        extents = {len(each) for each in value}
        if len(extents) != 1:
            return None
        shape.append(extents.pop())
        value = [item for each in value for item in each]
    types = set(map(type, value))
    if types and types <= {str, bytes, memoryview}:
        return Tensor(name, BYTES, tuple(shape), tensors.prefixed(map(_bytes, value)))
    datatype = _datatype(types, value)
    if datatype is None:
        return None
    return Tensor(name, datatype, tuple(shape), tensors.packed(datatype, value))


def _datatype(types: set[type], items: list[Any]) -> str | None:
    if types == {bool}:
        return "BOOL"
    if types == {int}:
        low, high = min(items), max(items)
        if low >= -(2**63) and high < 2**63:
            return "INT64"
        return "UINT64" if low >= 0 and high < 2**64 else None
    if not types or types == {float}:
        return "FP64"
    if types == {int, float} and all(abs(item) <= 2**53 for item in items if type(item) is int):
        return "FP64"
    return None


def _bytes(value: str | Data) -> bytes:
    return value.encode("utf-8") if isinstance(value, str) else bytes(value)


def _spread(value: Any) -> Any:
    """The value as JSON has it, arrays as lists."""
    if isinstance(value, cbor.Typed):
        return _nested(tensors.unpacked(value.datatype, value.data), value.shape or (1,))
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, dict):
        return {name: _spread(each) for name, each in value.items()}
    return [_spread(each) for each in value] if isinstance(value, (list, tuple)) else value
