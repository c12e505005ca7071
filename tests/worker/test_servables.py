"""Graphs of handlers as they run: those of the original's tests, with the results known there."""

from __future__ import annotations

import numpy as np
import pytest

from provider.errors import HandlerError, InvalidArgument
from provider.wire.servable import TIMESTAMP
from tests.servables.making import (
    ADD_TWO,
    CONCATENATE,
    DOUBLE,
    GENERATE,
    IMMEDIATE,
    INCREMENT,
    INCREMENT_BY_2,
    INPUT,
    LITERAL,
    LOOPING,
    UPPER,
    array,
    asked,
    floats,
    graph,
    node,
    tensor,
)


class TestResults:
    def test_text_in_upper_case(self, serve_graphs):
        answered = serve_graphs(UPPER).call("m", asked(tensor("input", "größer".encode())))
        assert answered["outputs"] == [tensor("output", "GRÖSSER".encode(), "UINT8")]

    @pytest.mark.parametrize("shape", [(3,), (2, 3), (), (0,), (2, 0)])
    def test_incremented(self, serve_graphs, shape):
        given = np.ones(shape, np.float32)
        (output,) = serve_graphs(INCREMENT).call("m", asked(tensor("input", given)))["outputs"]
        assert (output["name"], output["datatype"], output["shape"]) == (
            "output",
            "FP32",
            list(shape),
        )
        assert np.array_equal(array(output), given + 1)

    def test_two_inputs_to_two_outputs(self, serve_graphs):
        text = graph(
            node("model.py", inputs=("A:input1", "B:input2"), outputs=("A:output1", "B:output2")),
            inputs=("input1", "input2"),
            outputs=("output1", "output2"),
        )
        given = asked(tensor("input2", floats(2)), tensor("input1", floats(1)))
        outputs = serve_graphs(INCREMENT, text).call("m", given)["outputs"]
        assert {each["name"]: array(each).tolist() for each in outputs} == {
            "output1": [2],
            "output2": [3],
        }

    def test_nodes_in_a_chain_add_up(self, serve_graphs):
        text = graph(
            node("model.py", "one", ("I:input",), ("O:a",)),
            node("by_2.py", "two", ("I:a",), ("O:b",)),
            node("model.py", "three", ("I:b",), ("O:output",)),
        )
        served = serve_graphs({"m/model.py": INCREMENT, "m/by_2.py": INCREMENT_BY_2}, text)
        (output,) = served.call("m", asked(tensor("input", floats(1, 2))))["outputs"]
        assert array(output).tolist() == [5, 6]

    def test_three_nodes_of_one_file_double_eightfold(self, serve_graphs):
        text = graph(
            node("model.py", "one", ("I:input",), ("O:a",)),
            node("model.py", "two", ("I:a",), ("O:b",)),
            node("model.py", "three", ("I:b",), ("O:output",)),
        )
        (output,) = serve_graphs(DOUBLE, text).call("m", asked(tensor("input", b"ab")))["outputs"]
        assert output["data"] == b"ab" * 8

    def test_a_datatype_of_ones_own_is_bytes_to_handlers(self, serve_graphs):
        (output,) = serve_graphs(INCREMENT_BY_2).call(
            "m", asked(tensor("input", b"\1\2\3", "my_type", [3]))
        )["outputs"]
        assert output == tensor("output", b"\3\4\5", "my_type", [3])

    def test_inputs_come_in_the_order_of_their_tags(self, serve_graphs):
        text = graph(
            node("model.py", inputs=("C:third", "B:1:second", "A:zeroth", "B:0:first")),
            inputs=("third", "second", "first", "zeroth"),
        )
        names = ("second", "third", "first", "zeroth")
        inputs = [tensor(name, floats(n)) for n, name in enumerate(names)]
        (output,) = serve_graphs(CONCATENATE, text).call("m", asked(*inputs))["outputs"]
        assert array(output).tolist() == [3, 2, 0, 1]

    @pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"])
    def test_two_are_added_and_keep_their_type(self, serve_graphs, dtype):
        text = graph(node("model.py", inputs=("A:a", "B:b")), inputs=("a", "b"))
        one = np.arange(6).reshape(2, 3).astype(dtype)
        given = asked(tensor("a", one), tensor("b", one))
        (output,) = serve_graphs(ADD_TWO, text).call("m", given)["outputs"]
        assert output == tensor("output", one + one)

    def test_integers_of_64_bits_and_columns_of_an_array(self, serve_graphs):
        handler = """
            import numpy as np
            from pyovms import Tensor

            class OvmsPythonModel:
                def execute(self, inputs):
                    return [Tensor("output", np.arange(2**40, 2**40 + 6).reshape(2, 3)[:, ::2])]
        """
        (output,) = serve_graphs(handler).call("m", asked(INPUT))["outputs"]
        assert (output["datatype"], output["shape"]) == ("INT64", [2, 2])
        assert array(output).tolist() == [[2**40, 2**40 + 2], [2**40 + 3, 2**40 + 5]]

    def test_a_format_kserve_has_no_name_for(self, serve_graphs):
        handler = """
            import numpy as np
            from pyovms import Tensor

            class OvmsPythonModel:
                def execute(self, inputs):
                    return [Tensor("output", np.array(["one", "two"]))]
        """
        (output,) = serve_graphs(handler).call("m", asked(INPUT))["outputs"]
        assert (output["datatype"], output["shape"]) == ("3w", [2])

    def test_an_output_without_items_is_there(self, serve_graphs):
        handler = UPPER.replace("bytes(inputs[0]).decode().upper().encode()", "b''")
        assert serve_graphs(handler).call("m", asked(INPUT))["outputs"] == [
            tensor("output", b"", "UINT8")
        ]

    def test_a_subclass_of_list_and_of_tensor_will_do(self, serve_graphs):
        handler = """
            from pyovms import Tensor

            class Mine(Tensor):
                pass

            class Many(list):
                pass

            class OvmsPythonModel:
                def execute(self, inputs, more=None):
                    return Many([Mine("output", inputs[0])])
        """
        assert serve_graphs(handler).call("m", asked(INPUT))["outputs"][0]["data"] == b"hello"

    def test_the_time_of_packets(self, serve_graphs):
        served = serve_graphs(UPPER)
        told = served.call("m", asked(INPUT, parameters={TIMESTAMP: 42, "other": "x"}))
        assert told["parameters"] == {TIMESTAMP: 42}
        first, second = (served.call("m", asked(INPUT))["parameters"][TIMESTAMP] for _ in "12")
        assert 1_700_000_000_000_000 < first <= second

    def test_text_in_base64_for_those_who_write_json(self, serve_graphs):
        given = asked({"name": "input", "datatype": "BYTES", "shape": [2], "data": "aGk="})
        assert serve_graphs(UPPER).call("m", given)["outputs"][0]["data"] == b"HI"


