"""From the argument of a call to the parameters of a function.

The rule of this file: the plan is made once, from the signature; a call that does not fit it is
refused with the path and the reason before the function is touched.

    no parameter        the caller sends nothing, or null
    one                 it takes the argument whole
    several             a map, spread over them by name

A parameter annotated `Context` does not count; it is filled in.
"""

from __future__ import annotations

import contextlib
import inspect
import typing
from typing import TYPE_CHECKING, Any

from provider import dispatch
from provider.dispatch import Context
from provider.errors import InvalidArgument
from provider.worker import convert

if TYPE_CHECKING:
    from collections.abc import Callable


_LONGEST_NAME = 100
"""Characters told of the name of a key that callers made up."""


class BindingError(Exception):
    """No argument could ever be bound; the text says why."""


class Binding:
    """How the argument of a call becomes the arguments of a function.

    Args:
        function: bound, where it is a method.
        batched: it is given a list of what would be its argument.

    Raises:
        BindingError: its signature cannot be served.
    """

    def __init__(self, function: Callable[..., Any], *, batched: bool = False) -> None:
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError) as error:
            raise BindingError(f"its signature cannot be read: {error}") from None
        hints = _hints(function)
        self._context: list[str] = []
        self._values: list[inspect.Parameter] = []
        self.rest = ""
        """The name of the parameter that takes what no other does, empty for none."""
        for parameter in signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                raise BindingError(f"*{parameter.name} can be given nothing; name its parameters")
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                self.rest = parameter.name
            elif _is_context(parameter, hints):
                if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                    raise BindingError(f"the context {parameter.name} cannot be positional-only")
                self._context.append(parameter.name)
            else:
                self._values.append(parameter)
        if batched and (len(self._values) != 1 or self.rest):
            raise BindingError("with batch, it needs one parameter, which takes the list")
        if batched and self._context:
            raise BindingError("with batch, it has many callers and can take no context")
        self._converters: dict[str, Callable[[Any], Any]] = {}
        self.unchecked: dict[str, str] = {}
        """Why values are left alone, by name of the parameter."""
        for parameter in self._values:
            hint = hints.get(parameter.name, Any)
            if hint is not Any:
                self._convert(parameter.name, convert.member(hint) if batched else hint)
        rest = hints.get(self.rest, Any)
        if str(typing.get_origin(rest)).endswith("Unpack"):
            self.unchecked[self.rest] = "Unpack is not looked into"
        elif rest is not Any:
            self._convert(self.rest, rest)
        several = len(self._values) > 1 or bool(self.rest)
        if any(p.kind is inspect.Parameter.POSITIONAL_ONLY for p in self._values) and several:
            raise BindingError("with several parameters, none can be positional-only")
        self._several = several
        self._names = frozenset(parameter.name for parameter in self._values)
        self._required = [p.name for p in self._values if p.default is inspect.Parameter.empty]
        self.hints = hints
        """Its annotations, `return` among them, those that could be resolved."""
        self.batched = batched
        self.signature = _written(signature, self._context)
        """As the author wrote it, but for the context."""

    def _convert(self, name: str, hint: Any) -> None:
        try:
            converter = convert.converter(hint)
        except convert.Unchecked as unchecked:
            self.unchecked[name] = str(unchecked)
            return
        if converter is not None:
            self._converters[name] = converter

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """Those that take a caller's values."""
        return self._values

    @property
    def spreads(self) -> bool:
        """Whether the argument is a map of parameters."""
        return self._several

    @property
    def open(self) -> bool:
        """Whether that map may have keys that are no parameters."""
        return bool(self.rest)

    def bind(self, argument: Any, present: bool) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of the function.

        Args:
            argument: what the caller sent.
            present: whether it sent anything.

        Raises:
            InvalidArgument: it does not fit.
        """
        context: dict[str, Any] = {}
        if self._context:
            about = dispatch.context()
            context = dict.fromkeys(self._context, about)
        if self._several:
            return [], {**self._spread(argument, present), **context}
        if not self._values:
            if present and argument is not None:
                raise InvalidArgument("this operation takes no argument; send none")
            return [], context
        (parameter,) = self._values
        if not present:
            if parameter.default is inspect.Parameter.empty:
                raise InvalidArgument(f"an argument is missing: {parameter.name}")
            return [], context
        value = self._converted(parameter.name, argument)
        # By its name where it can be: the context may stand before it.
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY or (
            self._context and parameter.kind is not inspect.Parameter.POSITIONAL_ONLY
        ):
            return [], {parameter.name: value, **context}
        return [value], context

    def _spread(self, argument: Any, present: bool) -> dict[str, Any]:
        if not present or argument is None:
            argument = {}
        if not isinstance(argument, dict):
            names = ", ".join(parameter.name for parameter in self._values)
            raise InvalidArgument(
                f"the argument is {_kind_of(argument)}; expected a map with {names}"
            )
        missing = [name for name in self._required if name not in argument]
        if missing:
            raise InvalidArgument(f"the argument lacks {', '.join(missing)}")
        if not self.rest:
            strange = [name for name in argument if name not in self._names]
            if strange:
                known = ", ".join(parameter.name for parameter in self._values)
                raise InvalidArgument(
                    f"the argument has {', '.join(map(repr, strange))[:200]}; expected only {known}"
                )
        if not self._converters:
            return dict(argument)
        values = dict(argument)
        misfits: list[str] = []
        rest = self._converters.get(self.rest)
        for name, value in argument.items():
            converter = self._converters.get(name) if name in self._names else rest
            if converter is not None:
                try:
                    values[name] = converter(value)
                except convert.Misfit as misfit:
                    misfits.append(misfit.at(name[:_LONGEST_NAME]))
                    if len(misfits) == convert.MOST_REASONS:
                        break
        if misfits:
            raise InvalidArgument("; ".join(misfits))
        return values

    def _converted(self, name: str, value: Any) -> Any:
        converter = self._converters.get(name)
        if converter is None:
            return value
        try:
            return converter(value)
        except convert.Misfit as misfit:
            raise InvalidArgument(misfit.at("")) from None


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations that can be resolved; one that cannot leaves the others alone."""
    # Names that are not there at run time, and whatever else they raise.
    with contextlib.suppress(Exception):
        return typing.get_type_hints(function, include_extras=True)
    hints = {}
    owner = inspect.unwrap(function)
    names = getattr(owner, "__globals__", {})
    for name, written in getattr(owner, "__annotations__", {}).items():
        with contextlib.suppress(Exception):
            hints[name] = eval(written, names) if isinstance(written, str) else written  # noqa: S307  the author's own text
    return hints


class _Written:
    """An annotation that is text already."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _written(signature: inspect.Signature, context: list[str]) -> str:
    def text(annotation: Any) -> Any:
        return _Written(annotation) if isinstance(annotation, str) else annotation

    kept = [
        parameter.replace(annotation=text(parameter.annotation))
        for parameter in signature.parameters.values()
        if parameter.name not in context
    ]
    try:
        return str(
            signature.replace(parameters=kept, return_annotation=text(signature.return_annotation))
        )
    except Exception:  # noqa: BLE001  defaults of the author's own types are written by their code
        return "(...)"


def _is_context(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    hint = hints.get(parameter.name, parameter.annotation)
    return hint is Context or (
        isinstance(hint, str) and hint.rpartition(".")[2] == Context.__name__
    )


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {int: "an integer", float: "a number", str: "text", bytes: "bytes", list: "a list"}
    return names.get(type(value), type(value).__name__)
