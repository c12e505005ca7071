"""Which operation a path is for, and what its path, query and body are as an argument.

The rule of this file: nothing is guessed and nothing is tidied up. Segments are compared after
percent-decoding, once; a path with `..` in it, or with what is no UTF-8, reaches no function. A
text becomes a number only where the operation takes one and no text; whatever else is wrong with
it, the worker says, as it does everywhere. The table is made once for each load of the program.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from provider.errors import BadRequest, InvalidArgument
from provider.wire.route import ANY, read_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ABSENT: Any = type("Absent", (), {"__repr__": lambda _self: "ABSENT"})()
"""Stands for an argument, or a body, that is not there."""
MOST_FIELDS = 1000
"""Fields of a query."""
LONGEST_NUMBER = 4000
"""Characters of a text that is read as a number."""
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "false": False}
_ANYTHING: dict[str, list[str]] = {"types": []}


@dataclass(frozen=True, slots=True)
class Target:
    """One route of an operation.

    Attributes:
        operation: its name.
        method: as declared.
        path: as declared.
        status: of an answer that is no error.
        raw: whether it takes the whole request.
        whole: whether the function has no more than one parameter, which takes the argument whole.
        parameters: by name, which types of JSON its values are of.
        names: of the variables.
    """

    operation: str
    method: str
    path: str
    status: int
    raw: bool
    whole: bool
    parameters: Mapping[str, Mapping[str, Sequence[str]]]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """A route that fits a request, and the texts that stand for its variables."""

    target: Target
    variables: Mapping[str, str]

    def argument(self, query: Sequence[tuple[str, str]], body: Any = ABSENT) -> Any:
        """The argument a request makes.

        Args:
            query: its fields, in their order.
            body: the value in its body.

        Returns:
            What the operation is called with; ABSENT for nothing.

        Raises:
            InvalidArgument: something stands there twice, or where it cannot be.
        """
        target = self.target
        given: dict[str, Any] = {}
        for name, text in self.variables.items():
            given[name] = _read_texts(name, [text], target.parameters)
        fields: dict[str, list[str]] = {}
        for name, text in query:
            fields.setdefault(name, []).append(text)
        for name, texts in fields.items():
            if name in given:
                raise InvalidArgument(f"{name}: it stands in the path and again in the query")
            given[name] = _read_texts(name, texts, target.parameters)
        if not given:
            return body
        return self._whole(given, body) if target.whole else self._joined(given, body)

    def _joined(self, given: dict[str, Any], body: Any) -> dict[str, Any]:
        if body is ABSENT or body is None:
            return given
        if not isinstance(body, dict):
            raise InvalidArgument(f"the body is a {_kind_of(body)}; expected a map")
        for name in given:
            if name in body:
                place = "path" if name in self.variables else "query"
                raise InvalidArgument(f"{name}: it stands in the {place} and again in the body")
        return {**body, **given}

    def _whole(self, given: dict[str, Any], body: Any) -> Any:
        known = next(iter(self.target.parameters), None)
        strange = [name for name in given if name != known]
        if strange:
            expected = "nothing" if known is None else f"only {known}"
            raise InvalidArgument(
                f"the query has {', '.join(map(repr, strange))[:200]}; expected {expected}"
            )
        # Many clients send an empty map where nothing was asked for.
        if body is not ABSENT and body is not None and body != {}:
            place = "path" if known in self.variables else "query"
            raise InvalidArgument(
                f"{known}: it stands in the {place}, and there is nothing else; send no body"
            )
        return given[str(known)]


@dataclass(slots=True)
class _Node:
    fixed: dict[str, _Node] = field(default_factory=dict)
    variable: _Node | None = None
    here: dict[str, Target] = field(default_factory=dict)
    """By method, the routes that end here."""
    rest: dict[str, Target] = field(default_factory=dict)
    """By method, the routes that take all that is left."""


class RouteTable:
    """The routes of a program.

    Args:
        operations: as `Described.operations` has them. One whose route is none is left out; the
            worker has checked them.
    """

    def __init__(self, operations: Iterable[Mapping[str, Any]] = ()) -> None:
        self.all: list[Target] = []
        self._root = _Node()
        self._plain: dict[tuple[str, bytes], Match] = {}
        for operation in operations:
            for route in operation.get("http") or ():
                self._add(str(operation["name"]), route)

    def match(self, method: str, raw_path: bytes) -> Match | tuple[str, ...] | None:
        """What a request is for.

        Args:
            method: of the request.
            raw_path: as it came, without the query.

        Returns:
            The route; or the methods there are, when it is none of them; or None.

        Raises:
            BadRequest: the path is none.
        """
        plain = self._plain.get((method, raw_path))
        if plain is not None:
            return plain
        if not self.all:
            return None
        segments = _segments(raw_path)
        found: list[tuple[dict[str, Target], list[str]]] = []
        if segments is not None:
            _walk(self._root, segments, 0, [], found)
        for targets, texts in found:
            target = targets.get(method)
            if target is None and method == "HEAD":
                target = targets.get("GET")
            if target is None:
                target = targets.get(ANY)
            if target is not None:
                return Match(target, dict(zip(target.names, texts, strict=True)))
        allowed = {method for targets, _texts in found for method in targets}
        if not allowed:
            return None
        if "GET" in allowed:
            allowed.add("HEAD")
        return tuple(sorted({*allowed, "OPTIONS"}))

    def _add(self, operation: str, route: Mapping[str, Any]) -> None:
        try:
            template = read_template(route["path"])
        except ValueError:
            return
        target = Target(
            operation,
            route["method"],
            route["path"],
            route["status"],
            route["raw"],
            route["whole"],
            route["parameters"],
            template.names,
        )
        self.all.append(target)
        node = self._root
        for segment in template.fixed[:-1] if template.rest else template.fixed:
            if segment is not None:
                node = node.fixed.setdefault(segment, _Node())
            else:
                node.variable = node = node.variable or _Node()
        (node.rest if template.rest else node.here).setdefault(target.method, target)
        if not template.names and target.method != ANY:
            self._plain[target.method, target.path.encode()] = Match(target, {})


def read_query(raw: bytes) -> list[tuple[str, str]]:
    """The fields of a query, as browsers write forms (`application/x-www-form-urlencoded`).

    Raises:
        BadRequest: it has too many, or what is no UTF-8.
    """
    if not raw:
        return []
    if raw.count(b"&") >= MOST_FIELDS:
        raise BadRequest(f"the query has more than {MOST_FIELDS} fields")
    fields = []
    for part in raw.split(b"&"):
        if part:
            name, _, value = part.replace(b"+", b" ").partition(b"=")
            fields.append((_decoded(name, "query"), _decoded(value, "query")))
    return fields


def read_path(raw_path: bytes) -> str:
    """The path, percent-decoded as a whole.

    Raises:
        BadRequest: it is none.
    """
    return _decoded(raw_path, "path")


def _decoded(raw: bytes, what: str) -> str:
    if b"%" in raw:
        if _BAD_PERCENT.search(raw):
            raise BadRequest(f"the {what} has a % that no two hexadecimal digits follow; write %25")
        raw = unquote_to_bytes(raw)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest(f"the {what} is not UTF-8") from None


def _segments(raw_path: bytes) -> list[str] | None:
    if not raw_path.startswith(b"/"):
        return None
    if b"%" in raw_path:
        segments = [_decoded(raw, "path") for raw in raw_path[1:].split(b"/")]
    else:
        segments = _decoded(raw_path[1:], "path").split("/")
        if b"/." not in raw_path:
            return segments
    for segment in segments:
        if ".." in segment and ".." in segment.split("/"):
            raise BadRequest("the path has the segment '..'; write where it leads to")
        if segment == ".":
            raise BadRequest("the path has the segment '.'; leave it out")
    return segments


def _walk(
    node: _Node,
    segments: list[str],
    index: int,
    texts: list[str],
    found: list[tuple[dict[str, Target], list[str]]],
) -> None:
    """Gather all that fits, what is written out before what is a variable."""
    if index == len(segments):
        if node.here:
            found.append((node.here, texts))
        return
    segment = segments[index]
    following = node.fixed.get(segment)
    if following is not None:
        _walk(following, segments, index + 1, texts, found)
    if node.variable is not None and segment:
        _walk(node.variable, segments, index + 1, [*texts, segment], found)
    if node.rest:
        found.append((node.rest, [*texts, "/".join(segments[index:])]))


def _read_texts(
    name: str, texts: list[str], parameters: Mapping[str, Mapping[str, Sequence[str]]]
) -> Any:
    kind = parameters.get(name, _ANYTHING)
    types = kind["types"]
    if "array" in types and (len(texts) > 1 or "string" not in types):
        return [_read(text, kind.get("items", ())) for text in texts]
    if len(texts) > 1:
        raise InvalidArgument(f"{name}: it stands in the query {len(texts)} times")
    return _read(texts[0], types)


def _read(text: str, types: Sequence[str]) -> Any:
    """The value a text stands for, where that is plain; else the text, which the worker refuses."""
    if not types or "string" in types:
        return text
    if "boolean" in types and text in _BOOLEANS:
        return _BOOLEANS[text]
    if len(text) > LONGEST_NUMBER:
        return text
    if ("integer" in types or "number" in types) and _INTEGER.fullmatch(text):
        return int(text)
    if "number" in types and _NUMBER.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _kind_of(value: Any) -> str:
    return {list: "list", str: "text", bool: "boolean"}.get(type(value), "number")
