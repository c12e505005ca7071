"""The language example answers as operations, and as a handler of model-serving that is mounted."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import pytest

from provider.errors import HandlerError, InvalidArgument
from provider.testing import in_process
from tests.documents import ROOT
from tests.shown import curl, try_commands

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


# --- over HTTP ------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_readme_shows_what_happens(start_provider):
    (_, served) = try_commands(FOLDER / "README.md", start_provider)
    # The application has the whole of HTTP, and the whole answer is its own.
    url = served.events("ready")[-1]["http"]
    for command, status, said in (
        ("curl -i http://localhost:8000/", 405, '{"error":"405 Method Not Allowed: '),
        ("curl -i http://localhost:8000/nope", 404, '{"error":"404 Not Found: '),
        ("curl -i -d '{' http://localhost:8000/", 500, '{"error":"400 Bad Request: '),
        ("curl -i -d 'a=b' http://localhost:8000/cached", 500, '{"error":"400 Bad Request: '),
        ("curl -i -X OPTIONS http://localhost:8000/", 200, ""),
        ("curl -i --path-as-is http://localhost:8000/static/../mounted.py", 400, "{"),
    ):
        head, _, body = curl(shlex.split(command), url).partition("\r\n\r\n")
        assert int(head.split()[1]) == status, command
        assert body.startswith(said), command
        if status == 405:
            (allowed,) = re.findall(r"\r\nallow: (.*)", head)
            assert sorted(allowed.strip().split(", ")) == ["OPTIONS", "POST"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_answers_come_from_memory_and_are_counted(start_provider):
    served = start_provider(None, "--example", "language", "--http", "0")
    url = served.events("ready")[-1]["http"]
    for path in ("/", "/protobuf"):
        for _ in range(3):
            answer = curl(["curl", "--json", '{"title": "T", "body": "x"}', url + path], url)
            assert json.loads(answer)["language"] == "en"
    shown = curl(["curl", f"{url}/metrics"], url)
    assert "\nprovider_cache_hits_total 4.0\n" in shown
    assert '\nprovider_calls_total{operation="predict",outcome="ok"} 3.0\n' in shown
    assert served.call("language.predict", {"title": "T", "body": "x"})["language"] == "en"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_a_mounted_handler_follows_its_edits(start_provider, tmp_path):
    shutil.copytree(FOLDER, tmp_path / "language", ignore=shutil.ignore_patterns("__pycache__"))
    program, handler = (
        tmp_path / "language" / name for name in ("mounted.py", "serving_handler.py")
    )
    provider = start_provider(None, "--http", "0", PYTHON_DISPATCH=str(program))
    url = provider.events("ready")[-1]["http"]

    def ask(path="/"):
        return json.loads(curl(shlex.split(f'curl -d \'{{"body": "x"}}\' {url}{path}'), url))

    assert ask()["error"] == "Not an error"
    text = handler.read_text().replace("Not an error", "None at all")
    handler.write_text(text)
    provider.wait_for("reloaded")
    assert [ask(path)["error"] for path in ("/", "/cached")] == ["None at all"] * 2
    # A save that does not load changes nothing.
    handler.write_text(text.replace("None at all", "Never said") + "raise OSError\n")
    provider.wait_for("reload_failed")
    assert ask()["error"] == "None at all"
    # Another URL, in the place of the first one.
    handler.write_text(text.replace('"endpoint": "/"', '"endpoint": "/predict"'))
    provider.wait_for("reloaded", 2)
    assert ask("/predict")["error"] == "None at all"
    assert ask()["error"].startswith("404 ")
    # Everything anew, and the application and its counts are what they were.
    assert provider.call("reload") is True
    assert [ask(path)["error"] for path in ("/predict", "/cached")] == ["None at all"] * 2
    shown = curl(["curl", f"{url}/__metrics"], url)
    assert 'flask_http_request_total{method="POST",status="200"} 7.0' in shown
