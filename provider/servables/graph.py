"""From the text of a `graph.pbtxt` to what the worker has to know of the graph.

The rule of this file: what is wrong with a graph is found here, before its handlers are touched,
and has the name the original has for it. The names of streams are what counts; tags only say in
which order a handler is given its inputs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from provider.servables import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

CALCULATOR = "PythonExecutorCalculator"
TENSOR_TAG = "OVMS_PY_TENSOR"
"""How the tags of a graph's own streams begin where they carry Python tensors."""
LOOPBACK = "LOOPBACK"
INVALID = "MEDIAPIPE_GRAPH_CONFIG_FILE_INVALID"
NOT_INITIALIZED = "MEDIAPIPE_GRAPH_INITIALIZATION_ERROR"
IMMEDIATE, SYNC_SET, DEFAULT = (
    "ImmediateInputStreamHandler",
    "SyncSetInputStreamHandler",
    "DefaultInputStreamHandler",
)

_NAME = re.compile(r"[a-z_][a-z0-9_]*", re.IGNORECASE)
_TAG = re.compile(r"[A-Z_][A-Z0-9_]*")


class GraphError(Exception):
    """A graph cannot be served.

    Attributes:
        status: what the original calls it.
    """

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Stream:
    """An entry of `input_stream` or `output_stream`.

    Attributes:
        tag: empty for none.
        index: of the stream among those of its tag.
        name: by which it is found at its other end.
    """

    tag: str
    index: int
    name: str

    def as_map(self) -> dict[str, Any]:
        """As it travels to the worker."""
        return {"tag": self.tag, "index": self.index, "name": self.name}


@dataclass(frozen=True)
class NodePlan:
    """A Python node.

    Attributes:
        name: of the node.
        handler: absolute path of its file.
        inputs: in the order of the text.
        outputs: likewise.
        immediate: whether it runs when any of its inputs is there.
    """

    name: str
    handler: str
    inputs: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    immediate: bool

    @property
    def loops(self) -> bool:
        """Whether it may give a result in parts."""
        return any(stream.tag == LOOPBACK for stream in self.inputs)

    def as_map(self) -> dict[str, Any]:
        """As it travels to the worker."""
        return {
            "name": self.name,
            "handler": self.handler,
            "inputs": [stream.as_map() for stream in self.inputs],
            "outputs": [stream.as_map() for stream in self.outputs],
            "immediate": self.immediate,
        }


