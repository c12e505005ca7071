"""What a module wants done when it begins, when it ends, and when somebody asks how it is.

The rule of this file: a hook that fails says which one it was. At the beginning that ends the load,
asked for the health it is the answer, and at the end it is a line in the log and the next hook has
its turn. At the end they are called in the opposite order.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from provider.dispatch import HOOK_MARK, MARK
from provider.worker.faults import described, traced
from provider.worker.loops import the_loop
from provider.worker.marks import is_a, mark_of

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Iterable, Iterator

KINDS = ("adopt", "startup", "shutdown", "health")


class HookError(Exception):
    """A hook cannot be called, or failed; the text says which one and why.

    Attributes:
        traceback: of the exception it raised, empty when it raised none.
    """

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class Hooks:
    """The hooks of one module.

    Args:
        module: executed.
        instances: of its classes with operations.
        finish: runs a coroutine to its end and returns what it returns.

    Raises:
        HookError: one of them could never be called.
    """

    def __init__(
        self,
        module: types.ModuleType,
        instances: Iterable[Any] = (),
        finish: Callable[[Any], Any] | None = None,
    ) -> None:
        self._finish = finish or _finish
        self._by_kind: dict[str, list[Callable[..., Any]]] = {kind: [] for kind in KINDS}
        instances = list(instances)
        for kind, function in _found(module, instances):
            _check(kind, function)
            self._by_kind[kind].append(function)

    @property
    def tells_health(self) -> bool:
        """Whether the module can be asked how it is."""
        return bool(self._by_kind["health"])

    def begin(self, previous: types.ModuleType | None) -> None:
        """Let the module adopt what the previous one had, and start up.

        Args:
            previous: the module that serves until now, None when none does.

        Raises:
            HookError: one of them failed; those after it were not called.
        """
        if previous is not None:
            for function in self._by_kind["adopt"]:
                self._call("adopt", function, previous)
        for function in self._by_kind["startup"]:
            self._call("startup", function)

    def end(self) -> None:
        """Let the module shut down; what fails is written to standard error."""
        for function in reversed(self._by_kind["shutdown"]):
            self._shut_down(function)

    def trouble(self) -> str:
        """What the module says is wrong with it, empty when all is well."""
        try:
            for function in self._by_kind["health"]:
                if self._call("health", function) is False:
                    return f"health {_name(function)} said no"
        except HookError as error:
            return str(error)
        return ""

    def _shut_down(self, function: Callable[..., Any]) -> None:
        try:
            self._call("shutdown", function)
        except HookError as error:
            sys.stderr.write(f"{error}\n{error.traceback}")

    def _call(self, kind: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            result = function(*arguments)
            return self._finish(result) if inspect.iscoroutine(result) else result
        except BaseException as error:  # noqa: BLE001  a module that leaves must not take us along
            account = f"{kind} {_name(function)} failed: {described(error)}"
            raise HookError(account, traced(error)) from None


def _found(
    module: types.ModuleType, instances: list[Any]
) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Each hook once, though it has several names, in the order of their declaration."""
    seen: set[int] = set()
    idle: list[type] = []
    for value in list(getattr(module, "__dict__", {}).values()):
        if id(value) in seen:
            continue
        seen.add(id(value))
        if not is_a(value, type):
            kind = _kind_of(value)
            if kind is not None:
                yield kind, value
            continue
        made = [each for each in instances if type(each) is value]
        for name, kind in _marked(value):
            if made:
                yield kind, getattr(made[0], name)
            elif value not in idle:
                idle.append(value)
    for cls in idle:
        if not any(isinstance(each, cls) for each in instances):
            raise HookError(
                f"the class {cls.__name__} has hooks and no operations, so nothing is made of it; "
                "declare the hooks on functions of the module"
            )


def _marked(cls: type) -> Iterator[tuple[str, str]]:
    names: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        names.update(dict.fromkeys(vars(base)))
    for name in names:
        kind = _kind_of(inspect.getattr_static(cls, name))
        if kind is not None:
            yield name, kind


def _kind_of(value: Any) -> str | None:
    kind = mark_of(value, HOOK_MARK)
    return kind if isinstance(kind, str) and kind in KINDS else None


def _check(kind: str, function: Callable[..., Any]) -> None:
    if getattr(function, MARK, None) is not None:
        raise HookError(f"{_name(function)} is both {kind} and an operation; make it two functions")
    try:
        inspect.signature(function).bind(*([None] if kind == "adopt" else []))
    except TypeError:
        given = "the previous module" if kind == "adopt" else "no argument"
        raise HookError(f"{kind} {_name(function)} must take {given}, and does not") from None
    except ValueError:
        return  # one that does not tell: calling it will


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


def _finish(coroutine: Any) -> Any:
    # On the loop of the calls, so that they can use what is made here.
    return the_loop.run(coroutine)
