"""The maps in which tensors travel: what a caller sends a graph, and what it gets back.

    {"inputs": [{"name", "datatype", "shape", "data"}, ...], "parameters": {...}, "stream": false}
    {"outputs": [{"name", "datatype", "shape", "data"}, ...], "parameters": {TIMESTAMP: integer}}

The rule of this file: nothing of a request reaches a handler that it does not have to expect.
`data` is the bytes of the items in row-major order, little-endian, or text in base64 of them.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from provider.errors import BY_KIND
from provider.wire.servable import FORMATS, STATUS, STATUSES, TIMESTAMP, message
from provider.worker.operations import Refusal
from provider.worker.servables.pyovms import Tensor, received

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEYS = frozenset({"name", "datatype", "shape", "data", "parameters"})
_FIRST, _LAST = -(2**63) + 2, 2**63 - 3
"""The times of packets; those beyond have meanings of their own."""
_RESERVED = "py"
"""The side packet that carries the handlers."""


def refusal(status: str, details: str = "", **more: Any) -> Refusal:
    """What a caller is told.

    Args:
        status: a key of `STATUSES`.
        details: for a person.
        more: for the caller's program.
    """
    row = STATUSES[status]
    error = BY_KIND[row.kind]
    return Refusal(error(message(status, details), code=row.code, details={STATUS: status, **more}))


def tensors(inputs: list[Any], plan: dict[str, Any], *, some: bool) -> dict[str, Tensor]:
    """The tensors of a request by name.

    Args:
        inputs: as they came.
        plan: of the graph.
        some: inputs may be missing.

    Raises:
        Refusal: they are not what the graph takes.
    """
    found: dict[str, Tensor] = {}
    for each in inputs:
        if not isinstance(each, dict):
            raise refusal(
                "INVALID_REQUEST", "an input is a map with name, datatype, shape and data"
            )
        strange = sorted(map(str, set(each) - _KEYS))
        if strange:
            raise refusal("INVALID_REQUEST", f"an input has {', '.join(strange)[:200]}")
        name = each.get("name")
        if not isinstance(name, str):
            raise refusal("INVALID_REQUEST", "the name of an input is not text")
        if name not in plan["inputs"]:
            raise refusal("INVALID_UNEXPECTED_INPUT", f"{name[:256]} is unexpected")
        if name in found:
            status = "MEDIAPIPE_GRAPH_ADD_PACKET_INPUT_STREAM_ERROR"
            raise refusal(status, f"{name} is there twice")
        found[name] = _tensor(name, each)
    if len(found) < (1 if some else len(plan["inputs"])):
        raise refusal("INVALID_NO_OF_INPUTS", "Not all input packets created")
    return found


def _tensor(name: str, told: dict[str, Any]) -> Tensor:
    datatype = told.get("datatype")
    if not isinstance(datatype, str) or not datatype:
        raise refusal("INVALID_PRECISION", f"the datatype of {name} is not text")
    shape = told.get("shape")
    if not isinstance(shape, (list, tuple)) or any(
        type(extent) is not int or not 0 <= extent < 2**63 for extent in shape
    ):
        raise refusal(
            "INVALID_SHAPE", f"the shape of {name} is not a list of integers from 0 below 2**63"
        )
    data = told.get("data", b"")
    if isinstance(data, str):
        data = _decoded(name, data)
    if not isinstance(data, bytes):
        raise refusal("INVALID_REQUEST", f"the data of {name} is neither bytes nor their base64")
    known = FORMATS.get(datatype)
    if known is not None and math.prod(shape) * known[1] != len(data):
        raise refusal(
            "INVALID_CONTENT_SIZE",
            f"{name} of {datatype} and shape {list(shape)!s:.100} takes "
            f"{_shown(math.prod(shape) * known[1])} bytes; there are {len(data)}",
        )
    return received(name, datatype, tuple(shape), data)


def _decoded(name: str, text: str) -> bytes:
    import base64

    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise refusal("INVALID_REQUEST", f"the data of {name} is no base64") from None


def _shown(size: int) -> str:
    return str(size) if size < 2**64 else "more than 2**64"


def timestamp(parameters: dict[str, Any]) -> int:
    """The time of the packets of a request: as it says, or now in microseconds.

    Raises:
        Refusal: it is none, or another parameter is what no graph can be given.
    """
    for name, value in parameters.items():
        if name == _RESERVED:
            raise refusal("INVALID_REQUEST", f"the parameter {_RESERVED} is reserved")
        if name != TIMESTAMP and not isinstance(value, (str, bool, int)):
            raise refusal(
                "INVALID_REQUEST", f"the parameter {name[:256]} is no text, boolean or integer"
            )
    told = parameters.get(TIMESTAMP)
    if told is None:
        return time.time_ns() // 1000
    if type(told) is not int or not _FIRST <= told <= _LAST:
        raise refusal("UNKNOWN_ERROR")
    return told


def answer(outputs: Sequence[Tensor], time_of_them: int) -> dict[str, Any]:
    """What a caller gets.

    Args:
        outputs: in their order.
        time_of_them: the timestamp of their packets.
    """
    return {
        "outputs": [
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "data": _bytes(tensor),
            }
            for tensor in outputs
        ],
        "parameters": {TIMESTAMP: time_of_them},
    }


def _bytes(tensor: Tensor) -> bytes:
    owner = tensor.ref_obj
    return owner if type(owner) is bytes else bytes(tensor)
