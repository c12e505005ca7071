"""One Python node of a graph: an object of the class `OvmsPythonModel` of its handler file.

The rule of this file: whatever the handler does, it comes out as one of two errors: `NotLoaded`
until the node is there, `Failed` afterwards. Each carries what was raised as its cause, for the
log. At the end nothing is an error: a `finalize` that raises is a line in the log.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any

from provider.worker.faults import described, shown, traced
from provider.worker.servables import pyovms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from provider.worker.sources import Folders

CLASS = "OvmsPythonModel"
LOOPBACK = "LOOPBACK"
"""The tag by which a node says that it may give a result in parts."""
OURS = "ovms_handler"
"""How the names of handler modules begin."""


class NotLoaded(Exception):
    """A node cannot be made.

    Attributes:
        status: what the original calls it.
        plain: what is wrong, without words of the handler's own.
    """

    def __init__(self, status: str, plain: str, more: str = "") -> None:
        super().__init__(f"{plain}: {more}" if more else plain)
        self.status = status
        self.plain = plain


class Failed(Exception):
    """A node that runs did not do what it must; the text says what."""


class Node:
    """A node that was made. Made by `load`.

    Args:
        plan: of the node, as `provider.servables.plan` writes it.
        module: its handler, executed.
        handler: the object.
    """

    def __init__(self, plan: dict[str, Any], module: ModuleType, handler: Any) -> None:
        self.name: str = plan["name"]
        self.module = module
        self.immediate: bool = plan["immediate"]
        self.inputs = [
            stream["name"]
            for stream in sorted(plan["inputs"], key=_place)
            if stream["tag"] != LOOPBACK
        ]
        """In the order in which the handler is given them."""
        self.outputs = [stream["name"] for stream in plan["outputs"] if stream["tag"] != LOOPBACK]
        self.loops = any(stream["tag"] == LOOPBACK for stream in plan["inputs"])
        self._handler = handler

    def execute(
        self, inputs: list[pyovms.Tensor]
    ) -> list[pyovms.Tensor] | Iterator[list[pyovms.Tensor]]:
        """Call the handler.

        Raises:
            Failed: it raised, or returned what it may not.
        """
        try:
            result = self._handler.execute(inputs)
            is_iterator = not isinstance(result, list) and hasattr(result, "__next__")
        except BaseException as error:
            raise Failed(f"execute raised {described(error)}") from error
        if isinstance(result, list):
            return self._checked(result)
        if not is_iterator:
            raise Failed(f"execute returned {_kind(result)}; it must return a list of Tensors")
        if not self.loops:
            _close(result)
            raise Failed(
                f"execute returned {_kind(result)}; a result in parts needs {LOOPBACK} among the "
                "inputs and the outputs of the node"
            )
        return self._steps(result)

    def _steps(self, results: Any) -> Iterator[list[pyovms.Tensor]]:
        given = False
        try:
            while True:
                try:
                    step = next(results)
                except StopIteration:
                    break
                except BaseException as error:
                    raise Failed(f"execute raised {described(error)}") from error
                if not isinstance(step, list):
                    raise Failed(f"execute yielded {_kind(step)}; it must yield lists of Tensors")
                given = True
                yield self._checked(step)
        finally:
            _close(results)
        if not given:
            raise Failed("execute ended before it yielded anything")

    def _checked(self, result: list[Any]) -> list[pyovms.Tensor]:
        for each in result:
            if not isinstance(each, pyovms.Tensor):
                raise Failed(f"execute gave {_kind(each)} in its list, which is no pyovms.Tensor")
            if each.name not in self.outputs:
                outputs = ", ".join(self.outputs)
                raise Failed(f"execute gave a Tensor {each.name!r}; the outputs are {outputs}")
        return result

    def finalize(self) -> None:
        """Let the handler go."""
        handler, self._handler = self._handler, None
        try:
            if hasattr(handler, "finalize"):
                handler.finalize()
        except BaseException as error:  # noqa: BLE001  the rule of this file
            sys.stderr.write(
                f"finalize of the node {self.name} failed: {described(error)}\n{traced(error)}"
            )


def load(plan: dict[str, Any], folders: Folders) -> Node:
    """Make a node.

    Args:
        plan: as `provider.servables.plan` writes it.
        folders: that handlers are imported through; they see to it that a save is noticed.

    Raises:
        NotLoaded: there is no file, no class, or something of it raised.
    """
    path: str = plan["handler"]
    if not os.path.isfile(path):
        folders.missing[module_name(path)] = path
        raise NotLoaded("PYTHON_NODE_FILE_DOES_NOT_EXIST", f"{path} does not exist")
    module = _guard(lambda: _module(path, folders), f"{path}: importing it raised")
    cls = _guard(lambda: getattr(module, CLASS, None), f"{path}: looking for {CLASS} raised")
    if not isinstance(cls, type):
        raise _misfit(f"{path} has no class {CLASS}")
    if not _guard(lambda: hasattr(cls, "execute"), f"{path}: looking for execute raised"):
        raise _misfit(f"the class {CLASS} of {path} has no method execute(self, inputs)")
    handler = _guard(cls, f"{path}: {CLASS}() raised")
    told = {
        "node_name": plan["name"],
        "input_names": [stream["name"] for stream in plan["inputs"]],
        "output_names": [stream["name"] for stream in plan["outputs"]],
        "base_path": os.path.dirname(path),
    }

    def initialize() -> None:
        if hasattr(handler, "initialize"):
            handler.initialize(told)

    _guard(initialize, f"{path}: initialize raised")
    return Node(plan, module, handler)


def _module(path: str, folders: Folders) -> ModuleType:
    """The module of a handler file, which is executed once for all nodes that name it.

    Its name has the whole path in it, so that files of the same name are different modules.
    """
    folder = os.path.dirname(path)
    if folder not in folders.roots:
        folders.roots.append(folder)
        sys.path.append(folder)  # for child processes
    name = module_name(path)
    if name in sys.modules:
        return sys.modules[name]
    spec = folders.spec(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        assert spec.loader is not None
        spec.loader.exec_module(module)
    except BaseException:  # sys.exit too: half a module must not stay
        sys.modules.pop(name, None)
        raise
    _warn_of_others(name, folder, folders)
    return module


def _warn_of_others(name: str, folder: str, folders: Folders) -> None:
    """Say so when a handler imports a name and has a file of it beside it that it is not given."""
    for other in folders.imported_by(name):
        path, own = folders.tracked[other].path, os.path.join(folder, f"{other}.py")
        if path != own and os.path.isfile(own):
            sys.stderr.write(
                f"{own} is not imported: another handler imported {path} under that name; rename "
                "one of them\n"
            )


def module_name(path: str) -> str:
    """Of the handler file at this absolute path."""
    import hashlib

    stem = os.path.splitext(os.path.basename(path))[0]
    short = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{OURS}_{short}_{stem}".replace(".", "_")


def _guard(action: Any, what: str) -> Any:
    try:
        return action()
    except BaseException as error:
        status = "PYTHON_NODE_FILE_STATE_INITIALIZATION_FAILED"
        raise NotLoaded(status, what, described(error)) from error


def _place(stream: dict[str, Any]) -> tuple[str, int]:
    return stream["tag"], stream["index"]


def _misfit(plain: str) -> NotLoaded:
    return NotLoaded("PYTHON_NODE_FILE_STATE_INITIALIZATION_FAILED", plain)


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    return f"a {type(value).__name__}" if isinstance(type(value).__name__, str) else shown(value)


def _close(results: Any) -> None:
    try:
        if hasattr(results, "close"):
            results.close()
    except BaseException as error:  # noqa: BLE001  its caller knows already how it ended
        sys.stderr.write(f"a generator could not be closed: {described(error)}\n")
