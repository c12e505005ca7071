"""Errors: one table of what each kind means everywhere, and errors that survive the wire."""

from __future__ import annotations

import copy
import json
import pickle
from http import HTTPStatus

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provider import errors
from provider.errors import (
    BY_KIND,
    ERROR_CODES,
    KINDS,
    MAX_RETRY_MS,
    MAX_TEXT,
    BadResult,
    CallError,
    CallTimeout,
    ExitCode,
    Fault,
    HandlerError,
    Overloaded,
    ProviderError,
    StartError,
    clip,
)

GRPC = {
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
    *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    "UNAUTHENTICATED",
}
# 499 is nginx's, and the only one of ours that the registry does not know.
HTTP = {int(status) for status in HTTPStatus if status >= 400} | {499}

# --- the table ------------------------------------------------------------------------------------


def test_the_table_is_that_of_the_protocol():
    assert {kind: (meaning.code, meaning.fault.value) for kind, meaning in KINDS.items()} == {
        "bad_request": (400, "caller"),
        "unauthorized": (403, "caller"),
        "unknown_operation": (404, "caller"),
        "too_large": (413, "caller"),
        "invalid_argument": (422, "caller"),
        "overloaded": (429, "provider"),
        "cancelled": (499, "caller"),
        "handler_error": (500, "dispatch"),
        "bad_result": (500, "dispatch"),
        "worker_lost": (500, "dispatch"),
        "unavailable": (503, "provider"),
        "timeout": (504, "dispatch"),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_each_row_means_something_to_every_protocol(kind):
    meaning = KINDS[kind]
    assert meaning.http == meaning.code
    assert meaning.code in HTTP
    assert meaning.code in ERROR_CODES
    assert meaning.grpc in GRPC - {"OK"}
    assert meaning.exit_code in {ExitCode.FAILED, ExitCode.NO_ANSWER}
    assert (meaning.code < 500) == (meaning.fault is Fault.CALLER or kind == "overloaded")
    assert meaning.says
    assert meaning.says[0].islower()


def test_every_kind_has_one_class_and_every_class_its_kind():
    assert list(BY_KIND) == list(KINDS)
    classes = [
        cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, CallError)
    ]
    assert set(classes) == {CallError, *BY_KIND.values()}
    assert len({cls.kind for cls in BY_KIND.values()}) == len(KINDS)
    assert all(BY_KIND[cls.kind] is cls for cls in BY_KIND.values())


def test_exit_codes_are_those_of_the_documents():
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "NOT_STARTED": 3,
        "NO_ANSWER": 4,
    }
    assert CallTimeout().meaning.exit_code == ExitCode.NO_ANSWER


def test_the_family_has_one_root():
    assert issubclass(CallError, ProviderError)
    assert issubclass(StartError, ProviderError)
    assert not issubclass(StartError, CallError)
    assert str(StartError("no venv")) == "no venv"


# --- one error ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BY_KIND)
def test_an_error_without_words_takes_those_of_its_kind(kind):
    error = BY_KIND[kind]()
    meaning = KINDS[kind]
    assert str(error) == error.message == meaning.says
    assert (error.fault, error.code, error.meaning) == (meaning.fault, meaning.code, meaning)
    assert error.as_map() == {"kind": kind, "code": meaning.code, "message": meaning.says}


def test_an_error_tells_what_it_knows():
    error = HandlerError(
        "no", type="ValueError", traceback="tb", retry_after_ms=0, code=418, details=[]
    )
    assert error.as_map() == {
        "kind": "handler_error",
        "code": 418,
        "message": "no",
        "type": "ValueError",
        "traceback": "tb",
        "retry_after_ms": 0,
        "details": [],
    }


def test_a_message_may_be_anything_that_prints():
    assert HandlerError(ValueError("inner")).message == "inner"
    assert HandlerError(404).as_map()["message"] == "404"


