"""Errors as problem documents."""

from __future__ import annotations

import json

import pytest

from provider.doors.http import problems
from provider.errors import BY_KIND, KINDS, CallError, HandlerError, Overloaded, Unauthorized


def told(error: CallError, *, tracebacks: bool = False) -> dict:
    return json.loads(problems.document(error, "an-id", tracebacks=tracebacks))


@pytest.mark.parametrize("kind", KINDS)
def test_the_status_of_each_kind_is_that_of_the_table(kind):
    error = BY_KIND[kind]("why")
    assert problems.status_of(error) == KINDS[kind].http
    document = told(error)
    assert document.pop("title")
    assert document == {
        "type": "about:blank",
        "status": KINDS[kind].http,
        "detail": "why",
        "kind": kind,
        "code": KINDS[kind].code,
        "request_id": "an-id",
    }


def test_authors_choose_the_status_with_the_code():
    error = HandlerError("gone", code=410, details={"n": 1, "b": b"\1"})
    assert problems.status_of(error) == 410
    assert told(error)["title"] == "Gone"
    assert told(error)["details"] == {"n": 1, "b": "AQ=="}


def test_tracebacks_are_shown_where_they_may_be():
    error = HandlerError("x", type="ValueError", traceback="line 1")
    assert told(error)["exception"] == "ValueError"
    assert "traceback" not in told(error)
    assert told(error, tracebacks=True)["traceback"] == "line 1"


def test_details_that_cannot_be_json_are_left_out_and_that_is_said():
    document = told(HandlerError("x", details={1: object()}))
    assert "details" not in document
    assert "its details are left out" in document["detail"]


def test_whole_seconds_to_come_back_in_never_too_few():
    headers = dict(problems.headers_of(Overloaded("x", retry_after_ms=1)))
    assert headers == {b"retry-after": b"1"}
    headers = dict(problems.headers_of(Overloaded("x", retry_after_ms=2001)))
    assert headers == {b"retry-after": b"3"}


def test_who_is_not_known_is_told_how_to_say_who_he_is():
    assert b"www-authenticate" in dict(problems.headers_of(problems.not_identified("x")))
    assert problems.headers_of(Unauthorized("x")) == []


def test_methods_that_are_allowed_are_named():
    error = problems.MethodNotAllowed("x", ("GET", "PUT"))
    assert (error.code, dict(problems.headers_of(error))) == (405, {b"allow": b"GET, PUT"})


def test_codes_nobody_has_a_phrase_for_are_answered_all_the_same():
    assert told(CallError("x", code=599))["title"] == "Error"
    assert problems.raw_answer(CallError("x", code=599)).startswith(b"HTTP/1.1 599 Error\r\n")
