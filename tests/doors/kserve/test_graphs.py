"""Graphs of Python nodes as models, with the statuses clients of the original know."""

from __future__ import annotations

import json
import time

import grpc
import numpy as np
import pytest
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from provider.wire.servable import TIMESTAMP
from tests.conftest import PATIENCE
from tests.kserve_clients import Served, raw, tensor
from tests.servables.making import (
    GENERATE,
    IMMEDIATE,
    INCREMENT,
    LITERAL,
    LOOPING,
    UPPER,
    folder,
    graph,
    handler_of,
    node,
    save,
)

BOTH = graph(
    node("model.py", inputs=("A:input1", "B:input2"), outputs=("A:output1", "B:output2")),
    inputs=("input1", "input2"),
    outputs=("output1", "output2"),
)
PARTIAL = graph(
    node(
        "../both/model.py",
        inputs=("A:input1", "B:input2"),
        outputs=("A:output1", "B:output2"),
        more=IMMEDIATE,
    ),
    inputs=("input1", "input2"),
    outputs=("output1", "output2"),
)
CUSTOM = handler_of('return [Tensor("output", b"ab\\0", shape=[3], datatype="mine")]')
TEXTS = handler_of(
    'return [Tensor("output", b"\\2\\0\\0\\0hi\\0\\0\\0\\0", shape=[2], datatype="BYTES")]'
)
ECHO = handler_of('return [Tensor("output", bytes(inputs[0]))]')
ONE = np.array([1], np.float32)