@dataclass(frozen=True)
class GraphPlan:
    """A graph.

    Attributes:
        inputs: names of its input streams, in the order of the text.
        outputs: likewise.
        nodes: each after those it gets its inputs from.
        notes: what a person may want to know of it.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[NodePlan, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def generative(self) -> bool:
        """Whether its result may come in parts."""
        return any(node.loops for node in self.nodes)

    @property
    def partial(self) -> bool:
        """Whether a request may leave inputs out."""
        return any(node.immediate for node in self.nodes)


def read(text: str, find: Callable[[str], str]) -> GraphPlan:
    """What a graph consists of.

    Args:
        text: of its file.
        find: gives the absolute path of a handler file from what the graph calls it.

    Raises:
        GraphError: it cannot be served; the text says what of it and why.
    """
    graph = schema.graph_class()()
    try:
        text_format.Parse(text, graph, descriptor_pool=schema.pool())
    except text_format.ParseError as error:
        raise GraphError(INVALID, f"it is no graph: {error!s:.300}") from None
    except (RecursionError, ValueError) as error:
        raise GraphError(INVALID, f"it is no graph: {error!s:.300}") from None
    inputs = _own_streams("input_stream", graph.input_stream)
    outputs = _own_streams("output_stream", graph.output_stream)
    notes: list[str] = []
    handler = _handler_of(graph, "the graph")
    names: set[str] = set()
    nodes = []
    for number, each in enumerate(graph.node, 1):
        nodes.append(_node(each, number, handler, find, notes))
        if nodes[-1].name in names:
            status = "PYTHON_NODE_NAME_ALREADY_EXISTS"
            raise GraphError(status, f"two nodes are called {nodes[-1].name}")
        names.add(nodes[-1].name)
    if not nodes:
        raise GraphError(INVALID, "it has no node")
    ordered = _ordered(nodes, [stream.name for stream in inputs])
    made = {stream.name for node in nodes for stream in node.outputs}
    for stream in outputs:
        if stream.name not in made and stream.name not in {each.name for each in inputs}:
            raise GraphError(NOT_INITIALIZED, f"no node has the output {stream.name}")
    return GraphPlan(
        tuple(stream.name for stream in inputs),
        tuple(stream.name for stream in outputs),
        tuple(ordered),
        tuple(notes),
    )


def _own_streams(kind: str, texts: Sequence[str]) -> list[Stream]:
    streams = _streams(f"the graph's {kind}", texts)
    if not streams:
        raise GraphError(INVALID, f"it has no {kind}")
    for stream in streams:
        if not stream.tag.startswith(TENSOR_TAG):
            raise GraphError(
                INVALID,
                f"its {kind} {stream.name} has the tag {stream.tag or 'of no stream'}; here only "
                f"{TENSOR_TAG} is served, the tensors of Python nodes",
            )
    return streams


def _streams(where: str, texts: Iterable[str]) -> list[Stream]:
    streams: list[Stream] = []
    for text in texts:
        *before, name = text.split(":")
        tag = before[0] if before else ""
        index = before[1] if len(before) == 2 else "0"
        if (
            len(before) > 2
            or not _NAME.fullmatch(name)
            or (before and not _TAG.fullmatch(tag) and tag)
            or not (index.isascii() and index.isdigit() and len(index) < 10)
        ):
            raise GraphError(INVALID, f"{where} {text!r:.100} is not TAG:name or TAG:index:name")
        streams.append(Stream(tag, int(index), name))
    for key, what in ((lambda each: each.name, "the name"), (_slot, "the tag and index")):
        seen: set[Any] = set()
        for stream in streams:
            if key(stream) in seen and (stream.tag or what == "the name"):
                raise GraphError(
                    NOT_INITIALIZED, f"{where} {stream.name} has {what} of another one"
                )
            seen.add(key(stream))
    return streams


def _slot(stream: Stream) -> tuple[str, int]:
    return stream.tag, stream.index


def _node(
    node: Any, number: int, above: str, find: Callable[[str], str], notes: list[str]
) -> NodePlan:
    if node.calculator != CALCULATOR:
        raise GraphError(
            NOT_INITIALIZED,
            f"its node {node.name or number} is a {node.calculator or 'node of no calculator'}; "
            f"here only {CALCULATOR} is served",
        )
    if not node.name:
        raise GraphError("PYTHON_NODE_MISSING_NAME", f"its node {number} has no name")
    where = f"its node {node.name}"
    if not node.node_options:
        raise GraphError("PYTHON_NODE_MISSING_OPTIONS", f"{where} has no node_options")
    inputs = tuple(_streams(f"{where}: input_stream", node.input_stream))
    outputs = tuple(_streams(f"{where}: output_stream", node.output_stream))
    if not inputs or not outputs:
        missing = "output_stream" if inputs else "input_stream"
        raise GraphError(NOT_INITIALIZED, f"{where} has no {missing}")
    handler = _handler_of(node, where) or above
    _check_loopback(node, where, inputs, outputs)
    if any(stream.tag == LOOPBACK for stream in inputs) and not (
        handler == SYNC_SET and f"{LOOPBACK}:0" in schema.sync_sets(node.input_stream_handler)
    ):
        notes.append(
            f"{where} has a {LOOPBACK} and no {SYNC_SET} with a sync_set of {LOOPBACK}:0; it is "
            "served here, and hangs in OpenVINO Model Server"
        )
    path = _handler_path(node, where)
    return NodePlan(node.name, find(path), inputs, outputs, handler == IMMEDIATE)


def _handler_path(node: Any, where: str) -> str:
    options = schema.message_class(schema.OPTIONS)()
    if len(node.node_options) != 1 or not node.node_options[0].Unpack(options):
        raise GraphError(INVALID, f"{where}: node_options are not one {schema.OPTIONS}")
    path: str = options.handler_path
    if not path or "\0" in path:
        raise GraphError(INVALID, f"{where}: node_options have no handler_path")
    return path


def _handler_of(config: Any, where: str) -> str:
    name: str = config.input_stream_handler.input_stream_handler
    if name not in ("", IMMEDIATE, SYNC_SET, DEFAULT):
        known = f"{IMMEDIATE}, {SYNC_SET}, {DEFAULT}"
        raise GraphError(
            NOT_INITIALIZED, f"{where}: the input_stream_handler {name:.100} is none of {known}"
        )
    return name


def _check_loopback(
    node: Any, where: str, inputs: Sequence[Stream], outputs: Sequence[Stream]
) -> None:
    coming = [stream for stream in inputs if stream.tag == LOOPBACK]
    going = [stream for stream in outputs if stream.tag == LOOPBACK]
    infos = {info.tag_index: info.back_edge for info in node.input_stream_info}
    slots = {f"{stream.tag}:{stream.index}" for stream in inputs}
    slots |= {stream.tag for stream in inputs if stream.index == 0}
    strange = sorted(set(infos) - slots)
    if strange:
        raise GraphError(
            NOT_INITIALIZED, f"{where}: input_stream_info names {strange[0]!r:.100}, which is none"
        )
    if not coming and not going:
        if any(infos.values()):
            raise GraphError(NOT_INITIALIZED, f"{where}: only a {LOOPBACK} can be a back_edge")
        return
    if len(coming) != 1 or len(going) != 1:
        raise GraphError(
            NOT_INITIALIZED, f"{where} needs {LOOPBACK} once as input and once as output"
        )
    if coming[0].name != going[0].name:
        raise GraphError(NOT_INITIALIZED, f"{where}: its {LOOPBACK} streams have two names")
    if coming[0].index or not infos.get(f"{LOOPBACK}:0", infos.get(LOOPBACK, False)):
        raise GraphError(
            NOT_INITIALIZED,
            f"{where}: {LOOPBACK} needs input_stream_info with tag_index {LOOPBACK}:0 and "
            "back_edge true",
        )
    if len(inputs) == 1 or len(outputs) == 1:
        raise GraphError(NOT_INITIALIZED, f"{where} has no stream beside {LOOPBACK}")


def _ordered(nodes: list[NodePlan], own: list[str]) -> list[NodePlan]:
    """The nodes, each after those it gets its inputs from.

    Raises:
        GraphError: an input comes from nowhere, a stream from two places, or nodes need each other.
    """
    makers = dict.fromkeys(own, "the graph's input")
    for node in nodes:
        for stream in node.outputs:
            if stream.name in makers:
                raise GraphError(
                    NOT_INITIALIZED,
                    f"the stream {stream.name} comes from {makers[stream.name]} and from the node "
                    f"{node.name}",
                )
            makers[stream.name] = f"the node {node.name}"
    there, left, ordered = set(own), list(nodes), []
    while left:
        ready = [node for node in left if there.issuperset(_needs(node))]
        if not ready:
            for node in left:
                for name in _needs(node):
                    if name not in makers:
                        raise GraphError(
                            NOT_INITIALIZED,
                            f"its node {node.name} needs {name}, which comes from nowhere",
                        )
            names = ", ".join(node.name for node in left)
            raise GraphError(NOT_INITIALIZED, f"the nodes {names} need each other's outputs")
        ordered += ready
        there |= {stream.name for node in ready for stream in node.outputs}
        left = [node for node in left if node not in ready]
    return ordered


def _needs(node: NodePlan) -> list[str]:
    return [stream.name for stream in node.inputs if stream.tag != LOOPBACK]
