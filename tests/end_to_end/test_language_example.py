"""The language example answers as operations, and as a handler of model-serving that is mounted."""

from __future__ import annotations

import pytest

from provider.errors import HandlerError, InvalidArgument
from provider.testing import in_process
from tests.documents import ROOT

FOLDER = ROOT / "dispatch_examples" / "language"
ANSWER = {"language": "en", "version": "0.0.1", "error": "Not an error"}
INSIDE = {"enrichments": {"extracted": {"value": {"body": "hello"}}}}


@pytest.fixture(scope="module")
def language():
    with in_process.load(FOLDER / "dispatch.py") as dispatch:
        yield dispatch


@pytest.fixture(scope="module")
def mounted():
    with in_process.load(FOLDER / "mounted.py") as dispatch:
        yield dispatch


# --- in one process -------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["language.predict", "language.predict_protobuf"])
@pytest.mark.parametrize("argument", [{"title": "T", "body": "hello"}, {"title": "T"}, INSIDE])
def test_a_text_has_a_language(language, operation, argument):
    answer = language.call(operation, argument)
    assert answer.pop("confidence") == pytest.approx(0.71)
    assert answer == ANSWER


def test_a_message_may_come_as_its_bytes(language):
    message = language.module.schema.Request(body="hello").SerializeToString()
    assert language.call("predict_protobuf", message)["language"] == "en"
    with pytest.raises(HandlerError, match="parsing message") as raised:
        language.call("predict_protobuf", b"\xff")
    assert raised.value.code == 422


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ({"body": 5}, "body"),
        ({"body": "x", "language": "en"}, "language"),
        ({"enrichments": {"extracted": {"value": {"body": 5}}}}, "body"),
        ({"enrichments": {"extracted": {"other": 5}}}, "other"),
    ],
)
def test_both_checks_refuse_the_same(language, argument, reason):
    with pytest.raises(InvalidArgument, match=reason):
        language.call("predict", argument)
    with pytest.raises(HandlerError, match=reason) as raised:
        language.call("predict_protobuf", argument)
    assert raised.value.code == 422


@pytest.mark.parametrize("operation", ["predict", "predict_protobuf"])
@pytest.mark.parametrize("argument", [{}, {"id": "1"}, {"enrichments": {"extracted": {}}}])
def test_without_a_text_there_is_nothing_to_say(language, operation, argument):
    with pytest.raises(HandlerError, match="Missing text") as raised:
        language.call(operation, argument)
    assert raised.value.code == 400


def test_a_mounted_handler_is_called_by_name_and_over_http(mounted):
    assert mounted.call("language.predict", {"title": "T", "body": "x"})["language"] == "en"
    with pytest.raises(HandlerError, match="Missing text") as raised:
        mounted.call("predict", {"enrichments": {"extracted": {"value": {"body": None}}}})
    assert raised.value.code == 400
    request = {"method": "GET", "path": "/__ping", "query": [], "headers": [], "body": b""}
    answer = mounted.call("application", request)
    assert (answer["status"], answer["body"]) == (200, b"Success")


def test_every_load_mounts_the_one_application():
    for _ in range(2):
        with in_process.load(FOLDER / "mounted.py") as dispatch:
            body = b'{"title": "T", "body": "x"}'
            request = {"method": "POST", "path": "/", "query": [], "headers": [], "body": body}
            assert dispatch.call("application", request)["status"] == 200
