"""What callers and the log are told when a handler does not do what it must, or a caller."""

from __future__ import annotations

import numpy as np
import pytest

from provider.errors import HandlerError, InvalidArgument
from provider.wire.servable import STATUSES, TIMESTAMP, status_of
from tests.servables.making import (
    CONCATENATE,
    IMMEDIATE,
    INCREMENT,
    INPUT,
    LITERAL,
    UPPER,
    array,
    asked,
    floats,
    folder,
    graph,
    handler_of,
    node,
    serving,
    tensor,
)

EXECUTION = STATUSES["MEDIAPIPE_EXECUTION_ERROR"]


class TestFaultsOfHandlers:
    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ("return None", "returned None"),
            ("pass", "returned None"),
            ("return 5", "returned a int"),
            ("return {}", "returned a dict"),
            ("return Tensor('output', b'')", "returned a Tensor"),
            ("return (Tensor('output', b''),)", "returned a tuple"),
            ("return [b'hello']", "gave a bytes in its list"),
            ("return ['output']", "gave a str in its list"),
            ("return [Tensor('other', b'')]", "a Tensor 'other'; the outputs are output"),
            ("return iter([[Tensor('output', b'')]])", "needs LOOPBACK"),
            ("yield [Tensor('output', b'')]", "needs LOOPBACK"),
            ("return [1 / 0]", "ZeroDivisionError: division by zero"),
            ("import no_such_module", "ModuleNotFoundError"),
            ("return [inputs[1]]", "IndexError"),
            ("raise SystemExit(4)", "SystemExit: 4"),
            ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ],
    )
    def test_callers_are_told_one_text_and_the_log_all(self, serve_graphs, body, says):
        served = serve_graphs(handler_of(body))
        with pytest.raises(HandlerError) as caught:
            served.call("m", asked(INPUT))
        error = caught.value
        assert error.message == LITERAL
        assert (error.code, status_of(error.details)) == (400, EXECUTION)
        assert error.details["node"] == "pythonNode"
        assert says in error.traceback

    def test_callers_are_told_more_when_that_is_enabled(self, serve_graphs):
        with pytest.raises(HandlerError) as caught:
            serve_graphs(handler_of("raise ValueError('boom')"), tracebacks=True).call(
                "m", asked(INPUT)
            )
        assert caught.value.message == f"{LITERAL}: execute raised ValueError: boom"

    @pytest.mark.parametrize("signature", ["self", "self, inputs, more", "", "self, *, inputs"])
    def test_a_signature_that_takes_no_inputs(self, serve_graphs, signature):
        handler = handler_of("return []").replace("self, inputs", signature)
        with pytest.raises(HandlerError) as caught:
            serve_graphs(handler).call("m", asked(INPUT))
        assert "TypeError" in caught.value.traceback

    def test_one_that_failed_is_called_again(self, serve_graphs):
        served = serve_graphs(INCREMENT)
        good, bad = tensor("input", floats(1)), tensor("input", np.array([1]))
        for _ in range(2):
            with pytest.raises(HandlerError):
                served.call("m", asked(bad))
            assert array(*served.call("m", asked(good))["outputs"]).tolist() == [2]

    def test_an_output_that_is_left_out(self, serve_graphs):
        text = graph(node("model.py", outputs=("O:output", "M:more")), outputs=("output", "more"))
        served = serve_graphs(UPPER, text)
        with pytest.raises(HandlerError) as caught:
            served.call("m", asked(INPUT))
        assert caught.value.message.endswith("Unknown error during mediapipe execution")
        assert caught.value.code == 400
        assert len(served.call("m", asked(INPUT, stream=True))["outputs"]) == 1

    @pytest.mark.parametrize("more", ["", IMMEDIATE])
    def test_an_empty_list_starts_nothing_after_it(self, serve_graphs, more):
        text = graph(
            node("nothing.py", "nothing", ("I:input",), ("O:middle",)),
            node("model.py", "upper", ("I:middle",), ("O:output",), more),
        )
        served = serve_graphs({"m/nothing.py": handler_of("return []"), "m/model.py": UPPER}, text)
        assert served.call("m", asked(INPUT, stream=True))["outputs"] == []


