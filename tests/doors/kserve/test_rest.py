"""Operations as models over HTTP, asked by Triton's client and by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from provider import __version__
from tests.conftest import write
from tests.kserve_clients import Served, tensor

X = np.arange(6, dtype=np.float32).reshape(2, 3)
TEXT = np.array(["héllo"], dtype=object)
INFER = "/v2/models/shout/infer"
HELLO = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["hello"]}]}


def of(name, array, *, binary=True):
    return tensor(name, array, module=triton_http, binary_data=binary)


def test_the_server_lives_and_tells_its_name(served):
    assert served.http.is_server_live()
    assert served.http.is_server_ready()
    told = {
        "name": "python-provider",
        "version": __version__,
        "extensions": ["binary_tensor_data"],
    }
    assert served.http.get_server_metadata() == told
    assert served.ask("/v2/health/live") == served.ask("/v2/health/ready") == (200, b"")


def test_a_model_is_ready_and_tells_its_tensors(served):
    assert served.http.is_model_ready("add")
    assert served.http.is_model_ready("add", "1")
    assert not served.http.is_model_ready("nobody")
    told = served.http.get_model_metadata("shout")
    assert told == served.http.get_model_metadata("shout", "1")
    assert told == {
        "name": "shout",
        "versions": ["1"],
        "platform": "python",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1]}],
        "outputs": [{"name": "output0", "datatype": "BYTES", "shape": [1]}],
    }
    assert served.ask("/v2/models/shout/")[0] == 200


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("back", [True, False])
def test_arrays_go_through_raw_and_as_json(served, sent, back):
    outputs = [triton_http.InferRequestedOutput("sum", binary_data=back)]
    inputs = [of("a", X, binary=sent), of("b", X, binary=sent)]
    result = served.http.infer("add", inputs, outputs=outputs, request_id="7")
    got = result.as_numpy("sum")
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, X * 2)
    assert result.get_response()["id"] == "7"
    assert [each["name"] for each in result.get_response()["outputs"]] == ["sum"]


def test_what_a_client_sends_without_being_told_how_goes_through(served):
    result = served.http.infer("shout", [of("text", TEXT)])
    assert result.as_numpy("output0").tolist() == ["HÉLLO".encode()]


def test_plain_json_is_answered_in_plain_json(served):
    status, body = served.post(INFER, HELLO)
    assert (status, json.loads(body)) == (
        200,
        {
            "model_name": "shout",
            "model_version": "1",
            "outputs": [{"name": "output0", "shape": [1], "datatype": "BYTES", "data": ["HELLO"]}],
        },
    )


def test_headers_reach_the_function(served):
    body = json.dumps({"inputs": []}).encode()
    status, _ = served.ask("/v2/models/seen/infer", "POST", body, x_seen="it was")
    assert status == 400  # by this protocol, there is at least one input


def error_of(answer):
    status, body = answer
    told = json.loads(body)
    assert list(told) == ["error"]
    return status, told["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", INFER, 406),
        ("POST", "/v2/models/shout", 406),
        ("POST", "/v2/models/shout/ready", 406),
        ("DELETE", "/v2", 406),
        ("PUT", "/v2/health/live", 406),
        ("GET", "/v2/", 200),
        ("GET", "/v2/nothing", 400),
        ("GET", "/v2/models", 400),
        ("GET", "/v2/models/", 400),
        ("GET", "/v2/models/shout/versions/x", 400),
        ("POST", "/v2/models/shout/versions/x/infer", 400),
        ("GET", "/v2/models/shout/other", 400),
        ("GET", "/v2/models/../shout", 400),
        ("GET", "/v2/models/%2e%2e/ready", 400),
        ("GET", "/v2/models/%ff/ready", 400),
        ("GET", "/v2/models/nobody", 404),
        ("GET", "/v2/models/nobody/ready", 404),
        ("GET", "/v2/models/nobody/versions/1", 404),
    ],
)
def test_a_path_has_its_status(served, method, path, status):
    answer = served.ask(path, method, b"{}" if method in ("POST", "PUT") else None)
    assert answer[0] == status
    if status != 200:
        error_of(answer)


def test_options_are_told(served):
    assert served.ask(INFER, "OPTIONS") == (204, b"")


def test_other_paths_are_none_of_this_protocol(served):
    for path in ("/v1/config", "/v2x", "/v1/configuration"):
        status, body = served.ask(path)
        assert (status, json.loads(body)["kind"]) == (404, "unknown_operation")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"{", 412, "The file is not valid json"),
        (b"", 412, "The file is not valid json"),
        (b"{}", 400, "Invalid JSON structure, missing inputs"),
        (b'{"inputs": [{}]}', 400, "Could not parse input content"),
        (b'{"inputs": [{"name": "foo", "shape": [1], "datatype": "INT8", "data": [1]}]}', 400,
         "Unexpected input - foo is unexpected"),
    ],
)  # fmt: skip
def test_a_body_that_is_none_has_its_status(served, body, status, text):
    told, words = error_of(served.ask(INFER, "POST", body))
    assert (told, words[: len(text)]) == (status, text)


def test_what_goes_wrong_in_the_function_has_its_code(served):
    told = {"inputs": [{"name": "code", "shape": [1], "datatype": "INT64", "data": [418]}]}
    assert error_of(served.post("/v2/models/fail/infer", told)) == (418, "no luck")
    with pytest.raises(InferenceServerException, match="no luck"):
        served.http.infer("fail", [of("code", np.array([500]))])
    unknown = error_of(served.post("/v2/models/nobody/infer", HELLO))
    assert unknown == (
        404,
        "Mediapipe graph definition with requested name is not found - nobody",
    )


def test_a_body_that_is_compressed_is_refused(served):
    status, words = error_of(served.ask(INFER, "POST", b"x", Content_Encoding="gzip"))
    assert (status, words) == (415, "the body is compressed; send it as it is")


def test_a_length_that_lies_is_refused(served):
    body = json.dumps(HELLO).encode()
    for length in ("99999", "x", "-1"):
        answer = served.ask(INFER, "POST", body, Inference_Header_Content_Length=length)
        assert error_of(answer)[0] == 400


def test_routes_of_the_author_come_first(serve):
    own = serve("""
        from provider.dispatch import operation

        @operation(http="GET /v2/models/{name}")
        def mine(name: str) -> str:
            return f"my {name}"
        """)
    assert own.ask("/v2/models/x") == (200, b'"my x"')
    assert own.ask("/v2/models/mine/ready") == (200, b"")
    assert own.ask("/v2/models/x", "POST", b"{}")[0] == 405


def test_a_route_that_is_saved_comes_first_at_once(serve):
    program = """
        from provider.dispatch import operation

        @operation
        def mine(name: str) -> str:
            return f"my {name}"
        """
    own = serve(program)
    assert own.ask("/v2/models/mine/ready") == (200, b"")
    text = program.replace("@operation", '@operation(http="GET /v2/models/{name}/ready")')
    write(Path(own.provider.environment["PYTHON_DISPATCH"]), text)
    assert own.ask("/v2/models/mine/ready") == (200, b'"my mine"')


def test_probes_need_no_secret_and_models_do(serve):
    guarded = serve(
        """
        from provider.dispatch import operation

        @operation
        def shout(text: str) -> str:
            return text.upper()
        """,
        PROVIDER_HTTP_TOKEN="secret",
    )
    assert guarded.ask("/v2/health/ready") == (200, b"")
    assert guarded.ask("/v2/models/shout")[0] == 401
    told = guarded.ask("/v2/models/shout", Authorization="Bearer secret")
    assert told[0] == 200


def test_a_gateway_answers_for_a_provider_elsewhere(served, start_gateway):
    line = start_gateway(served.provider)
    gateway = Served(served.provider, line)
    try:
        for client, module in ((gateway.grpc, None), (gateway.http, triton_http)):
            inputs = [tensor("x", X, **({"module": module} if module else {}))]
            got = client.infer("double", inputs).as_numpy("output0")
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, X * 2)
            assert client.is_model_ready("count")
        with gateway.stream() as stream:
            stream.async_stream_infer("count", [tensor("n", np.array([2]))])
            assert [stream.take()[0].as_numpy("output0")[0] for _ in range(2)] == [0, 1]
    finally:
        gateway.close()