class TestInParts:
    def test_one_message_makes_three_answers(self, serve_graphs):
        served = serve_graphs(GENERATE, graph(node("model.py", more=LOOPING)))
        given = asked(tensor("input", floats(3.5)), parameters={TIMESTAMP: 10})
        parts = list(served.stream("m", given))
        assert [array(*part["outputs"]).tolist() for part in parts] == [[4.5], [5.5], [6.5]]
        assert [part["parameters"][TIMESTAMP] for part in parts] == [10, 11, 12]
        assert served.call("m", given) == parts

    def test_two_outputs_each_time(self, serve_graphs):
        text = graph(
            node(
                "model.py",
                inputs=("A:input1", "B:input2"),
                outputs=("A:output1", "B:output2"),
                more=LOOPING,
            ),
            inputs=("input1", "input2"),
            outputs=("output1", "output2"),
        )
        given = asked(tensor("input1", floats(3.5)), tensor("input2", floats(7.5)))
        parts = list(serve_graphs(GENERATE, text).stream("m", given))
        assert [[array(each).item() for each in part["outputs"]] for part in parts] == [
            [4.5, 8.5],
            [5.5, 9.5],
            [6.5, 10.5],
        ]

    def test_what_follows_in_the_chain_runs_for_each_part(self, serve_graphs):
        text = graph(
            node("model.py", "parts", ("I:input",), ("O:middle",), LOOPING),
            node("after.py", "after", ("I:middle",), ("O:output",)),
        )
        parts = GENERATE.replace('each.name.replace("input", "output")', '"middle"')
        served = serve_graphs({"m/model.py": parts, "m/after.py": INCREMENT}, text)
        given = asked(tensor("input", floats(3.5)))
        answers = list(served.stream("m", given))
        assert [array(*each["outputs"]).item() for each in answers] == [5.5, 6.5, 7.5]

    def test_outputs_may_come_when_they_come(self, serve_graphs):
        handler = """
            from pyovms import Tensor

            class OvmsPythonModel:
                def execute(self, inputs):
                    for word in bytes(inputs[0]).split():
                        yield [Tensor("word", word)]
                    yield []
                    yield [Tensor("end", b"")]
        """
        text = graph(
            node("model.py", outputs=("W:word", "E:end"), more=LOOPING), outputs=("word", "end")
        )
        given = asked(tensor("input", b"one two"), parameters={TIMESTAMP: 0})
        parts = list(serve_graphs(handler, text).stream("m", given))
        assert [(p["parameters"][TIMESTAMP], p["outputs"][0]["name"]) for p in parts] == [
            (0, "word"),
            (1, "word"),
            (3, "end"),
        ]

    def test_a_looping_node_may_return_a_list(self, serve_graphs):
        served = serve_graphs(UPPER, graph(node("model.py", more=LOOPING)))
        (part,) = served.stream("m", asked(INPUT))
        assert part["outputs"][0]["data"] == b"HELLO"

    def test_any_iterator_of_lists_will_do(self, serve_graphs):
        handler = """
            from pyovms import Tensor

            class OvmsPythonModel:
                def execute(self, inputs):
                    return map(lambda n: [Tensor("output", bytes([n]))], range(2))
        """
        served = serve_graphs(handler, graph(node("model.py", more=LOOPING)))
        parts = list(served.stream("m", asked(INPUT)))
        assert [part["outputs"][0]["data"] for part in parts] == [b"\0", b"\1"]

    def test_a_node_that_still_gives_takes_no_more(self, serve_graphs):
        parts = GENERATE.replace('each.name.replace("input", "output")', "self.output")
        parts = parts.replace(
            "def execute",
            "def initialize(self, kwargs):\n            self.output = kwargs['output_names'][0]\n\n"
            "        def execute",
        )
        text = graph(
            node("model.py", "one", ("I:input",), ("O:middle",), LOOPING),
            node(
                "model.py",
                "two",
                ("I:middle",),
                ("O:output",),
                LOOPING.replace(":loopback", ":second"),
            ),
        )
        served = serve_graphs(parts, text, tracebacks=True)
        answers = served.stream("m", asked(tensor("input", floats(1))))
        assert array(*next(answers)["outputs"]).item() == 3
        with pytest.raises(HandlerError, match="still processing; a new stream is needed"):
            next(answers)

    def test_who_leaves_ends_the_generator(self, serve_graphs, tmp_path):
        handler = f"""
            from pyovms import Tensor

            class OvmsPythonModel:
                def execute(self, inputs):
                    try:
                        while True:
                            yield [Tensor("output", b"more")]
                    finally:
                        open({str(tmp_path / "left")!r}, "w").close()
        """
        answers = serve_graphs(handler, graph(node("model.py", more=LOOPING))).stream(
            "m", asked(INPUT)
        )
        next(answers)
        assert not (tmp_path / "left").exists()
        answers.close()
        assert (tmp_path / "left").exists()

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ("yield Tensor('output', b'')", "yielded a Tensor"),
            ("yield (Tensor('output', b''),)", "yielded a tuple"),
            ("yield [Tensor('loopback', b'')]", "a Tensor 'loopback'; the outputs are output"),
            ("if False: yield", "ended before it yielded anything"),
            ("raise ValueError('boom'); yield", "raised ValueError: boom"),
            ("return [Tensor('output', b'')]; yield", "ended before it yielded anything"),
        ],
    )
    def test_parts_that_are_none(self, serve_graphs, body, says):
        handler = f"""
            from pyovms import Tensor

            class OvmsPythonModel:
                def execute(self, inputs):
                    {body}
        """
        served = serve_graphs(handler, graph(node("model.py", more=LOOPING)), tracebacks=True)
        with pytest.raises(HandlerError) as caught:
            list(served.stream("m", asked(INPUT)))
        assert caught.value.message.startswith(LITERAL)
        assert says in caught.value.message

    def test_a_generator_may_fail_halfway(self, serve_graphs):
        handler = """
            from pyovms import Tensor

            class OvmsPythonModel:
                def execute(self, inputs):
                    yield [Tensor("output", b"1")]
                    raise ValueError("halfway")
        """
        answers = serve_graphs(handler, graph(node("model.py", more=LOOPING))).stream(
            "m", asked(INPUT)
        )
        next(answers)
        with pytest.raises(HandlerError) as caught:
            next(answers)
        assert caught.value.message == LITERAL
        assert "halfway" in caught.value.traceback


class TestSomeInputs:
    HANDLER = """
        from pyovms import Tensor

        class OvmsPythonModel:
            def execute(self, inputs):
                return [Tensor("output", " ".join(each.name for each in inputs).encode())]
    """
    NODE = node("model.py", inputs=("A:a", "B:b"), more=IMMEDIATE)

    def test_those_there_are(self, serve_graphs):
        served = serve_graphs(self.HANDLER, graph(self.NODE, inputs=("a", "b")))
        for names in (["b"], ["a"], ["b", "a"]):
            given = asked(*(tensor(name, b"") for name in names))
            assert served.call("m", given)["outputs"][0]["data"].decode().split() == sorted(names)

    def test_at_least_one(self, serve_graphs):
        served = serve_graphs(self.HANDLER, graph(self.NODE, inputs=("a", "b")))
        with pytest.raises(InvalidArgument, match="Invalid number of inputs"):
            served.call("m", asked())

    def test_a_message_of_a_stream_may_lack_some(self, serve_graphs):
        served = serve_graphs(
            self.HANDLER, graph(node("model.py", inputs=("A:a", "B:b")), inputs=("a", "b"))
        )
        told = served.call("m", asked(tensor("a", b""), stream=True))
        assert told["outputs"] == []
