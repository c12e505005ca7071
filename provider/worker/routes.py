"""The HTTP routes of a module's operations: checked together, when the module is loaded.

The rule of this file: whatever could make a request reach another function than its author means,
or none, ends the load and names both functions. The host only looks routes up.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from provider.dispatch import ROUTED
from provider.wire.route import read_template

if TYPE_CHECKING:
    import types

    from provider.dispatch import Declaration
    from provider.wire.route import Route
    from provider.worker.operations import Operation


class RouteError(Exception):
    """A route cannot be served; the text says which and why."""


def check(found: list[Operation], module: types.ModuleType) -> None:
    """Check the routes of all operations.

    Args:
        found: the operations of the module.
        module: which has them among its names.

    Raises:
        RouteError: one of them cannot be served.
    """
    taken: dict[Any, tuple[Operation, Route]] = {}
    for operation in found:
        for route in operation.declaration.http:
            template = read_template(route.path)
            _check_parameters(operation, route, template.names)
            before = taken.setdefault((route.method, template.shape), (operation, route))
            if before != (operation, route) or before[1] is not route:
                raise RouteError(_clash(operation, route, *before))
    _check_hidden(found, module)


def described(operation: Operation) -> list[dict[str, Any]]:
    """The routes of an operation, as they travel to the host."""
    if not operation.declaration.http:
        return []
    from provider.worker.schema import kinds

    binding = operation.binding
    told = [route.as_map() for route in operation.declaration.http]
    for route in told:
        # A raw one takes the request, whatever it calls it.
        route["whole"] = not binding.spreads
        route["parameters"] = {} if route["raw"] else kinds(operation)
    return told


def _check_parameters(operation: Operation, route: Route, names: tuple[str, ...]) -> None:
    name, binding = operation.declaration.full_name, operation.binding
    if route.raw:
        if binding.spreads or len(binding.parameters) != 1:
            raise RouteError(
                f"operation {name}: with http_raw=True it needs one parameter, which takes the "
                f"request; it is {name}{binding.signature}"
            )
        if operation.streams:
            raise RouteError(
                f"operation {name}: with http_raw=True it returns the answer as one map and cannot "
                "be a generator"
            )
        return
    known = {parameter.name for parameter in binding.parameters}
    strange = [variable for variable in names if variable not in known]
    if strange and not binding.open:
        raise RouteError(
            f"operation {name}: the route {route} has {{{strange[0]}}}, which is no parameter of "
            f"{name}{binding.signature}"
        )


def _clash(operation: Operation, route: Route, other: Operation, earlier: Route) -> str:
    if other is operation:
        who = f"operation {operation.declaration.full_name} declares both"
        return f"{who} {earlier} and {route}; every request fits the two of them, leave one out"
    what = f"the route {route}" if str(route) == str(earlier) else f"{earlier} and {route}"
    return (
        f"operations {_place(other)} and {_place(operation)} both declare {what}"
        + ("" if str(route) == str(earlier) else ", which every request fits alike")
        + "; change one of them"
    )


def _place(operation: Operation) -> str:
    function = inspect.unwrap(operation.function)
    line = getattr(getattr(function, "__code__", None), "co_firstlineno", 0)
    return operation.declaration.full_name + (f" (line {line})" if line else "")


def _check_hidden(found: list[Operation], module: types.ModuleType) -> None:
    """Find functions with routes whose place another one of the same name has taken."""
    served = {id(operation.declaration) for operation in found}
    files: list[dict[str, Any]] = [vars(module)]
    files += [getattr(operation.function, "__globals__", {}) for operation in found]
    for names in {id(names): names for names in files}.values():
        declared: dict[str, list[Declaration]] = {}
        for place, declaration in names.get(ROUTED, ()):
            declared.setdefault(place, []).append(declaration)
        for place, several in declared.items():
            for hidden in several[:-1]:
                if id(hidden) not in served and (hidden.http or several[-1].http):
                    raise RouteError(
                        f"two functions are called {place}: {_said(hidden)} and "
                        f"{_said(several[-1])}; the second hides the first, give one of them "
                        "another name"
                    )


def _said(declaration: Declaration) -> str:
    if declaration.http:
        return f"that of {declaration.http[0]}"
    return f"operation {declaration.full_name}"