@pytest.fixture(scope="module")
def served(serve, tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    config = folder(
        root,
        {
            "upper/model.py": UPPER,
            "both/model.py": INCREMENT,
            "increment/model.py": INCREMENT,
            "generate/model.py": GENERATE,
            "custom/model.py": CUSTOM,
            "texts/model.py": TEXTS,
            "echo/model.py": ECHO,
            "empty/model.py": handler_of("return []"),
            "broken/model.py": "import nothing_of_that_name",
        },
        upper=graph(node("model.py")),
        both=BOTH,
        partial=PARTIAL,
        increment=graph(node("model.py")),
        generate=graph(node("model.py", more=LOOPING)),
        custom=graph(node("model.py")),
        texts=graph(node("model.py")),
        echo=graph(node("model.py")),
        empty=graph(node("model.py")),
        broken=graph(node("model.py")),
    )
    return serve(None, "--models", str(config))


@pytest.fixture(scope="module")
def stub(served):
    with grpc.insecure_channel(served.grpc_url) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def refused(work):
    with pytest.raises(InferenceServerException) as caught:
        work()
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


def texts(name, *words):
    return tensor(name, np.array(words, dtype=object))


def as_http(name, array, *, binary=True):
    return tensor(name, array, module=triton_http, binary_data=binary)


def test_a_graph_tells_the_names_of_its_tensors(served):
    assert served.grpc.is_model_ready("both")
    told = {
        "name": "both",
        "versions": ["1"],
        "platform": "OpenVINO",
        "inputs": [{"name": name, "datatype": "INVALID"} for name in ("input1", "input2")],
        "outputs": [{"name": name, "datatype": "INVALID"} for name in ("output1", "output2")],
    }
    assert served.grpc.get_model_metadata("both", as_json=True) == told
    for each in (*told["inputs"], *told["outputs"]):
        each["shape"] = []
    assert served.http.get_model_metadata("both") == told


def test_bare_bytes_come_as_they_are(served):
    given = raw("input", [25], "BYTES", b"Make this text uppercase.")
    before = time.time_ns() // 1000
    result = served.grpc.infer("upper", [given], request_id="7")
    assert result.as_numpy("output").tobytes() == b"MAKE THIS TEXT UPPERCASE."
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == ("upper", "1", "7")
    assert before <= response.parameters[TIMESTAMP].int64_param <= time.time_ns() // 1000
    [output] = response.outputs
    assert (output.datatype, list(output.shape)) == ("UINT8", [25])
    assert not output.HasField("contents")


def test_texts_come_with_their_lengths_whatever_way(served):
    expected = b"\2\0\0\0hi"
    assert (
        served.grpc.infer("echo", [texts("input", "hi")]).as_numpy("output").tobytes() == expected
    )
    for binary in (True, False):
        given = as_http("input", np.array(["hi"], object), binary=binary)
        got = served.http.infer("echo", [given]).as_numpy("output")
        assert got.tobytes() == expected


def test_typed_contents_come_as_their_bytes(stub):
    request = service_pb2.ModelInferRequest(model_name="echo")
    given = request.inputs.add(name="input", datatype="INT16", shape=[2])
    given.contents.int_contents.extend([1, -1])
    answer = stub.ModelInfer(request, timeout=PATIENCE)
    assert answer.raw_output_contents == [b"\1\0\xff\xff"]


def test_the_time_of_a_request_is_that_of_its_answer(served):
    result = served.grpc.infer(
        "upper", [raw("input", [1], "BYTES", b"a")], parameters={TIMESTAMP: 42, "more": "text"}
    )
    assert result.get_response().parameters[TIMESTAMP].int64_param == 42


def test_outputs_come_by_name_whatever_is_asked_for(served):
    from tritonclient.grpc import InferRequestedOutput

    inputs = [tensor("input1", ONE), tensor("input2", ONE + 1)]
    result = served.grpc.infer("both", inputs, outputs=[InferRequestedOutput("output1")])
    assert result.as_numpy("output1").tolist() == [2]
    assert result.as_numpy("output2").tolist() == [3]


def test_datatypes_of_ones_own_come_and_go(served):
    answer = served.grpc.infer("custom", [raw("input", [9], "my_type", b"xyz")]).get_response()
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("mine", [3])
    assert answer.raw_output_contents == [b"ab\0"]


def test_texts_of_a_handler_are_texts(served):
    given = raw("input", [1], "BYTES", b"x")
    assert served.grpc.infer("texts", [given]).as_numpy("output").tolist() == [b"hi", b""]
    told = {"inputs": [{"name": "input", "datatype": "BYTES", "shape": [1], "data": ["x"]}]}
    status, body = served.post("/v2/models/texts/infer", told)
    assert status == 200
    assert json.loads(body)["outputs"] == [
        {"name": "output", "shape": [2], "datatype": "BYTES", "data": ["hi", ""]}
    ]
    status, body = served.post("/v2/models/custom/infer", told)
    assert (status, "ask for it with binary_data" in json.loads(body)["error"]) == (500, True)


def test_inputs_may_be_left_out_where_the_graph_says_so(served, stub):
    request = service_pb2.ModelInferRequest(
        model_name="partial", raw_input_contents=[ONE.tobytes()]
    )
    request.inputs.add(name="input1", datatype="FP32", shape=[1])
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request, timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().endswith("Unknown error during mediapipe execution")
    with served.stream() as stream:
        stream.async_stream_infer("partial", [tensor("input2", ONE)])
        result, error = stream.take()
        assert error is None
        assert result.as_numpy("output2").tolist() == [2]


A = raw("input", [1], "BYTES", b"a")
F = tensor("input", ONE)
WRONG, NOT_LOADED = "INVALID_ARGUMENT", "Mediapipe is not loaded yet"
UNKNOWN = "Mediapipe graph definition with requested name is not found"


@pytest.mark.parametrize(
    ("model", "inputs", "status", "code", "text"),
    [
        ("nobody", [A], "NOT_FOUND", 404, UNKNOWN),
        ("upper", [raw("foo", [1], "BYTES", b"a")], WRONG, 400, "Unexpected input - foo is unexp"),
        ("both", [tensor("input1", ONE)], WRONG, 400, "Invalid number of inputs - Not all input"),
        ("upper", [A, A], "FAILED_PRECONDITION", 412, "Failed to add packet"),
        ("upper", [raw("input", [3], "FP32", b"123")], WRONG, 400, "Invalid content size"),
        ("upper", [raw("input", [-1], "BYTES", b"123")], WRONG, 400, ""),
        ("upper", [raw("input", [2**62, 2**62], "INT8", b"1")], WRONG, 400, "Invalid input shape"),
        ("upper", [raw("input", [1], "BYTES", b"\xff")], WRONG, 400, LITERAL),
        ("increment", [tensor("input", np.array([1]))], WRONG, 400, LITERAL),
        ("empty", [A], WRONG, 400, "Mediapipe execution failed. MP status"),
        ("broken", [A], "UNAVAILABLE", 503, NOT_LOADED),
    ],
)
def test_what_goes_wrong_has_its_status(served, model, inputs, status, code, text):
    told, words = refused(lambda: served.grpc.infer(model, inputs))
    assert (told, words[: len(text)]) == (status, text)
    # The same over HTTP, byte for byte.
    head = {"inputs": []}
    tail = b""
    for each in inputs:
        data = each._get_content()
        head["inputs"].append(
            {
                "name": each.name(),
                "shape": list(each.shape()),
                "datatype": each.datatype(),
                "parameters": {"binary_data_size": len(data)},
            }
        )
        tail += data
    body = json.dumps(head).encode()
    answered, got = served.ask(
        f"/v2/models/{model}/infer", "POST", body + tail, Inference_Header_Content_Length=len(body)
    )
    assert (answered, json.loads(got)["error"][: len(text)]) == (code, text)


@pytest.mark.parametrize("value", ["text", 0.5, True, 2**63 - 1])
def test_a_time_that_is_none_is_unknown_to_be_wrong(served, value):
    told = refused(lambda: served.grpc.infer("upper", [A], parameters={TIMESTAMP: value}))
    assert told == ("UNKNOWN", "Unknown error")


def test_a_failure_is_over_with_its_call(served):
    for _ in range(2):
        assert refused(lambda: served.grpc.infer("upper", [raw("input", [1], "BYTES", b"\xff")]))
        assert served.grpc.infer("upper", [A]).as_numpy("output").tobytes() == b"A"


def test_a_graph_that_is_not_loaded_keeps_nobody_from_serving(served):
    assert served.grpc.is_server_ready()
    assert not served.grpc.is_model_ready("broken")
    status, text = refused(lambda: served.grpc.get_model_metadata("broken"))
    assert (status, text[: len(NOT_LOADED)]) == ("UNAVAILABLE", NOT_LOADED)
    assert not served.http.is_model_ready("broken")
    assert served.ask("/v2/models/broken")[0] == 503


def test_a_result_in_parts_is_its_first_part_to_who_does_not_stream(served):
    assert served.grpc.infer("generate", [F]).as_numpy("output").tolist() == [2]
    assert served.http.infer("generate", [as_http("input", ONE)]).as_numpy("output")[0] == 2


def test_a_result_in_parts_streams_with_rising_times(served):
    with served.stream() as stream:
        for begin in (10, 100):
            stream.async_stream_infer(
                "generate", [F], request_id="7", parameters={TIMESTAMP: begin}
            )
            for step in range(3):
                result, error = stream.take()
                assert error is None
                assert result.as_numpy("output").tolist() == [2 + step]
                response = result.get_response()
                assert response.parameters[TIMESTAMP].int64_param == begin + step
                assert (response.id, response.model_name) == ("", "generate")


def test_a_stream_has_an_answer_for_each_output(served):
    with served.stream() as stream:
        stream.async_stream_infer("both", [tensor("input1", ONE), tensor("input2", ONE + 1)])
        got = [stream.take()[0].get_response() for _ in range(2)]
        assert [[each.name for each in one.outputs] for one in got] == [["output1"], ["output2"]]
        assert len({one.parameters[TIMESTAMP].int64_param for one in got}) == 1


def test_a_stream_ends_with_a_graph_that_fails_and_not_before(served):
    with served.stream() as stream:
        stream.async_stream_infer("upper", [raw("foo", [1], "BYTES", b"a")])
        assert stream.take()[1].message().startswith("Unexpected input")
        stream.async_stream_infer("both", [A])
        assert "is one of upper" in stream.take()[1].message()
        stream.async_stream_infer("upper", [A])
        assert stream.take()[0].as_numpy("output").tobytes() == b"A"
        stream.async_stream_infer("upper", [raw("input", [1], "BYTES", b"\xff")])
        error = stream.take()[1]
        assert (error.status(), error.message()[: len(LITERAL)]) == (
            "StatusCode.INVALID_ARGUMENT",
            LITERAL,
        )


@pytest.mark.parametrize(("model", "status"), [("nobody", "NOT_FOUND"), ("broken", "UNAVAILABLE")])
def test_a_stream_of_what_is_not_there_ends(served, model, status):
    with served.stream() as stream:
        stream.async_stream_infer(model, [A])
        assert stream.take()[1].status() == f"StatusCode.{status}"


def test_what_is_served_is_told(served):
    status, body = served.ask("/v1/config")
    assert status == 200
    told = json.loads(body)
    assert told["upper"] == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": "OK"},
            }
        ]
    }
    assert told["broken"]["model_version_status"][0]["state"] == "LOADING"
    assert body.startswith(b'{\n "upper": {\n  "model_version_status": [\n   {\n    "version": "1"')
    assert served.ask("/v1/config", "POST", b"")[0] == 406
    assert served.ask("/v1/config/reload")[0] == 406


