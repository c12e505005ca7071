"""A graph: nodes that pass tensors on by the names of their streams.

The rule of this file: what is on the streams belongs to one point of time, and a node runs when its
inputs are there at that time. Only a node whose handler gives a result in parts makes new points of
time, each one later than the last.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from provider.worker.servables import node as nodes
from provider.worker.servables.node import Failed, Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provider.worker.servables.pyovms import Tensor
    from provider.worker.sources import Folders

    Streams = dict[str, Tensor]


class NodeFailed(Exception):
    """A node did not do what it must.

    Attributes:
        node: its name.
    """

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(reason)
        self.node = node


class Graph:
    """The nodes of one servable.

    Args:
        plan: as `provider.servables.plan` writes it, without a fault.
        folders: that handlers are imported through.

    Raises:
        NotLoaded: one of its nodes cannot be made; those made before it are finalized.
    """

    def __init__(self, plan: dict[str, Any], folders: Folders) -> None:
        self.plan = plan
        self.nodes: list[Node] = []
        """Each after those it gets its inputs from."""
        try:
            for each in plan["nodes"]:
                self.nodes.append(nodes.load(each, folders))
        except nodes.NotLoaded:
            self.finalize()
            raise

    def finalize(self) -> None:
        """Let all handlers go."""
        while self.nodes:
            self.nodes.pop(0).finalize()

    def run(self, inputs: Streams, timestamp: int) -> Iterator[tuple[int, Streams]]:
        """Give the outputs of each point of time at which there are any, or of the first.

        Args:
            inputs: of the graph, by name.
            timestamp: of the first point of time.

        Raises:
            NodeFailed: one of the nodes failed; it ends the run.
        """
        with contextlib.ExitStack() as stack:
            steps: dict[str, Iterator[list[Tensor]]] = {}
            outputs = self._at_once(dict(inputs), steps, stack)
            yield timestamp, outputs
            while steps:
                timestamp += 1
                outputs = self._at_once({}, steps, stack)
                if outputs:
                    yield timestamp, outputs

    def _at_once(
        self,
        streams: Streams,
        steps: dict[str, Iterator[list[Tensor]]],
        stack: contextlib.ExitStack,
    ) -> Streams:
        """What comes out of the graph at one point of time.

        Args:
            streams: what is there at that time; added to.
            steps: nodes whose results go on; added to, and taken from at their end.
            stack: closes those results.
        """
        for node in self.nodes:
            given = [streams[name] for name in node.inputs if name in streams]
            fires = bool(given) and (node.immediate or len(given) == len(node.inputs))
            try:
                result = _result_of(node, given if fires else None, steps, stack)
            except Failed as failed:
                raise NodeFailed(node.name, str(failed)) from failed.__cause__
            for tensor in result:
                streams[tensor.name] = tensor
        return {name: streams[name] for name in self.plan["outputs"] if name in streams}


def _result_of(
    node: Node,
    given: list[Tensor] | None,
    steps: dict[str, Iterator[list[Tensor]]],
    stack: contextlib.ExitStack,
) -> list[Tensor]:
    """What a node gives now: of what it is given, or of a result that goes on.

    Raises:
        Failed: it did not do what it must.
    """
    if node.name not in steps:
        if given is None:
            return []
        executed = node.execute(given)
        if isinstance(executed, list):
            return executed
        steps[node.name] = executed
        stack.callback(_close, executed)
    elif given is not None:
        raise Failed("it is given more while it is still processing; a new stream is needed")
    result = next(steps[node.name], None)
    if result is None:
        del steps[node.name]
    return result or []


def _close(steps: Any) -> None:
    steps.close()
