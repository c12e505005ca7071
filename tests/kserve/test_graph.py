"""Graphs of Python nodes as models: the maps they take and give."""

from __future__ import annotations

import cbor2
import numpy as np
import pytest

from provider.errors import BadResult, CallError, TooLarge
from provider.kserve import cbor
from provider.kserve.faults import fault, is_row
from provider.kserve.graph import Graph, is_graph
from provider.kserve.tensors import InferRequest, Tensor
from provider.wire.values import Limits, Values

VALUES = Values()
SIGNATURE = "(inputs: list, parameters: dict | None = None, stream: bool = False) -> dict"
TOLD = {
    "name": "m",
    "signature": SIGNATURE,
    "doc": "Servable: inputs a, b; outputs c",
    "streams": False,
}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"doc": "Not loaded: there is no file"}, True),
        ({"doc": "Something else"}, False),
        ({"signature": "(inputs: list)"}, False),
    ],
)
def test_a_graph_is_known_by_what_the_worker_tells(changed, expected):
    assert is_graph({**TOLD, **changed}) is expected


def test_a_request_is_the_map_a_graph_takes():
    request = InferRequest("m", "7", [Tensor("a", "FP32", (1, 2), b"12345678")], {"t": 5})
    for stream in (True, False):
        assert cbor2.loads(Graph(TOLD).argument(request, VALUES, stream=stream)) == {
            "inputs": [{"name": "a", "datatype": "FP32", "shape": [1, 2], "data": b"12345678"}],
            "parameters": {"t": 5},
            "stream": stream,
        }


def test_parameters_over_a_limit_are_too_large():
    request = InferRequest("m", parameters={"t": "x" * 11})
    with pytest.raises(TooLarge, match="over the limit of 10"):
        Graph(TOLD).argument(request, Values(Limits(string=10)), stream=False)


OUTPUT = {"name": "c", "datatype": "mine", "shape": [3], "data": b"abc"}


def test_a_result_is_the_answer():
    result = cbor.read(VALUES.encode({"outputs": [OUTPUT], "parameters": {"t": 5}}), VALUES)
    response = Graph(TOLD).response(InferRequest("m", "7"), result)
    assert (response.model, response.id, response.parameters) == ("m", "7", {"t": 5})
    [output] = response.outputs
    assert (output.name, output.datatype, output.shape) == ("c", "mine", (3,))
    assert bytes(output.data) == b"abc"


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        {},
        np.zeros(2),
        {"outputs": [np.zeros(2)], "parameters": {}},
        {"outputs": [OUTPUT]},
        {"outputs": 5, "parameters": {}},
        {"outputs": [{}], "parameters": {}},
        {"outputs": [OUTPUT], "parameters": 5},
        *(
            {"outputs": [OUTPUT], "parameters": wrong}
            for wrong in ({"a": None}, {"a": b"1"}, {"a": [1]}, {"a": 2**64}, {"a": -(2**63) - 1},
                          {5: 5})
        ),
        *(
            {"outputs": [{**OUTPUT, **wrong}], "parameters": {}}
            for wrong in ({"name": 5}, {"datatype": None}, {"shape": [-1]}, {"shape": ["3"]},
                          {"shape": 3}, {"shape": [2**63]}, {"data": "text"}, {"data": None})
        ),
    ],
)  # fmt: skip
def test_what_is_no_answer_of_a_graph_is_a_bad_result(result):
    with pytest.raises(BadResult):
        Graph(TOLD).response(InferRequest("m"), result)


def test_a_graph_that_is_not_loaded_has_no_metadata():
    graph = Graph({**TOLD, "doc": "Not loaded: there is no file"})
    assert graph.problem == "there is no file"
    with pytest.raises(CallError, match=r"^Mediapipe is not loaded yet - there is no file"):
        graph.metadata()


def test_a_fault_is_of_its_row_and_of_no_other():
    error = fault("INVALID_SHAPE", "so")
    assert is_row(error, "INVALID_SHAPE")
    assert not is_row(error, "INVALID_OUTPUT")
    assert not is_row(CallError("no"), "INVALID_SHAPE")