class TestFaultsOfCallers:
    @pytest.fixture(scope="class")
    @staticmethod
    def served(tmp_path_factory):
        text = graph(node("model.py", inputs=("A:a", "B:b")), inputs=("a", "b"))
        config = folder(tmp_path_factory.mktemp("callers"), {"m/model.py": CONCATENATE}, m=text)
        with serving(config) as served:
            yield served

    GOOD = tensor("a", b"1", "UINT8")
    B = tensor("b", b"2", "UINT8")

    @pytest.mark.parametrize(
        ("given", "status", "says"),
        [
            ([GOOD, tensor("foo", b"")], "INVALID_UNEXPECTED_INPUT", "foo is unexpected"),
            ([GOOD], "INVALID_NO_OF_INPUTS", "Not all input packets created"),
            ([], "INVALID_NO_OF_INPUTS", "Not all input packets created"),
            ([GOOD, GOOD], "MEDIAPIPE_GRAPH_ADD_PACKET_INPUT_STREAM_ERROR", "a is there twice"),
            ([5], "INVALID_REQUEST", "an input is a map"),
            ([{**GOOD, "name": 5}], "INVALID_REQUEST", "is not text"),
            ([{**GOOD, "extra": 5}], "INVALID_REQUEST", "an input has extra"),
            ([{**GOOD, "datatype": 5}], "INVALID_PRECISION", "is not text"),
            ([{**GOOD, "datatype": ""}], "INVALID_PRECISION", "is not text"),
            ([{**GOOD, "shape": 5}], "INVALID_SHAPE", "list of integers"),
            ([{**GOOD, "shape": [-1]}], "INVALID_SHAPE", "list of integers"),
            ([{**GOOD, "shape": [True]}], "INVALID_SHAPE", "list of integers"),
            ([{**GOOD, "shape": [1.0]}], "INVALID_SHAPE", "list of integers"),
            ([{**GOOD, "shape": [2**63]}], "INVALID_SHAPE", "list of integers"),
            ([{**GOOD, "shape": [2]}], "INVALID_CONTENT_SIZE", "takes 2 bytes; there are 1"),
            ([{**GOOD, "datatype": "FP64"}], "INVALID_CONTENT_SIZE", "takes 8 bytes"),
            ([{**GOOD, "shape": [2**62, 2**62]}], "INVALID_CONTENT_SIZE", "more than 2**64"),
            ([{**GOOD, "data": 5}], "INVALID_REQUEST", "neither bytes nor their base64"),
            ([{**GOOD, "data": "?"}], "INVALID_REQUEST", "is no base64"),
        ],
    )
    def test_are_told_by_name_and_reach_no_handler(self, served, given, status, says):
        with pytest.raises((InvalidArgument, HandlerError)) as caught:
            served.call("m", asked(*given))
        error, row = caught.value, STATUSES[status]
        assert error.details["status"] == status
        assert (error.kind, error.code) == (row.kind, row.code)
        assert error.message.startswith(f"{row.text} - ")
        assert says in error.message

    @pytest.mark.parametrize(
        ("parameters", "status"),
        [
            ({TIMESTAMP: "1"}, "UNKNOWN_ERROR"),
            ({TIMESTAMP: 2**63}, "UNKNOWN_ERROR"),
            ({TIMESTAMP: True}, "UNKNOWN_ERROR"),
            ({"py": "x"}, "INVALID_REQUEST"),
            ({"x": 1.5}, "INVALID_REQUEST"),
            ({"x": None}, "INVALID_REQUEST"),
        ],
    )
    def test_parameters(self, served, parameters, status):
        with pytest.raises(InvalidArgument) as caught:
            served.call("m", asked(self.GOOD, self.B, parameters=parameters))
        assert caught.value.details["status"] == status

    def test_more_dimensions_than_an_array_has(self, served):
        wide = {"datatype": "UINT8", "shape": [1] * 2000, "data": b"1"}
        told = served.call("m", asked({"name": "a", **wide}, {"name": "b", **wide}))
        assert array(*told["outputs"]).tolist() == [49, 49]

    @pytest.mark.parametrize("given", [5, [], {}, {"inputs": {}}, {"inputs": [], "other": 1}])
    def test_another_argument(self, served, given):
        with pytest.raises(InvalidArgument):
            served.call("m", given)
