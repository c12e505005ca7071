"""Where the adapter is better than model-serving: always, or when asked to."""

from __future__ import annotations

import importlib

import pytest

from tests.conftest import clean_environment
from tests.model_serving.conftest import LANGUAGE, python

ODD = [{1, 2}, object()]


@pytest.mark.parametrize("index", range(len(ODD)))
def test_what_is_no_json_is_an_error_of_the_server(client, serve, process, index):
    serve("/odd", process("odd", lambda: ODD[index]))
    response = client.post("/odd", json={})
    assert (response.status_code, response.content_type) == (500, "application/json")
    assert response.json["error"].startswith("500 Internal Server Error: ")
    assert 'flask_http_request_exceptions_total{method="POST",status="500"}' in (
        client.get("/__metrics").text
    )


@pytest.fixture
def wrong(client, serve, process):
    """Posts to a handler whose answer is not what its schema says."""
    schema = importlib.import_module("language_schema")

    def post(answer):
        serve("/wrong", process("wrong", lambda: answer, schema))
        response = client.post("/wrong", json={})
        assert list(response.json) == ["error"]
        return response

    return post


def test_an_answer_that_fails_its_schema_stays_inside(wrong):
    response = wrong({"language": "en", "secret": "s"})
    assert response.status_code == 400
    assert 'Message type "app.Response" has no field named "secret"' in response.json["error"]
    response = wrong({"confidence": "high"})
    assert response.status_code == 400
    assert "confidence" in response.json["error"]


@pytest.mark.parametrize("answer", [None, [1], 5])
def test_an_answer_that_is_no_map_at_all_is_told_of(wrong, answer):
    assert wrong(answer).status_code in (400, 500)


# --- honest statuses, when asked for --------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b'{"body":"x"}', 200, "Not an error"),
        (b'{"title":"T"', 400, "400 Bad Request"),
        (b'{"body":"x","id":"1"}', 400, "got an unexpected keyword argument 'id'"),
        (b"{}", 500, "'NoneType' object is not subscriptable"),
    ],
)
@pytest.mark.usefixtures("honest")
def test_whose_fault_it_is(client, body, status, error):
    response = client.post("/", data=body)
    assert response.status_code == status
    assert error in response.json["error"]


@pytest.mark.parametrize("body", [b"null", b"[1]", b'"x"', b"5"])
@pytest.mark.usefixtures("honest")
def test_a_body_that_is_no_object(client, serve, process, body):
    serve("/any", process("any", dict))
    response = client.post("/any", data=body)
    assert response.status_code == 400
    assert response.json == {"error": "The body must be a JSON object"}
    assert client.post("/any", data=b'{"a": 1}').json == {"a": 1}


@pytest.mark.usefixtures("honest")
def test_a_wrong_answer_is_the_servers_fault(wrong):
    assert wrong({"no": 1}).status_code == 500


def test_it_is_asked_for_in_the_environment():
    program = (
        "from aylien_model_serving.app_factory import FlaskAppWrapper as F; import logging;"
        "print(F.app.config['HONEST_STATUS'], F.logger.level == logging.DEBUG)"
    )
    environment = clean_environment(
        PYTHONPATH=str(LANGUAGE), MODEL_SERVING_HONEST_STATUS="true", LOG_LEVEL="DEBUG"
    )
    assert python(["-c", program], environment).stdout == "True True\n"
