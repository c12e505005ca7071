"""Routes: the method and path under which an operation is reached over HTTP, as `PUT /tasks/{id}`.

The rule of this file: a template is read once and completely; what is ambiguous in it is refused.
The worker, where routes are declared, and the HTTP door, where they are looked up, both read them
here. A variable is a whole segment and stands for one that is not empty; `{name:path}` comes last
and stands for all that is left, empty or not. What is written between slashes is compared with what
the path has there after percent-decoding.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""Of routes whose paths, queries and bodies are arguments. HEAD and OPTIONS follow from them."""
ANY = "*"
"""Stands for every method, in raw routes."""
RAW_METHODS = (*METHODS, "HEAD", "OPTIONS", ANY)
RESERVED = frozenset({"call", "health", "metrics", "openapi.json", "docs"})
"""First segments of paths the provider answers itself."""
LONGEST = 512
"""Characters of a template."""
_NAME = r"\{([^{}:]*)(:[^{}]*)?\}"


class Template(NamedTuple):
    """A path with variables.

    Attributes:
        fixed: text of each segment, None where a variable stands.
        names: of the variables, in their order.
        rest: whether the last variable takes all that is left.
    """

    fixed: tuple[str | None, ...]
    names: tuple[str, ...]
    rest: bool

    @property
    def shape(self) -> tuple[tuple[str | None, ...], bool]:
        """Equal for templates that fit the same paths."""
        return self.fixed, self.rest


class Route(NamedTuple):
    """One of the routes of an operation.

    Attributes:
        method: one of `METHODS`, or of `RAW_METHODS` where it is raw.
        path: the template as it was written.
        status: of an answer that is no error.
        raw: whether the function takes the whole request and gives the whole answer.
    """

    method: str
    path: str
    status: int = 200
    raw: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def as_map(self) -> dict[str, Any]:
        """As it travels."""
        return {"method": self.method, "path": self.path, "status": self.status, "raw": self.raw}


def read_route(text: str, *, status: int = 200, raw: bool = False) -> Route:
    """Read what an author wrote, such as `PUT /tasks/{id}`.

    Args:
        text: method and template.
        status: of an answer that is no error, 200 to 299.
        raw: as in `Route`.

    Raises:
        ValueError: it makes no route; the text says why.
    """
    if not isinstance(text, str):
        raise ValueError(f"http={text!r:.100} is no text such as 'PUT /tasks/{{id}}'")  # noqa: TRY004  one kind of error for all of it
    method, _, path = text.partition(" ")
    known = RAW_METHODS if raw else METHODS
    if method not in known:
        if not raw and method in RAW_METHODS:
            answered = "is for routes with http_raw=True"
            if method != ANY:
                answered = "is answered by the provider, except for routes with http_raw=True"
            raise ValueError(f"http={text!r:.100}: the method {method} {answered}")
        raise ValueError(
            f"http={text!r:.100} does not begin with a method and a space; methods are "
            f"{', '.join(known)}"
        )
    try:
        template = read_template(path)
    except ValueError as error:
        raise ValueError(f"http={text!r:.100}: {error}") from None
    if template.rest and not raw:
        raise ValueError(
            f"http={text!r:.100}: {{name:path}} is for routes with http_raw=True; write {{name}}"
        )
    if template.fixed[0] in RESERVED:
        raise ValueError(
            f"http={text!r:.100}: the provider answers /{template.fixed[0]} itself; choose another "
            "path"
        )
    return Route(method, path, status, raw)


def read_template(path: str) -> Template:
    """Read a template.

    Raises:
        ValueError: it is none; the text says why.
    """
    if not path.startswith("/"):
        raise ValueError("the path does not begin with /")
    if len(path) > LONGEST:
        raise ValueError(f"the path has {len(path)} characters, more than {LONGEST}")
    fixed: list[str | None] = []
    names: list[str] = []
    rest = False
    segments = path[1:].split("/")
    for number, segment in enumerate(segments, 1):
        last = number == len(segments)
        if "{" not in segment and "}" not in segment:
            _check_fixed(segment, last=last)
            fixed.append(segment)
            continue
        name, kind = _variable(segment)
        if name in names:
            raise ValueError(f"{{{name}}} stands there twice")
        if kind == ":path":
            if not last:
                raise ValueError(f"{segment} takes all that is left; nothing can follow it")
            rest = True
        elif kind:
            raise ValueError(f"{segment}: only {{name}} and {{name:path}} are known")
        names.append(name)
        fixed.append(None)
    return Template(tuple(fixed), tuple(names), rest)


def _variable(segment: str) -> tuple[str, str]:
    """Its name, and what follows the name."""
    match = re.fullmatch(_NAME, segment)
    if match is None:
        raise ValueError(f"{segment!r}: a variable is a whole segment, as in /tasks/{{id}}")
    name = match[1]
    if not name.isidentifier():
        raise ValueError(f"{segment!r}: {name!r} is no name of a parameter")
    return name, match[2] or ""


def _check_fixed(segment: str, *, last: bool) -> None:
    if not segment and not last:
        raise ValueError("a segment is empty; write one / where there are several")
    if segment in {".", ".."}:
        raise ValueError(f"the segment {segment} never reaches a server")
    if not segment.isprintable() or any(character in segment for character in " ?#%\\"):
        raise ValueError(
            f"{segment!r} has characters that stand for something else in a path; write it as it "
            "is after percent-decoding, without spaces, ?, #, % and \\"
        )
