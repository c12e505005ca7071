"""Errors as gRPC statuses."""

from __future__ import annotations

import json
from urllib.parse import quote

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.doors.grpc.statuses import (
    MOST_TEXT,
    MOST_WRITTEN,
    metadata_of,
    one_line,
    status_of,
    text_of,
)
from provider.errors import BY_KIND, CHOSEN_GRPC, KINDS, HandlerError, InvalidArgument, Overloaded


def test_every_kind_has_a_status_that_grpc_knows():
    for kind, error in BY_KIND.items():
        assert status_of(error()) == KINDS[kind].grpc
        assert grpc.StatusCode[status_of(error())]
    assert all(grpc.StatusCode[name] for name in CHOSEN_GRPC.values())


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (409, "ABORTED"),
        (413, "RESOURCE_EXHAUSTED"),
        (418, "UNKNOWN"),
        (422, "INVALID_ARGUMENT"),
        (429, "RESOURCE_EXHAUSTED"),
        (499, "CANCELLED"),
        (500, "UNKNOWN"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)
def test_the_code_an_author_chose_is_followed(code, status):
    assert status_of(HandlerError("no", code=code)) == status


def test_a_code_of_another_kind_is_not():
    assert status_of(InvalidArgument("no", code=404)) == "INVALID_ARGUMENT"


def test_a_text_is_one_line():
    text = "a\r\nb\0c\x1b[31m\u2028d\u202ee \t f"
    assert one_line(text) == "a b c [31m d e f"
    assert text_of(HandlerError(text)) == one_line(text)


def test_a_long_text_is_cut():
    assert one_line("x" * MOST_TEXT) == "x" * MOST_TEXT
    assert one_line("x" * 2000).startswith("x" * MOST_TEXT + "... (")
    assert one_line("x" * 100_000).startswith("x" * MOST_TEXT)


@given(st.text(max_size=3000))
def test_a_text_fits_whatever_it_is_made_of(text):
    line = one_line(text + "\U0001f600" * 300)
    assert len(quote(line, safe="/ ")) <= MOST_WRITTEN
    assert line.isprintable() or not any(char in line for char in "\r\n\0")


def test_what_is_known_of_an_error_goes_along():
    error = HandlerError(
        "no", type="Luck", traceback="line 1\nline 2", code=409, details={"b": b"\1", "n": 1}
    )
    told = dict(metadata_of(error, tracebacks=False))
    assert told == {
        "provider-error-kind": "handler_error",
        "provider-error-code": "409",
        "provider-error-type": "Luck",
        "provider-error-details-bin": b'{"b":"AQ==","n":1}',
    }
    shown = dict(metadata_of(error, tracebacks=True))
    assert shown["provider-error-traceback-bin"] == b"line 1\nline 2"


def test_when_to_try_again_goes_along():
    told = dict(metadata_of(Overloaded("full", retry_after_ms=250), tracebacks=True))
    assert told["retry-after-ms"] == "250"
    assert not any(name.endswith("-bin") for name in told)


def test_what_does_not_fit_stays_away():
    error = HandlerError(
        "no", type="Gl\u00fcck", traceback="first" + "x" * 9000 + "last", details="d" * 5000
    )
    told = dict(metadata_of(error, tracebacks=True))
    assert set(told) == {
        "provider-error-kind",
        "provider-error-code",
        "provider-error-traceback-bin",
    }
    assert told["provider-error-traceback-bin"].endswith(b"last")
    assert len(told["provider-error-traceback-bin"]) <= 2048
    assert "provider-error-details-bin" not in dict(
        metadata_of(HandlerError("no", details=object()), tracebacks=False)
    )


def test_all_of_it_is_less_than_clients_refuse():
    error = HandlerError(
        "\U0001f600" * 5000,
        type="T" * 5000,
        traceback="\u00e9" * 9000,
        details="d" * 1500,
        retry_after_ms=10**9,
    )
    told = metadata_of(error, tracebacks=True)
    assert len(json.loads(dict(told)["provider-error-details-bin"])) == 1500
    size = len(quote(text_of(error), safe="/ "))
    for name, value in told:
        size += len(name) + (len(value) * 4 // 3 if isinstance(value, bytes) else len(value)) + 32
    assert size < 8000
