"""What callers of the KServe protocol are told when something is wrong, in one table.

The rule of this file: the rows of `wire.servable`, and those that only a door can find. An error
names its row in its details, so that it has the same status wherever it was raised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider.errors import BY_KIND
from provider.wire.servable import STATUS, STATUSES, Status

if TYPE_CHECKING:
    from provider.errors import CallError


def _wrong(text: str, code: int = 400, grpc: str = "INVALID_ARGUMENT") -> Status:
    return Status(text, "unknown_operation" if code == 404 else "bad_request", code, grpc)


ROWS: dict[str, Status] = {
    **STATUSES,
    "MODEL_NAME_MISSING": _wrong("Model with requested name is not found", 404, "NOT_FOUND"),
    "MODEL_VERSION_INVALID_FORMAT": _wrong("invalid model version format in request"),
    "INVALID_MESSAGE_STRUCTURE": _wrong("Invalid message structure"),
    "INVALID_VALUE_COUNT": _wrong("Invalid number of values in tensor contents"),
    "INVALID_OUTPUT": _wrong("Unexpected output"),
    "JSON_INVALID": _wrong("The file is not valid json", 412, "FAILED_PRECONDITION"),
    "REST_NO_INPUTS": _wrong("Invalid JSON structure, missing inputs"),
    "REST_COULD_NOT_PARSE": _wrong("Could not parse input content"),
    "REST_INVALID_URL": _wrong("Invalid request URL"),
    "REST_UNSUPPORTED_METHOD": _wrong("Unsupported method", 406),
    "REST_RESULT": Status("The result cannot be written", "bad_result", 500, "INTERNAL"),
}
"""By the name that stands in the details of an error."""


def fault(name: str, details: str = "") -> CallError:
    """The error of a row.

    Args:
        name: a key of `ROWS`.
        details: what follows the row's own text.
    """
    row = ROWS[name]
    text = f"{row.text} - {details}" if details else row.text
    return BY_KIND[row.kind](text, code=row.code, details={STATUS: name})


def row_of(error: CallError) -> Status | None:
    """The row of an error; None for an error of another table."""
    details = error.details
    name = details.get(STATUS) if isinstance(details, dict) else None
    return ROWS.get(name) if isinstance(name, str) else None


def is_row(error: CallError, name: str) -> bool:
    """Whether the error is one of this row."""
    return isinstance(error.details, dict) and error.details.get(STATUS) == name
