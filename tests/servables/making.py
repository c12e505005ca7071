"""Servable folders for tests: their graphs, their config, and what is called in them.

The handlers do what those of the original's own tests do, with the results known from there.
"""

from __future__ import annotations

import contextlib
import json
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from provider.servables import plan, program
from provider.testing import in_process

if TYPE_CHECKING:
    from pathlib import Path

LOOPING = """
  input_stream: "LOOPBACK:loopback"
  output_stream: "LOOPBACK:loopback"
  input_stream_info: { tag_index: 'LOOPBACK:0', back_edge: true }
  input_stream_handler {
    input_stream_handler: "SyncSetInputStreamHandler",
    options { [mediapipe.SyncSetInputStreamHandlerOptions.ext] {
      sync_set { tag_index: "LOOPBACK:0" }
    } }
  }
"""
IMMEDIATE = 'input_stream_handler { input_stream_handler: "ImmediateInputStreamHandler" }'


def node(handler, name="pythonNode", inputs=("INPUT:input",), outputs=("OUTPUT:output",), more=""):
    """A Python node as text."""
    lines = [f'input_stream: "{each}"' for each in inputs]
    lines += [f'output_stream: "{each}"' for each in outputs]
    streams = "\n  ".join(lines)
    return f"""
node {{
  name: "{name}"
  calculator: "PythonExecutorCalculator"
  input_side_packet: "PYTHON_NODE_RESOURCES:py"
  {streams}
  {more}
  node_options: {{
    [type.googleapis.com / mediapipe.PythonExecutorCalculatorOptions]: {{
      handler_path: "{handler}"
    }}
  }}
}}
"""


def graph(*nodes, inputs=("input",), outputs=("output",)):
    """A graph as text, with the tags of Python tensors."""
    lines = [f'input_stream: "OVMS_PY_TENSOR{n}:{name}"' for n, name in enumerate(inputs)]
    lines += [f'output_stream: "OVMS_PY_TENSOR{n}:{name}"' for n, name in enumerate(outputs)]
    return "\n".join([*lines, *nodes])


def folder(root: Path, handlers: dict[str, str], **graphs: str) -> Path:
    """Write a servable folder; the path of its config.

    Args:
        root: the folder.
        handlers: texts by the paths of their files in it.
        graphs: texts by the names of the servables, each in a folder of this name.
    """
    for name, text in handlers.items():
        save(root / name, text)
    for name, text in graphs.items():
        save(root / name / "graph.pbtxt", text)
    entries = [{"name": name} for name in graphs]
    told = {"model_config_list": [], "mediapipe_config_list": entries}
    return save(root / "config.json", json.dumps(told))


def save(path: Path, text: str) -> Path:
    """Write a file, its common indentation taken off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


@contextlib.contextmanager
def serving(config: Path, *, tracebacks: bool = False):
    """The servables of a config in this process."""
    with (
        program.written(plan.read(config), tracebacks=tracebacks) as path,
        in_process.load(path) as loaded,
    ):
        yield loaded


def tensor(name, data, datatype="BYTES", shape=None):
    """An input of a request, or an output of an answer."""
    if not isinstance(data, bytes):
        datatype, shape = _datatype(data), list(data.shape)
        data = data.tobytes()
    return {
        "name": name,
        "datatype": datatype,
        "shape": [len(data)] if shape is None else shape,
        "data": data,
    }


def _datatype(array):
    kinds = {"b": "BOOL", "i": "INT", "u": "UINT", "f": "FP"}
    bits = "" if array.dtype.kind == "b" else str(8 * array.dtype.itemsize)
    return kinds[array.dtype.kind] + bits


def asked(*inputs, **more):
    """The argument of a call."""
    return {"inputs": list(inputs), **more}


def array(output):
    """An output of an answer as numpy has it."""
    names = {"BOOL": "?", "FP16": "f2", "FP32": "f4", "FP64": "f8"}
    datatype = output["datatype"]
    bits = datatype.removeprefix("U").removeprefix("INT")
    letter = "u" if datatype.startswith("U") else "i"
    dtype = names.get(datatype) or f"{letter}{int(bits) // 8}"
    return np.frombuffer(output["data"], dtype).reshape(output["shape"])


UPPER = """
    from pyovms import Tensor

    class OvmsPythonModel:
        def execute(self, inputs):
            return [Tensor("output", bytes(inputs[0]).decode().upper().encode())]
"""
INCREMENT = """
    import numpy as np
    from pyovms import Tensor

    class OvmsPythonModel:
        def initialize(self, kwargs):
            self.outputs = kwargs["output_names"]

        def execute(self, inputs):
            outputs = []
            for each in inputs:
                data = np.array(each)
                if data.dtype != np.float32:
                    raise TypeError("only float32 is incremented")
                name = each.name.replace("input", "output")
                name = name if name in self.outputs else self.outputs[0]
                outputs.append(Tensor(name, data + np.float32(1)))
            return outputs
"""
INCREMENT_BY_2 = """
    import numpy as np
    from pyovms import Tensor

    class OvmsPythonModel:
        def initialize(self, kwargs):
            self.outputs = kwargs["output_names"]

        def execute(self, inputs):
            return [
                Tensor(self.outputs[0], (data + 2).astype(data.dtype), each.shape, each.datatype)
                for each in inputs for data in [np.array(each)]
            ]
"""
CONCATENATE = """
    import numpy as np
    from pyovms import Tensor

    class OvmsPythonModel:
        def execute(self, inputs):
            return [Tensor("output", np.concatenate([np.array(each) for each in inputs]))]
"""
ADD_TWO = """
    import numpy as np
    from pyovms import Tensor

    class OvmsPythonModel:
        def execute(self, inputs):
            first, second = map(np.array, inputs)
            return [Tensor("output", np.add(first, second), inputs[0].shape, inputs[0].datatype)]
"""
GENERATE = """
    import numpy as np
    from pyovms import Tensor

    class OvmsPythonModel:
        def execute(self, inputs):
            values = [np.array(each) for each in inputs]
            for step in range(1, 4):
                yield [
                    Tensor(each.name.replace("input", "output"), value + np.float32(step))
                    for each, value in zip(inputs, values)
                ]
"""
DOUBLE = """
    from pyovms import Tensor

    class OvmsPythonModel:
        def initialize(self, kwargs):
            (self.output,) = kwargs["output_names"]

        def execute(self, inputs):
            return [Tensor(self.output, bytes(inputs[0]) * 2)]
"""


LITERAL = (
    "Mediapipe execution failed. MP status - INTERNAL: CalculatorGraph::Run() failed: "
    'Calculator::Process() for node "pythonNode" failed: Error occurred during graph execution'
)
"""What callers are told of a node that failed, but for those who are told more."""
INPUT = tensor("input", b"hello")


def floats(*values):
    return np.array(values, np.float32)


def handler_of(body):
    return f"""
        from pyovms import Tensor

        class OvmsPythonModel:
            def execute(self, inputs):
                {body}
    """