def test_long_texts_are_cut_on_the_way_out():
    fields = HandlerError("m" * 10_000, type="T" * 10_000, traceback="t" * 10_000).as_map()
    assert fields["message"] == "m" * MAX_TEXT + "... (5904 more characters)"
    assert fields["type"] == "T" * MAX_TEXT + "... (5904 more characters)"
    assert fields["traceback"] == "t" * 10_000


def test_errors_can_be_copied_and_pickled():
    error = Overloaded("full", retry_after_ms=250, code=430, details={"a": 1})
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is Overloaded
        assert twin.as_map() == error.as_map()
        assert str(twin) == "full"


# --- over the wire --------------------------------------------------------------------------------

texts = st.text(st.characters(), max_size=50)


@given(
    st.sampled_from(sorted(BY_KIND)),
    texts,
    st.none() | texts,
    st.none() | texts,
    st.none() | st.integers(0, MAX_RETRY_MS),
    st.none() | st.sampled_from(ERROR_CODES),
    st.none() | st.integers() | st.lists(st.text(max_size=5), max_size=3),
)
@settings(max_examples=60)
@example("handler_error", "\ud800", "\ud800", "\ud800", None, None, None)
def test_what_leaves_as_a_map_arrives_as_the_same_error(
    kind, message, name, traceback, retry, code, details
):
    error = BY_KIND[kind](
        message, type=name, traceback=traceback, retry_after_ms=retry, code=code, details=details
    )
    fields = error.as_map()
    for sent in (cbor2.loads(cbor2.dumps(fields)), json.loads(json.dumps(fields))):
        arrived = CallError.from_map(sent)
        assert type(arrived) is BY_KIND[kind]
        assert arrived.as_map() == fields


def test_a_kind_from_the_future_is_a_plain_error_with_its_words():
    error = CallError.from_map({"kind": "quota", "code": 402, "message": "pay"})
    assert type(error) is CallError
    assert (error.message, error.code) == ("pay", 402)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kind": None, "message": None, "code": None, "type": None, "traceback": None},
        {"kind": ["timeout"], "message": 5, "code": "500", "type": b"T", "retry_after_ms": "5"},
        {"kind": 10**5000, "message": 10**5000, "code": 10**5000, "retry_after_ms": 10**5000},
        {"message": [10**5000], "type": 10**5000, "traceback": {"a": 10**5000}},
        {"code": True, "retry_after_ms": True},
        {"code": 200, "retry_after_ms": -1},
        {"code": 399},
        {"code": 600},
        {"code": -500},
        {"code": 500.0, "retry_after_ms": 1.5},
    ],
    ids=lambda fields: ",".join(fields) or "empty",
)
def test_fields_that_are_not_what_they_should_be_count_as_absent(fields):
    error = CallError.from_map(fields)
    assert type(error) is CallError
    assert error.as_map() == {"kind": "handler_error", "code": 500, "message": "the handler failed"}


@pytest.mark.parametrize(
    "fields",
    [None, 5, "no", b"no", [1], 10**5000, [10**5000], float("nan")],
    ids=lambda fields: type(fields).__name__,
)
def test_an_error_that_is_no_map_is_a_bad_result(fields):
    error = CallError.from_map(fields)
    assert type(error) is BadResult
    assert error.message.endswith(f"not a map but {type(fields).__name__}")


# --- clip -----------------------------------------------------------------------------------------


def test_clip_leaves_short_texts_alone_and_names_what_it_cut():
    assert clip("") == ""
    assert clip("abc", 3) == "abc"
    assert clip("abcd", 3) == "abc... (1 more characters)"
    assert clip("a\ud800b") == "a?b"
    assert clip("\U0001f600" * 5, 2) == "\U0001f600" * 2 + "... (3 more characters)"


@given(texts, st.integers(1, 60))
def test_what_was_clipped_is_utf_8(text, most):
    clipped = clip(text, most)
    assert clipped.encode("utf-8") or not text
    assert len(clipped) <= most + len("... (99 more characters)")
