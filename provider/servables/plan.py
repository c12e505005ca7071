"""What is served, as plain data: the graphs of a config, each whole or with what is wrong with it.

The rule of this file: one graph that is wrong keeps no other from being served.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provider.errors import StartError
from provider.servables import config as configs
from provider.servables.config import located, read_text

if TYPE_CHECKING:
    from provider.servables.graph import GraphPlan


@dataclass(frozen=True)
class ServablePlan:
    """One servable.

    Attributes:
        name: under which it is called.
        path: of its graph's file.
        graph: None where something is wrong with it.
        status: what the original calls that.
        reason: what it is.
    """

    name: str
    path: str
    graph: GraphPlan | None
    status: str = ""
    reason: str = ""

    def as_map(self) -> dict[str, Any]:
        """As it travels to the worker."""
        graph = self.graph
        return {
            "name": self.name,
            "inputs": list(graph.inputs) if graph else [],
            "outputs": list(graph.outputs) if graph else [],
            "nodes": [node.as_map() for node in graph.nodes] if graph else [],
            "generative": graph is not None and graph.generative,
            "partial": graph is not None and graph.partial,
            "status": self.status,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Plan:
    """All servables of a config.

    Attributes:
        path: of the config, absolute.
        servables: in their order.
        notes: what a person should know.
    """

    path: str
    servables: tuple[ServablePlan, ...]
    notes: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """What it was read from."""
        return self.path, *(servable.path for servable in self.servables)

    def as_map(self, *, tracebacks: bool) -> dict[str, Any]:
        """As it travels to the worker.

        Args:
            tracebacks: whether callers are told what handlers raise.
        """
        return {
            "tracebacks": tracebacks,
            "graphs": [servable.as_map() for servable in self.servables],
        }


def read(path: str | os.PathLike[str]) -> Plan:
    """Read a config and the graphs it names.

    Raises:
        StartError: the config is none, or protobuf is missing.
    """
    config = configs.read(path)
    notes = list(config.notes)
    servables = tuple(_servable(entry, config.folder, notes) for entry in config.entries)
    return Plan(config.path, servables, tuple(notes))


def _servable(entry: configs.Entry, folder: str, notes: list[str]) -> ServablePlan:
    try:
        from provider.servables import graph as graphs
    except ImportError as error:
        raise StartError(
            f"servables need more: pip install 'python-provider[grpc]' ({error})"
        ) from None

    def find(handler: str) -> str:
        found, note = located(handler, os.path.dirname(entry.graph), folder)
        notes.extend([f"{entry.name}: {note}"] if note else [])
        return found

    if entry.problem:
        return ServablePlan(entry.name, entry.graph, None, graphs.NOT_INITIALIZED, entry.problem)
    try:
        text = read_text(entry.graph)
        made = graphs.read(text, find)
    except StartError as error:
        return ServablePlan(entry.name, entry.graph, None, graphs.INVALID, str(error))
    except graphs.GraphError as error:
        reason = f"{entry.graph}: {error}"
        return ServablePlan(entry.name, entry.graph, None, error.status, reason)
    notes.extend(f"{entry.name}: {note}" for note in made.notes)
    return ServablePlan(entry.name, entry.graph, made)
