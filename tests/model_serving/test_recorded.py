"""A request of a client of model-serving is answered as it was.

Recorded pairs are those of model-serving 2.0.6 under gunicorn. The text of a protobuf error belongs
to protobuf and differs between its versions, so only its beginning is compared.
"""

from __future__ import annotations

import importlib
import json
import math
import re

import pytest

from tests.model_serving.conftest import INSIDE, LANGUAGE, MALFORMED, OK


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        (b'{"title":"T","body":"hello world"}', 200, OK),
        (INSIDE % b'"hello world"', 200, OK),
        (b"{}", 500, b'{"error":"\'NoneType\' object is not subscriptable"}\n'),
        (INSIDE % b"null", 400, b'{"error":"Missing text"}\n'),
        (b'{"enrichments":{"extracted":{"value":{}}}}', 500, b'{"error":"\'body\'"}\n'),
        (b'{"title":"T"', 500, MALFORMED),
        (b"", 500, MALFORMED),
        (
            b'{"body":"x","id":"1"}',
            500,
            b'{"error":"predict() got an unexpected keyword argument \'id\'"}\n',
        ),
        (b"null", 500, b'{"error":"\'NoneType\' object is not iterable"}\n'),
        (
            b'{"body":"x","language":"en"}',
            400,
            rb'{"error":"Message type \"app.Request\" has no field named \"language\"',
        ),
        (b'{"body":5}', 400, b'{"error":"Failed to parse body field: expected string'),
        (b"[1,2]", 400, b'{"error":"Failed to parse 1 field: expected string'),
        (b'"x"', 400, rb'{"error":"Message type \"app.Request\" has no field named \"x\"'),
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_a_body_is_answered_as_it_was(client, body, status, answer, kind):
    response = client.post("/", data=body, content_type=kind)
    assert (response.status_code, response.content_type) == (status, "application/json")
    assert response.data.startswith(answer)
    assert response.data == answer or not answer.endswith(b"\n")


def test_a_form_is_no_json(client):
    response = client.post("/", data={"a": "b"})
    assert (response.status_code, response.data) == (500, MALFORMED)


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/", 405, {"POST", "OPTIONS"}),
        ("PUT", "/", 405, {"POST", "OPTIONS"}),
        ("OPTIONS", "/", 200, {"POST", "OPTIONS"}),
        ("POST", "/__ping", 405, {"HEAD", "OPTIONS", "GET"}),
        ("GET", "/nope", 404, set()),
        ("GET", "/static/../app_factory.py", 404, set()),
    ],
)
def test_other_routes_and_methods_have_their_statuses_and_a_json_body(
    client, method, path, status, allowed
):
    response = client.open(path, method=method)
    assert response.status_code == status
    assert set(response.allow) == allowed
    if status >= 400:
        assert response.json["error"].startswith(f"{status} ")


def test_ping(client):
    response = client.get("/__ping")
    assert (response.data, response.content_type) == (b"Success", "text/html; charset=utf-8")
    assert client.head("/__ping").status_code == 200


def test_what_comes_is_what_a_handler_gets(client, serve, process):
    serve("/echo", process("echo", lambda **members: [sorted(members), members]))
    answer = client.post("/echo", data='{"b-c": NaN, "a": "\u00e9", "a": [null]}'.encode())
    assert answer.data == b'[["a","b-c"],{"a":[null],"b-c":NaN}]\n'


def test_the_metrics_have_their_names_and_labels(client):
    client.post("/", json={"body": "x"})
    client.get("/nope")
    response = client.get("/__metrics")
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
    shown = response.text
    for series in (
        'flask_http_request_duration_seconds_sum{endpoint="process_request",method="POST",',
        'flask_http_request_duration_seconds_count{endpoint="None",method="GET",status="404"}',
        'flask_http_request_duration_seconds_created{endpoint="process_request",method="POST",',
        'flask_http_request_total{method="POST",status="200"}',
        'flask_http_request_created{method="POST",status="200"}',
        "# TYPE flask_http_request_exceptions_total counter",
        "flask_exporter_info{version=",
        "python_gc_objects_collected_total",
        "python_info",
        "process_cpu_seconds_total",
    ):
        assert f"\n{series}" in "\n" + shown, series
    posted = r'_bucket\{endpoint="process_request",le="([^"]+)",method="POST",status="200"'
    buckets = [float(bucket) for bucket in re.findall(posted, shown)]
    assert buckets == [
        *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, math.inf)
    ]
    assert client.get("/__ping").status_code == 200
    assert 'endpoint="ping",le="10.0",method="GET"' not in client.get("/__metrics").text
    assert 'endpoint="prometheus_metrics",le="10.0",method="GET"' not in shown


def test_some_of_the_metrics(client):
    client.post("/", json={"body": "x"})
    shown = client.get("/__metrics?name[]=flask_http_request_total&name[]=python_info").text
    assert set(re.findall(r"^# TYPE (\w+)", shown, re.MULTILINE)) == {
        "flask_http_request_total",
        "python_info",
    }


def test_what_a_handler_raises_is_logged_as_it_was(client, caplog):
    client.post("/", json={"body": 5})
    client.post("/", data=INSIDE % b"null")
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("aylien_model_serving.app_factory", "ERROR"),
        ("aylien_model_serving.app_factory", "WARNING"),
    ]


def test_messages(factory):
    schema = importlib.import_module("language_schema")
    wrapper = factory.FlaskAppWrapper
    message = wrapper.parse_to_protobuf_msg({"body": "x", "no": 1}, schema.Request(), True)
    assert (message.body, message.title) == ("x", "")
    text = wrapper.parse_proto_msg_to_json(message, include_defaults=False)
    assert json.loads(text) == {"body": "x"}
    response = json.loads(wrapper.parse_proto_msg_to_json(schema.Response()))
    assert response == {"version": "", "language": "", "confidence": 0.0}


def test_the_schema_is_that_of_the_proto_file():
    schema = importlib.import_module("language_schema")
    text = (LANGUAGE / "language.proto").read_text()
    assert re.search(r"^package (\w+);", text, re.MULTILINE)[1] == schema.PACKAGE
    written = {}
    for name, fields in re.findall(r"^message (\w+) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
        found = re.findall(r"^  ((?:optional )?\w+) (\w+) = (\d+);", fields, re.MULTILINE)
        assert len(found) == fields.count("\n")
        assert [int(number) for *_, number in found] == list(range(1, len(found) + 1))
        written[name] = {field: kind for kind, field, _ in found}
    assert written == schema.MESSAGES
    error = schema.Response.DESCRIPTOR.fields_by_name["error"]
    assert (error.number, error.has_presence) == (4, True)
    assert not schema.Response.DESCRIPTOR.fields_by_name["version"].has_presence
