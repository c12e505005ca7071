"""What requests carry and answers may be: JSON, CBOR, forms, and streams of them.

The rule of this file: bytes pass untouched wherever both sides speak the same; they are read here
only to be written in another form. JSON is that of docs/protocol.md, in both directions.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import python_multipart
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from provider.doors.http.problems import unacceptable, unspoken
from provider.errors import BadRequest
from provider.wire import json_form
from provider.wire.frames import Encoding

if TYPE_CHECKING:
    from provider.wire.values import Values

JSON, CBOR = b"application/json", b"application/cbor"
EVENTS, LINES = b"text/event-stream", b"application/x-ndjson"
FORM = b"multipart/form-data"

# It writes a line for each form that is wrong; whoever sent it is told, which is enough.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

MOST_PARTS = 1000
"""Parts a form may have."""
MOST_REMEMBERED = 256
"""Texts of `Accept` that are remembered; callers make them up."""

_READ = {JSON: JSON, CBOR: CBOR, b"application/octet-stream": CBOR, FORM: FORM}
_WRITTEN = {
    JSON: JSON,
    CBOR: CBOR,
    EVENTS: EVENTS,
    LINES: LINES,
    b"application/ndjson": LINES,
    b"application/jsonl": LINES,
}
_ANY = frozenset({b"*/*", b"application/*"})
_accepted: dict[bytes, bytes] = {}


def form_read(content_type: bytes | None) -> bytes:
    """How a body is written: `JSON`, `CBOR` or `FORM`.

    Args:
        content_type: the header, None when there is none.

    Raises:
        BadRequest: 415, it is something else.
    """
    if content_type is None:
        return JSON
    plain = content_type.partition(b";")[0].strip().lower()
    form = _READ.get(plain)
    if form is None:
        if plain.startswith(b"application/") and plain.endswith(b"+json"):
            return JSON
        raise unspoken(
            f"Content-Type {plain.decode('latin-1')!r:.80} is not read here; send "
            "application/json, application/cbor or multipart/form-data"
        )
    return form


def form_written(accept: bytes | None, read: bytes) -> bytes:
    """How the answer is written: `JSON`, `CBOR`, `EVENTS` or `LINES`.

    Args:
        accept: the header, None when there is none.
        read: how the body was written, which the answer is as well if the caller does not mind.

    Raises:
        BadRequest: 406, the caller accepts something else only.
    """
    usual = CBOR if read == CBOR else JSON
    if accept is None or accept == b"*/*":
        return usual
    found = _accepted.get(accept)
    if found is None:
        found = _best(accept)
        if len(_accepted) >= MOST_REMEMBERED:
            _accepted.clear()
        _accepted[accept] = found
    return found or usual


def _best(accept: bytes) -> bytes:
    """What a caller likes best of all that is written here, empty when he leaves it to us."""
    best, most = None, 0.0
    for part in accept.split(b","):
        name, *parameters = (word.strip().lower() for word in part.split(b";"))
        liking = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                try:
                    liking = float(parameter[2:])
                except ValueError:
                    liking = 0.0
        form = b"" if name in _ANY else _WRITTEN.get(name)
        if form is not None and liking > most:
            best, most = form, liking
    if best is None:
        raise unacceptable(
            f"Accept {accept.decode('latin-1')!r:.80} leaves nothing that is written here: "
            "application/json, application/cbor, text/event-stream, application/x-ndjson"
        )
    return best


def argument(
    data: bytes, content_type: bytes | None, read: bytes, written: bytes, values: Values
) -> tuple[bytes, Encoding]:
    """The argument as the worker is to read it, and how that is written.

    Args:
        data: the body.
        content_type: its header.
        read: of `form_read`.
        written: of `form_written`.
        values: the limits.

    Raises:
        BadRequest: it cannot be read.
    """
    if not data:
        return b"", Encoding.ABSENT if written == CBOR else Encoding.JSON_ABSENT
    if read == CBOR:
        return data, Encoding.CBOR
    if read == FORM:
        return values.encode(form_members(data, content_type or b"", values)), Encoding.CBOR
    if written == CBOR:
        return values.encode(json_form.decode(data, values)), Encoding.CBOR
    return data, Encoding.JSON


def to_json(result: bytes, encoding: int, values: Values) -> bytes:
    """A result as JSON, however the worker wrote it.

    Raises:
        BadResult: it has no form in JSON, or is none.
    """
    if encoding in (Encoding.JSON, Encoding.JSON_ABSENT):
        return result
    return json_form.encode(values.decode_result(result), values)


def form_members(data: bytes, content_type: bytes, values: Values) -> dict[str, Any]:
    """The parts of a form: files as bytes, JSON as values, all else as text.

    Several parts of one name are a list.

    Args:
        data: the body.
        content_type: its header, with the boundary.
        values: the limits of JSON in it.

    Raises:
        BadRequest: it is no form.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise BadRequest("Content-Type multipart/form-data has no boundary")
    parts = _Parts()
    try:
        parser = python_multipart.MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_header_field": parts.field,
                "on_header_value": parts.value,
                "on_header_end": parts.header,
                "on_part_data": parts.data,
                "on_end": parts.finish,
            },
        )
        parser.write(data)
        parser.finalize()
    except FormParserError as error:
        raise BadRequest(f"the form cannot be read: {error}") from None
    if not parts.ended:
        raise BadRequest("the form cannot be read: its end is missing")
    found: dict[str, Any] = {}
    several: set[str] = set()
    for headers, content in parts.all:
        name, value = _member(headers, bytes(content), values)
        if name in several:
            found[name].append(value)
        elif name in found:
            found[name] = [found[name], value]
            several.add(name)
        else:
            found[name] = value
    return found


class _Parts:
    """Gathers what the parser finds."""

    def __init__(self) -> None:
        self.all: list[tuple[dict[bytes, bytes], bytearray]] = []
        self.ended = False
        self._field, self._value = bytearray(), bytearray()

    def begin(self) -> None:
        if len(self.all) >= MOST_PARTS:
            raise BadRequest(f"the form has more than {MOST_PARTS} parts")
        self.all.append(({}, bytearray()))

    def field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header(self) -> None:
        self.all[-1][0][bytes(self._field).lower()] = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def data(self, data: bytes, start: int, end: int) -> None:
        self.all[-1][1].extend(data[start:end])

    def finish(self) -> None:
        self.ended = True


def _member(headers: dict[bytes, bytes], content: bytes, values: Values) -> tuple[str, Any]:
    _, options = parse_options_header(headers.get(b"content-disposition"))
    raw = options.get(b"name")
    if raw is None:
        raise BadRequest("a part of the form has no name")
    name = _utf8(raw, "a name in the form")
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if b"filename" in options:
        return name, content
    if kind == JSON:
        return name, json_form.decode(content, values)
    return name, _utf8(content, f"the field {name!r:.60} of the form")


def _utf8(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest(f"{what} is not UTF-8") from None
