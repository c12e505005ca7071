"""The operations a dispatch module declares, and which of them a call is for.

The rule of this file: what is declared is settled when the module is loaded; a call finds its
operation by one look into a table. A module with operations needs no `handle`; if it has one, that
takes the calls no operation is for.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from provider.dispatch import MARK, Declaration
from provider.errors import CallError, UnknownOperation, clip
from provider.worker.marks import is_a, mark_of

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Iterable, Iterator

MOST_SIGNATURE, MOST_DOC = 500, 4000
"""Characters of them that are told."""
REMEMBERED = 4096
"""Commands whose operation is remembered; callers make prefixes up, so there is an end to it."""


class DeclarationError(Exception):
    """The module declares what cannot be served; the text says what."""


class Refusal(Exception):
    """A call its operation never saw.

    Attributes:
        error: what the caller is told.
    """

    def __init__(self, error: CallError) -> None:
        super().__init__(error.message)
        self.error = error


class Operation:
    """One function that can be called by its name.

    Args:
        declaration: of `provider.dispatch.operation`.
        function: bound, where it is a method.

    Raises:
        DeclarationError: nothing could call it.
    """

    __slots__ = ("binding", "declaration", "function")

    def __init__(self, declaration: Declaration, function: Callable[..., Any]) -> None:
        # Here and below: only programs that declare something wait for it, not every start.
        from provider.worker.binding import Binding, BindingError

        self.declaration = declaration
        self.function = function
        try:
            self.binding = Binding(function, batched=declaration.batch > 0)
        except BindingError as error:
            raise DeclarationError(f"operation {declaration.full_name}: {error}") from None
        for name, reason in self.binding.unchecked.items():
            sys.stderr.write(
                f"operation {declaration.full_name}: {name} is not checked against its type: "
                f"{reason}\n"
            )

    def call(self, argument: Any, present: bool) -> Any:
        """Call the function.

        Args:
            argument: what the caller sent.
            present: whether it sent anything.

        Raises:
            Refusal: the argument does not fit. What else is raised is the function's.
        """
        try:
            args, kwargs = self.binding.bind(argument, present)
        except CallError as error:
            raise Refusal(error) from None
        return self.function(*args, **kwargs)

    @property
    def streams(self) -> bool:
        """Whether it gives its result in parts."""
        function = self.function
        return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)

    def described(self) -> dict[str, Any]:
        """What there is to tell about it, as it travels to the host."""
        from provider.worker import routes

        declared, function = self.declaration, self.function
        return {
            "name": declared.full_name,
            "free": declared.interface is None,
            "signature": clip(self.binding.signature, MOST_SIGNATURE),
            "doc": clip(inspect.getdoc(function) or "", MOST_DOC),
            "batch": declared.batch,
            "cache": declared.cache,
            "streams": self.streams,
            "http": routes.described(self),
        }


class Operations:
    """All operations of a module.

    Args:
        found: in the order of their declaration.
        otherwise: the module's `handle`, or None.
        instances: of the classes that have some of them.

    Raises:
        DeclarationError: two have the same name.
    """

    def __init__(
        self,
        found: list[Operation],
        otherwise: Callable[[str, Any], Any] | None = None,
        instances: Iterable[Any] = (),
    ) -> None:
        self.all = found
        self.batched = any(operation.declaration.batch for operation in found)
        """Whether any of them takes several calls at once."""
        self.instances = list(instances)
        self._otherwise = otherwise
        self._by_name: dict[str, Operation] = {}
        self._free: dict[str, Operation] = {}
        self._remembered: dict[str, Operation] = {}
        for operation in found:
            declared = operation.declaration
            table = self._by_name if declared.interface is not None else self._free
            if declared.full_name in table:
                raise DeclarationError(f"two operations are called {declared.full_name}")
            table[declared.full_name] = operation

    def find(self, command: str) -> Operation | None:
        """The operation a command is for, None where there is none."""
        operation = self._remembered.get(command)
        if operation is None:
            operation = self._by_name.get(command) or self._free.get(command.rpartition(".")[2])
            if operation is not None:
                if len(self._remembered) >= REMEMBERED:
                    self._remembered.clear()
                self._remembered[command] = operation
        return operation

    def call(self, command: str, argument: Any, present: bool) -> Any:
        """Call the operation a command is for.

        Raises:
            Refusal: there is none, or the argument does not fit it.
        """
        operation = self.find(command)
        if operation is not None:
            return operation.call(argument, present)
        if self._otherwise is not None:
            return self._otherwise(command, argument)
        raise Refusal(UnknownOperation(f"no operation {command!r:.300}{self._nearest(command)}"))

    def _nearest(self, command: str) -> str:
        import difflib

        names = [*self._by_name, *self._free]
        near = difflib.get_close_matches(command[:256], names, n=3, cutoff=0.5)
        near += difflib.get_close_matches(command.rpartition(".")[2][:256], names, n=3, cutoff=0.5)
        near = list(dict.fromkeys(near))[:3]
        return f"; the nearest are {', '.join(near)}" if near else ""


def collect(module: types.ModuleType) -> Operations | None:
    """The operations of a module, None when it declares none.

    A class with operations among its methods is made once, without arguments. What was imported
    from elsewhere counts, too: it is among the module's names.

    Raises:
        DeclarationError: something declared cannot be served.
    """
    found: list[Operation] = []
    seen: set[int] = set()
    instances: list[Any] = []
    for value in list(vars(module).values()):
        if id(value) in seen:
            continue
        seen.add(id(value))
        if is_a(value, type):
            marked = list(_marked_methods(value))
            if marked:
                instance = _made(value)
                instances.append(instance)
                found += [_of(declared, getattr(instance, name)) for name, declared in marked]
        elif isinstance(declared := _declaration_of(value), Declaration):
            found.append(_of(declared, value))
    if not found:
        return None
    from provider.worker import routes

    operations = Operations(found, getattr(module, "handle", None), instances)
    try:
        routes.check(found, module)
    except routes.RouteError as error:
        raise DeclarationError(str(error)) from None
    return operations


def _of(declared: Declaration, function: Callable[..., Any]) -> Operation:
    if not declared.batch:
        return Operation(declared, function)
    from provider.worker.batches import BatchedOperation

    return BatchedOperation(declared, function)


def _declaration_of(value: Any) -> Declaration | None:
    declared = mark_of(value, MARK)
    return declared if isinstance(declared, Declaration) else None


def _marked_methods(cls: type) -> Iterator[tuple[str, Declaration]]:
    names: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        names.update(dict.fromkeys(vars(base)))
    for name in names:
        declared = _declaration_of(inspect.getattr_static(cls, name))
        if declared is not None:
            yield name, declared


def _made(cls: type) -> Any:
    try:
        inspect.signature(cls).bind()
    except TypeError:
        raise DeclarationError(
            f"the class {cls.__name__} has operations and is made without arguments; give every "
            "parameter of its __init__ a default"
        ) from None
    except ValueError:
        pass  # one that does not tell: making it will
    return cls()
