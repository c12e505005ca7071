"""Errors as gRPC statuses, with what else is known of them as trailing metadata.

The rule of this file: which status it is says the one table in `provider.errors`. A text is one
line, and all that is said of an error fits where clients put up with it: they refuse answers with
more than 8 KiB of metadata.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING
from urllib.parse import quote

from provider.errors import BadResult, clip
from provider.wire import json_form
from provider.wire.values import Limits, Values

if TYPE_CHECKING:
    from provider.errors import CallError

KIND = "provider-error-kind"
CODE = "provider-error-code"
EXCEPTION = "provider-error-type"
RETRY = "retry-after-ms"
DETAILS = "provider-error-details-bin"
TRACEBACK = "provider-error-traceback-bin"

MOST_TEXT = 1024
"""Characters of a status message."""
MOST_WRITTEN = 2048
"""Bytes of it as it travels, percent-encoded."""
MOST_DETAILS = 1536
"""Bytes of details; longer ones are left out."""
MOST_TRACEBACK = 2048
"""Bytes of a traceback; the end of a longer one is sent."""

_PLAIN = Values(Limits())

Metadata = list[tuple[str, str | bytes]]


def status_of(error: CallError) -> str:
    """The name of the status: that of the kind, or of the code its author chose."""
    return error.grpc


def text_of(error: CallError) -> str:
    """The message of a status: one line without control characters, cut."""
    return one_line(error.message)


def one_line(text: str) -> str:
    """The text without control characters, and cut."""
    text = clip(text, 4 * MOST_TEXT)
    words = "".join(
        " " if unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"} else char for char in text
    )
    text = clip(" ".join(words.split()), MOST_TEXT)
    while len(quote(text, safe="/ ")) > MOST_WRITTEN:
        text = text[: len(text) * 3 // 4].rstrip() + "..."
    return text


def metadata_of(error: CallError, *, tracebacks: bool) -> Metadata:
    """What else is known of an error.

    Args:
        error: what went wrong.
        tracebacks: whether callers are shown the traceback of a function.
    """
    told: Metadata = [(KIND, error.kind), (CODE, str(error.code))]
    if error.type and error.type.isascii() and error.type.isprintable():
        told.append((EXCEPTION, error.type[:128]))
    if error.retry_after_ms is not None:
        told.append((RETRY, str(error.retry_after_ms)))
    if error.details is not None:
        try:
            details = json_form.encode(error.details, _PLAIN)
        except BadResult:
            details = b""
        if 0 < len(details) <= MOST_DETAILS:
            told.append((DETAILS, details))
    if tracebacks and error.traceback:
        told.append((TRACEBACK, error.traceback.encode("utf-8", "replace")[-MOST_TRACEBACK:]))
    return told
