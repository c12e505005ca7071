"""What the host reads of servable folders.

The rule of this file: what is read lies in a folder, as those who serve one have it.
"""

from __future__ import annotations

import os
import shutil

from provider.errors import StartError
from provider.servables import config, graph, plan
from tests.fuzz.target import MOST_TEXT, scratch, target

_FOLDER = scratch()


@target(
    b'input_stream: "OVMS_PY_TENSOR:in"\n',
    b'output_stream: "OVMS_PY_TENSOR:out"\n',
    b'node { name: "n" calculator: "PythonExecutorCalculator"\n',
    b"[type.googleapis.com/mediapipe.PythonExecutorCalculatorOptions]: {",
    b'handler_path: "m.py"',
    b"input_stream_info: { tag_index: 'LOOPBACK:0', back_edge: true }",
    b"LOOPBACK:",
    b"SyncSetInputStreamHandler",
    b"[mediapipe.SyncSetInputStreamHandlerOptions.ext]",
    b"node_options: {",
)
def pbtxt(data: bytes) -> None:
    """A `graph.pbtxt`."""
    text = data.decode("utf-8", "replace")
    try:
        made = graph.read(text, lambda handler: os.path.join("/", handler))
    except graph.GraphError as error:
        assert len(str(error)) < MOST_TEXT  # noqa: PT017  callers are told
        assert error.status.isascii()  # noqa: PT017  it is one of few
        return
    assert made.inputs
    assert made.outputs
    known = set(made.inputs)
    for node in made.nodes:
        known |= {stream.name for stream in node.outputs}
        assert known >= {stream.name for stream in node.inputs}
        node.as_map()
    assert isinstance(made.generative, bool)
    assert isinstance(made.partial, bool)


@target(
    b'{"model_config_list":[],"mediapipe_config_list":[{"name":"a","base_path":"b"}]}',
    b'"graph_path":"../x"',
    b'"subconfig":',
    b'{"config":{"name":"c"}}',
    b'"monitoring":{}',
    b"\\u0000",
    b"/models/",
)
def config_json(data: bytes) -> None:
    """A `config.json`, with a graph that is the same bytes."""
    path = _FOLDER / "config.json"
    path.write_bytes(data)
    folder = _FOLDER / "a"
    folder.mkdir(exist_ok=True)
    (folder / "graph.pbtxt").write_bytes(data)
    try:
        read = config.read(path)
        made = plan.read(path)
    except StartError as error:
        assert len(str(error)) < 4 * MOST_TEXT  # noqa: PT017  a person reads it
        return
    finally:
        shutil.rmtree(folder)
    assert len({entry.name for entry in read.entries}) == len(read.entries)
    assert [each.name for each in made.servables] == [entry.name for entry in read.entries]
    made.as_map(tracebacks=True)
