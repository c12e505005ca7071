"""The cache answers the same question, and no other; and what several processes count."""

from __future__ import annotations

import importlib
import types

import pytest
from flask import request

from tests.conftest import clean_environment
from tests.model_serving.conftest import LANGUAGE, MALFORMED, OK, python


@pytest.fixture
def counted(factory, cached_factory, client):
    """Two cached routes whose handler counts its calls; and the calls."""
    calls = []

    def handler(**members):
        calls.append(members)
        if "bad" in members:
            raise factory.InvalidRequest("bad")
        return len(calls)

    def process():
        return cached_factory.CachedFlaskAppWrapper.process_json(handler)

    routes = [
        {"endpoint": path, "callable": process, "methods": ["POST", "PUT"]}
        for path in ("/counted", "/counted/too")
    ]
    cached_factory.CachedFlaskAppWrapper.create_app(routes)
    return types.SimpleNamespace(post=client.post, put=client.put, calls=calls)


def test_the_same_question_is_answered_from_memory(counted):
    for body in ('{"a": 1, "b": [2]}', '{"a":1,"b":[2]}', '{"b": [2], "a": 1}'):
        for kind in ("application/json", "text/plain"):
            assert counted.post("/counted", data=body, content_type=kind).json == 1
    assert len(counted.calls) == 1


def test_another_question_is_not(counted):
    assert counted.post("/counted", json={"z": 1}).json == 1
    assert counted.post("/counted", json={"z": 2}).json == 2
    assert counted.post("/counted", data='{"z": 3}', content_type="text/plain").json == 3
    assert counted.post("/counted?q", json={"z": 1}).json == 4
    assert counted.post("/counted/too", json={"z": 1}).json == 5
    assert counted.put("/counted", json={"z": 1}).json == 6
    assert counted.post("/counted", json={"z": True}).json == 7
    assert counted.post("/counted", json={"z": 1}).json == 1


def test_handlers_and_schemas_of_one_url_are_told_apart(cached_factory, client):
    schema = importlib.import_module("language_schema")

    def one(**_):
        return {"version": "one"}

    def two(**_):
        return {"version": "two"}

    def either():
        handler = {"one": one, "two": two}[request.headers["handler"]]
        checked = schema if "checked" in request.headers else None
        return cached_factory.CachedFlaskAppWrapper.process_json(handler, checked)

    cached_factory.CachedFlaskAppWrapper.create_app(
        [{"endpoint": "/either", "callable": either, "methods": ["POST"]}]
    )
    for handler in ("one", "two", "one"):
        response = client.post("/either", json={"no": 1}, headers={"handler": handler})
        assert response.json == {"version": handler}
    checked = client.post("/either", json={"no": 1}, headers={"handler": "one", "checked": "yes"})
    assert checked.status_code == 400


def test_errors_are_not_remembered(counted):
    for number in (1, 2):
        response = counted.post("/counted", json={"bad": 1})
        assert (response.status_code, response.json) == (400, {"error": "bad"})
        assert len(counted.calls) == number
    response = counted.post("/counted", data='{"a"', content_type="application/json")
    assert (response.status_code, response.data) == (500, MALFORMED)


def test_the_cached_handler_checks_its_schema_too():
    app = importlib.import_module("serving_handler_cached").run_app()
    client = app.test_client()
    for _ in range(2):
        assert client.post("/cached", json={"body": "x"}).data == OK
        assert client.post("/cached", json={"body": 5}).status_code == 400


def test_the_cache_can_be_in_files(cached_factory, counted, tmp_path):
    app = cached_factory.CachedFlaskAppWrapper.create_app(
        cache_config={"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": str(tmp_path)}
    )
    assert counted.post("/counted", json={"a": 1}).json == 1
    assert any(tmp_path.iterdir())
    assert counted.post("/counted", json={"a": 1}).json == 1
    cached_factory.CachedFlaskAppWrapper.create_app()
    assert app.test_client().post("/counted", json={"a": 1}).json == 2


def test_the_metrics_of_several_processes_are_added_up(tmp_path):
    program = """
import serving_handler
client = serving_handler.run_app().test_client()
client.post("/", json={"body": "x"})
print(client.get("/__metrics").text)
"""
    environment = clean_environment(
        PYTHONPATH=str(LANGUAGE), PROMETHEUS_MULTIPROC_DIR=str(tmp_path)
    )
    for count in (1, 2):
        shown = python(["-c", program], environment).stdout
        assert f'flask_http_request_total{{method="POST",status="200"}} {count}.0' in shown
