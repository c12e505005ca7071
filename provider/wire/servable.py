"""What can go wrong with a servable folder of OpenVINO Model Server, and what callers are told.

The rule of this file: it is a table, and imports nothing of ours. The worker raises by it and the
doors that speak KServe answer by it; the texts are those clients of the original know, each the
beginning of a message that goes on with ` - ` and the details.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Status(NamedTuple):
    """One row.

    Attributes:
        text: how the message begins.
        kind: of the provider's own errors.
        code: number on the wire, and status of HTTP.
        grpc: name of the gRPC status.
    """

    text: str
    kind: str
    code: int
    grpc: str


def _wrong(text: str) -> Status:
    return Status(text, "invalid_argument", 400, "INVALID_ARGUMENT")


STATUSES: dict[str, Status] = {
    "MEDIAPIPE_EXECUTION_ERROR": Status(
        "Mediapipe execution failed. MP status", "handler_error", 400, "INVALID_ARGUMENT"
    ),
    "MEDIAPIPE_GRAPH_ADD_PACKET_INPUT_STREAM_ERROR": Status(
        "Failed to add packet to mediapipe graph input stream",
        "invalid_argument",
        412,
        "FAILED_PRECONDITION",
    ),
    "MEDIAPIPE_DEFINITION_NOT_LOADED_YET": Status(
        "Mediapipe is not loaded yet", "unavailable", 503, "UNAVAILABLE"
    ),
    "MEDIAPIPE_DEFINITION_NAME_MISSING": Status(
        "Mediapipe graph definition with requested name is not found",
        "unknown_operation",
        404,
        "NOT_FOUND",
    ),
    "INVALID_NO_OF_INPUTS": _wrong("Invalid number of inputs"),
    "INVALID_UNEXPECTED_INPUT": _wrong("Unexpected input"),
    "INVALID_SHAPE": _wrong("Invalid input shape"),
    "INVALID_CONTENT_SIZE": _wrong("Invalid content size of tensor data"),
    "INVALID_PRECISION": _wrong("Invalid input precision"),
    "INVALID_REQUEST": _wrong("The request cannot be read"),
    "UNKNOWN_ERROR": Status("Unknown error", "invalid_argument", 500, "UNKNOWN"),
}
"""By the name that travels in the details of an error, under `status`."""

STATUS = "status"
"""The key of that name."""

FORMATS: dict[str, tuple[str, int]] = {
    "BOOL": ("?", 1),
    "UINT8": ("B", 1),
    "UINT16": ("H", 2),
    "UINT32": ("I", 4),
    "UINT64": ("Q", 8),
    "INT8": ("b", 1),
    "INT16": ("h", 2),
    "INT32": ("i", 4),
    "INT64": ("q", 8),
    "FP16": ("e", 2),
    "FP32": ("f", 4),
    "FP64": ("d", 8),
}
"""Format of the buffer protocol and bytes of one item, by datatype of KServe. A datatype that is
not among them is the user's own: its bytes are not looked at."""

NOT_LOADED = "Not loaded: "
"""How the documentation of the operation begins whose graph could not be loaded; the rest of it
says why. That of any other begins in another way."""

TIMESTAMP = "OVMS_MP_TIMESTAMP"
"""The parameter in which requests and answers carry the time of their packets, an integer."""


def status_of(details: Any) -> Status | None:
    """The row that the details of an error name; None where they name none."""
    name = details.get(STATUS) if isinstance(details, dict) else None
    return STATUSES.get(name) if isinstance(name, str) else None


def message(status: str, details: str = "") -> str:
    """What a caller is told.

    Args:
        status: a key of `STATUSES`.
        details: what follows the row's own text.
    """
    text = STATUSES[status].text
    return f"{text} - {details}" if details else text
