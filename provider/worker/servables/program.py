"""The servables of a plan as a dispatch module: one operation for each graph.

The rule of this file: a graph that cannot be loaded takes no other one down. It is there and says
why it is not; after a save it is tried again. A graph that served is replaced only by one that
loaded completely, or else the whole reload fails and all old ones serve on. A graph of which
nothing changed is taken over as it is.

The host writes the module (`provider.servables.program`); all it does is to hand its plan to
`serve` and to have the names it gives. The class must not be among them: a class with hooks is made
by the worker.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from provider import dispatch
from provider.errors import HandlerError
from provider.wire.servable import NOT_LOADED, STATUS, STATUSES, message
from provider.worker.faults import traced
from provider.worker.servables import pyovms
from provider.worker.servables.graph import Graph, NodeFailed
from provider.worker.servables.node import NotLoaded
from provider.worker.servables.request import answer, refusal, tensors, timestamp
from provider.worker.sources import Folders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

SERVABLES = "_servables"
"""The name of the module under which its servables are."""


def serve(plan: dict[str, Any], module: str) -> dict[str, Any]:
    """The names of a module that serves a plan.

    Args:
        plan: as `provider.servables.plan` writes it.
        module: its name.
    """
    return Servables(plan, module).names()


class ReloadError(Exception):
    """A graph that served cannot be loaded again; the text says why."""


class ExecutionFailed(HandlerError):
    """A node of a graph failed while it ran."""


class Servables:
    """All servables of a plan.

    Args:
        plan: as `provider.servables.plan` writes it.
        module: name of the module that has them.
    """

    def __init__(self, plan: dict[str, Any], module: str) -> None:
        # The name under which handlers know it; nothing else has it, or should.
        sys.modules["pyovms"] = pyovms
        self._folders = _folders_of(module)
        nodes = [node for graph in plan["graphs"] for node in graph["nodes"]]
        self._folders.programs = list(dict.fromkeys(node["handler"] for node in nodes))
        self._folders.missing = {}
        self.all = [Servable(each, tells=plan["tracebacks"]) for each in plan["graphs"]]

    def names(self) -> dict[str, Any]:
        """What the module must have among its names."""
        operations = {f"operation_{n}": each.operation for n, each in enumerate(self.all)}
        hooks = {"adopt": self.adopt, "startup": self.startup, "shutdown": self.shutdown}
        return {SERVABLES: self, **operations, **hooks}

    @dispatch.adopt
    def adopt(self, previous: ModuleType) -> None:
        """Take over what did not change, and load what did.

        Raises:
            ReloadError: a graph that served cannot be loaded.
        """
        older: Servables = getattr(previous, SERVABLES)
        before = {each.name: each for each in older.all}
        kept: list[tuple[Servable, Servable]] = []
        try:
            for each in self.all:
                old = before.get(each.name)
                if old is not None and old.current and old.plan == each.plan:
                    kept.append((each, old))
                    continue
                each.load(self._folders)
                each.check_against(old)
                each.complain()
        except BaseException:  # sys.exit too: what was made is finalized
            for each in self.all:
                each.unload()
            raise
        for each, old in kept:
            each.take_over(old)

    @dispatch.startup
    def startup(self) -> None:
        """Load what there is no older one of."""
        for each in self.all:
            if not each.settled:
                each.load(self._folders)
                each.complain()

    @dispatch.shutdown
    def shutdown(self) -> None:
        """Let all handlers go that were not taken over."""
        for each in self.all:
            each.unload()


class Servable:
    """One graph under its name, loaded or not.

    Args:
        plan: of the graph.
        tells: whether callers are told what handlers say of themselves.
    """

    def __init__(self, plan: dict[str, Any], *, tells: bool) -> None:
        self.plan = plan
        self.name: str = plan["name"]
        self.graph: Graph | None = None
        self.problem = ""
        """Why there is no graph, for the log."""
        self.cause: BaseException | None = None
        self.settled = False
        """Whether it was loaded, or tried to be."""
        self._status: str = plan["status"]
        self._told = ""
        self._tells = tells
        self.operation = self._declared()

    @property
    def current(self) -> bool:
        """Whether it serves, with handlers of which nothing changed."""
        return self.graph is not None and all(
            sys.modules.get(node.module.__name__) is node.module for node in self.graph.nodes
        )

    def load(self, folders: Folders) -> None:
        """Make the graph; where that fails, the operation says why."""
        self.settled = True
        if self._status:
            self._fail(self._status, self.plan["reason"], self.plan["reason"])
            return
        try:
            self.graph = Graph(self.plan, folders)
        except NotLoaded as error:
            self.cause = error.__cause__
            self._fail(error.status, str(error), str(error) if self._tells else error.plain)
        self._describe()

    def _fail(self, status: str, problem: str, told: str) -> None:
        self.problem = f"{status}: {problem}"
        self._told = f"{status}: {told}"
        self._describe()

    def complain(self) -> None:
        """Write to the log why there is no graph, if there is none."""
        if self.problem:
            trace = traced(self.cause) if self.cause is not None else ""
            sys.stderr.write(f"servable {self.name} is not loaded: {self.problem}\n{trace}")

    def check_against(self, old: Servable | None) -> None:
        """Refuse to take the place of one that serves without being loaded.

        Raises:
            ReloadError: so it is.
        """
        if self.problem and old is not None and old.graph is not None:
            raise ReloadError(f"{self.name}: {self.problem}") from self.cause

    def take_over(self, old: Servable) -> None:
        """Serve with what another one served with, which does not any more."""
        self.graph, old.graph = old.graph, None
        self.settled = True
        self._describe()

    def unload(self) -> None:
        """Let the handlers go."""
        graph, self.graph = self.graph, None
        if graph is not None:
            graph.finalize()

    def answers(self, inputs: list[Any], parameters: Any, *, stream: bool) -> Iterator[Any]:
        """Run the graph.

        Raises:
            Refusal: it is not loaded, the request is none for it, or it left an output out.
            ExecutionFailed: a node failed.
        """
        graph = self.graph
        if graph is None:
            raise refusal("MEDIAPIPE_DEFINITION_NOT_LOADED_YET", self._told)
        begin = timestamp(parameters or {})
        some = stream or self.plan["partial"]
        found = tensors(inputs, self.plan, some=some)
        whole = not (stream or self.plan["generative"])
        try:
            for time, outputs in graph.run(found, begin):
                if whole and len(outputs) < len(self.plan["outputs"]):
                    raise refusal(
                        "MEDIAPIPE_EXECUTION_ERROR", "Unknown error during mediapipe execution"
                    )
                yield answer(list(outputs.values()), time)
        except NodeFailed as failed:
            raise self._failed(failed) from (failed.__cause__ or failed)

    def _failed(self, failed: NodeFailed) -> ExecutionFailed:
        said = (
            "INTERNAL: CalculatorGraph::Run() failed: Calculator::Process() for node "
            f'"{failed.node}" failed: Error occurred during graph execution'
        )
        if self._tells:
            said += f": {failed}"
        status = "MEDIAPIPE_EXECUTION_ERROR"
        # The log has what the handler said: the cause of this is in its traceback.
        details = {STATUS: status, "node": failed.node}
        return ExecutionFailed(message(status, said), code=STATUSES[status].code, details=details)

    def _declared(self) -> Callable[..., Any]:
        # Bare types: the worker checks those itself, whatever the user's environment has.
        def whole(inputs: list, parameters: dict | None = None, stream: bool = False) -> dict:  # type: ignore[type-arg]
            [each] = self.answers(inputs, parameters, stream=stream)
            return dict(each)

        def parts(inputs: list, parameters: dict | None = None, stream: bool = False) -> Any:  # type: ignore[type-arg]
            yield from self.answers(inputs, parameters, stream=stream)

        function: Callable[..., Any] = parts if self.plan["generative"] else whole
        return dispatch.operation(name=self.name)(function)

    def _describe(self) -> None:
        inputs, outputs = ", ".join(self.plan["inputs"]), ", ".join(self.plan["outputs"])
        said = f"Servable: inputs {inputs}; outputs {outputs}"
        self.operation.__doc__ = NOT_LOADED + self._told if self.graph is None else said


def _folders_of(module: str) -> Folders:
    """The folders a module is imported through."""
    for finder in sys.meta_path:
        if isinstance(finder, Folders) and module in finder.tracked:
            return finder
    raise LookupError(f"the module {module} came from no folder of ours")
