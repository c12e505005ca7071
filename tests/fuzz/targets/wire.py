"""What callers write around values and values themselves, their names and their routes.

The rule of this file: nothing is stood in for; these are functions of bytes.
"""

from __future__ import annotations

from provider.doors.request_id import request_id
from provider.errors import BadResult, CallError
from provider.wire import json_form, route
from provider.wire.about import read_about, trace_of, write_about
from provider.wire.address import Address, is_subject
from provider.wire.envelope import (
    LONGEST_HEAD,
    Request,
    RequestReader,
    check_operation,
    error_answer,
    read_answer,
    result_answer,
    write_request,
)
from provider.wire.output import unmark
from provider.wire.streamed import StreamReader, read_said, write_said
from provider.wire.values import Limits, Values
from tests.fuzz.target import MOST_TEXT, refused, target, told

VALUES = Values(Limits())
SMALL = Values(Limits(depth=4, items=8, string=16, integer_bits=80, decimal_exponent=20))
_KEY = b"\x67payload"


@target(
    b"\x69operation",
    _KEY,
    b"\x62id",
    b"\x6atimeout_ms",
    b"\x66stream",
    b"\x64flow",
    b"\x68progress",
    b"\xbf",
    b"\xff",
)
def envelope(data: bytes) -> None:
    """A native request: what is remembered of it says what reading it again says."""
    request = refused(RequestReader(VALUES).read, data)
    reader = RequestReader(VALUES)
    refused(reader.read, data)
    start = data.find(_KEY, 0, LONGEST_HEAD) + len(_KEY)
    head = data[:start]
    for other in (data, head + b"\x01", head, head + data[:40], head + head + b"\x01"):
        said = refused(RequestReader(VALUES).read, other)
        assert refused(reader.read, other) == said
        plain = reader.plain(other)
        assert plain is None or Request(*plain) == said, (plain, said)
    if request is None:
        return
    named = VALUES.decode(request.id) if request.id else None
    written = write_request(
        request.operation,
        request.payload,
        timeout_ms=request.timeout_ms,
        request_id=named,
        stream=request.stream,
        progress=request.progress,
    )
    again = RequestReader(VALUES).read(written)
    assert again._replace(id=b"", flow=True) == request._replace(id=b"", flow=True)
    assert (VALUES.decode(again.id) if again.id else None) == named
    answer = VALUES.decode(result_answer(b"\x01", request.id))
    assert answer == ({"result": 1} if named is None else {"id": named, "result": 1})


@target(b"\x82", b"\xc4\x82", b"\xd8\x28\x82", b"\xd8\x40", b"\xc2\x49", b"\xfb", b"\xc0\x74")
def cbor(data: bytes) -> None:
    """A value in CBOR: what is read is written, and read again it is the same."""
    value = refused(VALUES.decode, data)
    few = refused(SMALL.decode, data)
    if value is None and data != b"\xf6":
        assert few is None, "small limits let through what large ones do not"
        return
    assert VALUES.end_of_item(data, 0) == len(data)
    written = VALUES.encode(value)
    assert VALUES.encode(VALUES.decode(written)) == written
    if few is not None:
        assert SMALL.encode(few) == written
    try:
        text = json_form.encode(value, VALUES)
    except BadResult as error:
        told(error)
        return
    text.decode("utf-8")
    refused(json_form.decode, text, VALUES)


@target(b"\xa1", b"\x9f", b"\xff", b"\xd9")
def items(data: bytes) -> None:
    """Where an item ends: as the decoder has it, wherever it begins."""
    start = data[0] % 8 if data else 0
    end = refused(VALUES.end_of_item, data, start)
    if end is None:
        return
    assert start < end <= len(data)
    value = refused(VALUES.decode, data[start:end])
    if value is not None and end < len(data):
        assert refused(VALUES.decode, data[start:]) is None


@target(b'{"', b'":', b"\\u", b"\\ud800", b"1e", b"null", b"true", b"-0", b"NaN")
def json(data: bytes) -> None:
    """A value in JSON: what is read is written, and read again it is the same."""
    value = refused(json_form.decode, data, VALUES)
    few = refused(json_form.decode, data, SMALL)
    if value is None:
        assert few is None
        return
    written = json_form.encode(value, VALUES)
    again = json_form.decode(written, VALUES)
    assert json_form.encode(again, VALUES) == written
    # A number too large for a float is infinite, and that is a text on its way back.
    assert b'Infinity"' in written or VALUES.encode(again) == VALUES.encode(value)


@target(b"\x66result", b"\x65error", b"\x64kind", b"\x64code", b"\x67details", b"\x65chunk")
def answer(data: bytes) -> None:
    """An answer, as callers of ours read it: a result, an error, or a part of a stream."""
    try:
        read_answer(data, VALUES)
    except CallError as error:
        told(error)
    reader = StreamReader(VALUES)
    try:
        reader.read(data)
    except CallError as error:
        told(error)
        VALUES.decode(error_answer(error))


@target(b"\x66credit", b"\x66cancel", b'{"credit":', b'{"cancel":true}', b"\xf5")
def said(data: bytes) -> None:
    """What the caller of a stream says."""
    words = refused(read_said, data)
    if words is not None:
        assert words.credit >= 0
        assert words.credit or words.cancel
        if words.credit < 2**64:
            assert read_said(write_said(words)).cancel == words.cancel


@target(b"00-", b"traceparent", b"tracestate", b"-01", b"\x1e12 ")
def headers(data: bytes) -> None:
    """Headers of callers, names and ids: what goes on to the worker can be read there."""
    texts = data.decode("utf-8", "surrogateescape").split("\n")
    pairs = dict(zip(texts[::2], texts[1::2], strict=False))
    pairs["traceparent"] = texts[0]
    trace = trace_of(pairs)
    assert all(value.isascii() for value in trace.values())
    name = request_id(texts[0].encode("utf-8", "surrogateescape"))
    assert name.isprintable()
    about = read_about(write_about(trace, id=name, headers=pairs))
    assert len(about.get("headers", {})) <= 64
    number, text = unmark(data)
    assert 0 <= number < 10**20
    text.encode()


@target(b".", b"*", b">", b" ", b"GET /", b"/{id}", b"{rest:path}")
def address(data: bytes) -> None:
    """Names of operations, and where they are found."""
    text = data.decode("utf-8", "replace")
    name = refused(check_operation, text)
    if name is not None:
        fits = is_subject(name)
        subject = Address().operation(name)
        assert subject.endswith(name)
        if fits:
            assert not set(subject) & set(" *>\t\r\n")
            assert all(subject.split("."))
    for raw in (False, True):
        try:
            made = route.read_route(text, raw=raw)
        except ValueError as error:
            assert len(str(error)) < MOST_TEXT  # noqa: PT017  whatever is wrong is said shortly
        else:
            assert route.read_route(str(made), raw=raw) == made
            assert not route.read_template(made.path).rest or raw
