"""The text of a graph: what it may be, in all forms the format has, and the names of its faults."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.servables import graph as graphs
from provider.servables.graph import GraphError
from tests.servables.making import IMMEDIATE, LOOPING, graph, node

QUICKSTART = """
input_stream: "OVMS_PY_TENSOR:text"
output_stream: "OVMS_PY_TENSOR:uppercase"

node {
  name: "pythonNode"
  calculator: "PythonExecutorCalculator"
  input_side_packet: "PYTHON_NODE_RESOURCES:py"
  input_stream: "INPUT:text"
  output_stream: "OUTPUT:uppercase"
  node_options: {
    [type.googleapis.com / mediapipe.PythonExecutorCalculatorOptions]: {
      handler_path: "/models/python_model/model.py"
    }
  }
}
"""


def read(text):
    return graphs.read(text, lambda path: path)


def test_the_graph_of_the_quickstart():
    read_graph = read(QUICKSTART)
    assert (read_graph.inputs, read_graph.outputs) == (("text",), ("uppercase",))
    assert not read_graph.generative and not read_graph.partial
    assert [each.as_map() for each in read_graph.nodes] == [
        {
            "name": "pythonNode",
            "handler": "/models/python_model/model.py",
            "inputs": [{"tag": "INPUT", "index": 0, "name": "text"}],
            "outputs": [{"tag": "OUTPUT", "index": 0, "name": "uppercase"}],
            "immediate": False,
        }
    ]


def test_every_form_of_the_text():
    assert read(
        """
        # A comment; and fields between which there is anything.
        input_stream: 'OVMS_PY_TENSOR:text', output_stream: "OVMS_PY_"  'TENSOR:uppercase';
        node: <
          name: "pythonNode" calculator: "PythonExecutorCalculator"  # another
          input_side_packet: ["PYTHON_NODE_RESOURCES:py"]
          input_stream: ["INPUT:0:text"], output_stream: 'OUTPUT:uppercase',
          node_options { [type.googleapis.com/mediapipe.PythonExecutorCalculatorOptions] {
            handler_path: "/models/\\x70ython_model/model.py" } }
        >
        """
    ) == read(QUICKSTART)


def test_several_nodes_come_in_the_order_of_their_streams():
    read_graph = read(
        graph(
            node("c.py", "third", ("A:second",), ("B:output",)),
            node("b.py", "second", ("A:first", "B:input"), ("B:second",)),
            node("a.py", "first", ("A:input",), ("B:first",)),
        )
    )
    assert [each.name for each in read_graph.nodes] == ["first", "second", "third"]


def test_a_graph_that_loops():
    read_graph = read(graph(node("model.py", more=LOOPING)))
    assert read_graph.generative
    assert read_graph.notes == ()
    assert read_graph.nodes[0].loops


def test_a_loop_without_its_handler_is_noted():
    before, _, _ = LOOPING.partition("input_stream_handler")
    read_graph = read(graph(node("model.py", more=before)))
    assert "hangs in OpenVINO Model Server" in read_graph.notes[0]


def test_inputs_that_may_be_missing():
    assert read(graph(node("model.py", more=IMMEDIATE))).partial
    assert read(IMMEDIATE + graph(node("model.py"))).partial
    assert not read(graph(node("model.py"))).partial


def changed(old, new):
    assert old in QUICKSTART
    return QUICKSTART.replace(old, new)


INVALID, NOT_INITIALIZED = graphs.INVALID, graphs.NOT_INITIALIZED
OPTIONS = QUICKSTART[QUICKSTART.index("  node_options") : QUICKSTART.rindex("}")]


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        ("", INVALID, "no input_stream"),
        ("node {", INVALID, "it is no graph: "),
        ("\0", INVALID, "it is no graph: "),
        ("a" * 100_000, INVALID, "it is no graph: "),
        ("node { options { " * 20_000, INVALID, "it is no graph: "),
        (changed("calculator:", "calculators:"), INVALID, 'no field named "calculators"'),
        (changed("handler_path:", "handler:"), INVALID, 'no field named "handler"'),
        (changed("PythonExecutorCalculatorOptions", "OtherOptions"), INVALID, "OtherOptions"),
        (changed('output_stream: "OVMS_PY_TENSOR:uppercase"', ""), INVALID, "no output_stream"),
        (changed('"OVMS_PY_TENSOR:text"', '"text"'), INVALID, "the tag of no stream"),
        (changed('"OVMS_PY_TENSOR:text"', '"OVTENSOR:text"'), INVALID, "the tag OVTENSOR"),
        (changed('"INPUT:text"', '"input:text"'), INVALID, "TAG:index:name"),
        (changed('"INPUT:text"', '"INPUT:x:text"'), INVALID, "TAG:index:name"),
        (changed('"INPUT:text"', '"INPUT:0:0:text"'), INVALID, "TAG:index:name"),
        (changed('"INPUT:text"', '"INPUT:"'), INVALID, "TAG:index:name"),
        (
            changed('"OVMS_PY_TENSOR:text"', '["OVMS_PY_TENSOR:text", "OVMS_PY_TENSOR:b"]'),
            NOT_INITIALIZED,
            "the tag and index of another one",
        ),
        (
            changed('"OVMS_PY_TENSOR:text"', '["OVMS_PY_TENSOR:text", "OVMS_PY_TENSOR1:text"]'),
            NOT_INITIALIZED,
            "the name of another one",
        ),
        (changed('  name: "pythonNode"\n', ""), "PYTHON_NODE_MISSING_NAME", "node 1 has no name"),
        (
            QUICKSTART + QUICKSTART[QUICKSTART.index("node {") :],
            "PYTHON_NODE_NAME_ALREADY_EXISTS",
            "two nodes are called pythonNode",
        ),
        (changed(OPTIONS, ""), "PYTHON_NODE_MISSING_OPTIONS", "has no node_options"),
        (
            changed(
                OPTIONS,
                'options { [mediapipe.PythonExecutorCalculatorOptions.ext] { handler_path: "x" } }',
            ),
            "PYTHON_NODE_MISSING_OPTIONS",
            "has no node_options",
        ),
        (changed(OPTIONS, 2 * OPTIONS), INVALID, "are not one PythonExecutorCalculatorOptions"),
        (
            changed("PythonExecutorCalculatorOptions]", "InputStreamInfo]").replace(
                "handler_path", "tag_index"
            ),
            INVALID,
            "are not one PythonExecutorCalculatorOptions",
        ),
        (changed('handler_path: "/models/python_model/model.py"', ""), INVALID, "no handler_path"),
        (
            changed('"PythonExecutorCalculator"', '"PyTensorOvTensorConverterCalculator"'),
            NOT_INITIALIZED,
            "is a PyTensorOvTensorConverterCalculator; here only PythonExecutorCalculator",
        ),
        (changed('  output_stream: "OUTPUT:uppercase"\n', ""), NOT_INITIALIZED, "no output_stream"),
        (changed('  input_stream: "INPUT:text"\n', ""), NOT_INITIALIZED, "no input_stream"),
        (changed('"INPUT:text"', '"INPUT:other"'), NOT_INITIALIZED, "other, which comes from nowh"),
        (changed('"OUTPUT:uppercase"', '"OUTPUT:other"'), NOT_INITIALIZED, "has the output upperc"),
        (changed('"OUTPUT:uppercase"', '"OUTPUT:text"'), NOT_INITIALIZED, "comes from the graph's"),
        (QUICKSTART[: QUICKSTART.index("node {")], INVALID, "it has no node"),
        (
            graph(
                node("a.py", "a", ("A:input", "B:two"), ("A:one",)),
                node("b.py", "b", ("A:one",), ("A:two", "B:output")),
            ),
            NOT_INITIALIZED,
            "the nodes a, b need each other's outputs",
        ),
        (
            graph(node("a.py", more=IMMEDIATE.replace("Immediate", "Odd"))),
            NOT_INITIALIZED,
            "OddInputStreamHandler is none of",
        ),
    ],
)
def test_what_is_wrong_has_its_name(text, status, says):
    with pytest.raises(GraphError) as caught:
        read(text)
    assert caught.value.status == status
    assert says in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('  input_stream: "LOOPBACK:loopback"\n', ""),
        ('  output_stream: "LOOPBACK:loopback"\n', ""),
        ('output_stream: "LOOPBACK:loopback"', 'output_stream: "LOOPBACK:other"'),
        ("tag_index: 'LOOPBACK:0', back", "tag_index: 'LOOPBACK:1', back"),
        ("back_edge: true", "back_edge: false"),
        ("  input_stream_info: { tag_index: 'LOOPBACK:0', back_edge: true }\n", ""),
        ('input_stream: "LOOPBACK:loopback"', 'input_stream: "LOOPBACK:1:loopback"'),
    ],
)
def test_a_loop_that_is_none(old, new):
    assert old in LOOPING
    with pytest.raises(GraphError) as caught:
        read(graph(node("model.py", more=LOOPING.replace(old, new, 1))))
    assert caught.value.status == NOT_INITIALIZED


@given(st.text() | st.text(alphabet=st.sampled_from(sorted({*QUICKSTART, *LOOPING}))))
def test_any_text_is_a_graph_or_none(text):
    with contextlib.suppress(GraphError):
        read(text)


@given(st.data())
def test_any_edit_of_a_graph_is_a_graph_or_none(data):
    text = data.draw(st.sampled_from([QUICKSTART, graph(node("model.py", more=LOOPING))]))
    begin, end = sorted(data.draw(st.integers(0, len(text))) for _ in "12")
    with contextlib.suppress(GraphError):
        read(
            text[:begin]
            + data.draw(st.sampled_from(["", "x", '"', "}", "{", "[", ":"]))
            + text[end:]
        )


def test_only_a_loop_goes_back():
    more = "input_stream_info: { tag_index: 'INPUT', back_edge: true }"
    with pytest.raises(GraphError, match="only a LOOPBACK"):
        read(graph(node("model.py", more=more)))


def test_a_plain_run_knows_nothing_of_protobuf():
    code = (
        "import sys, provider.cli, provider.cli.run, provider.host.run, provider.servables\n"
        "ours = ('google', 'provider.servables.')\n"
        "print([name for name in sys.modules if name.startswith(ours)])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ran.stdout == b"[]\n"