def test_a_config_that_is_saved_is_served_after_a_reload(serve, tmp_path):
    text = graph(node("model.py"))
    config = folder(tmp_path, {"first/model.py": UPPER}, first=text)
    changing = serve(None, "--models", str(config))
    status, body = changing.ask("/v1/config/reload", "POST", b"")
    assert (status, list(json.loads(body))) == (200, ["first"])
    # The provider looks by itself, too, once a second; whoever asks then is told of no change.
    for number in range(20):
        save(tmp_path / f"second{number}/model.py", UPPER)
        folder(tmp_path, {}, first=text, **{f"second{number}": text})
        status, body = changing.ask("/v1/config/reload", "POST", b"")
        if status == 201:
            break
    assert (status, list(json.loads(body))) == (201, ["first", f"second{number}"])
    assert changing.grpc.infer(f"second{number}", [A]).as_numpy("output").tobytes() == b"A"
    folder(tmp_path, {}, **{f"second{number}": text})
    changing.ask("/v1/config/reload", "POST", b"")
    for _ in range(20):
        if not changing.http.is_model_ready("first"):
            break
        changing.ask("/v1/config/reload", "POST", b"")
    assert refused(lambda: changing.grpc.infer("first", [A]))[0] == "NOT_FOUND"


def test_a_gateway_answers_for_graphs_elsewhere(served, start_gateway):
    gateway = Served(served.provider, start_gateway(served.provider))
    try:
        assert gateway.grpc.infer("upper", [A]).as_numpy("output").tobytes() == b"A"
        told = refused(lambda: gateway.grpc.infer("upper", [raw("input", [1], "BYTES", b"\xff")]))
        assert told == ("INVALID_ARGUMENT", LITERAL)
        assert refused(lambda: gateway.grpc.infer("upper", [A, A]))[0] == "FAILED_PRECONDITION"
        with gateway.stream() as stream:
            stream.async_stream_infer("generate", [F])
            assert [stream.take()[0].as_numpy("output")[0] for _ in range(3)] == [2, 3, 4]
    finally:
        gateway.close()
