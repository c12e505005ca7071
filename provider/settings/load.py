"""Where settings are read from, in which order, and what is said when one is wrong.

The rule of this file: it alone looks at the environment, at `.env` and at NATS contexts. `load`
ranks the places itself, because it has to say afterwards where each value came from. It collects
everything that is wrong before it raises, and shows no secret doing so.
"""

from __future__ import annotations

import difflib
import io
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import ValidationError

from provider.errors import StartError
from provider.settings.table import KNOBS, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_BY_VARIABLE = {knob.variable: knob for knob in KNOBS.values()}
_VARIABLES = {
    name for knob in KNOBS.values() for name in (knob.variable, knob.file_variable) if name
}


class _Found(NamedTuple):
    """A value somebody gave, and where."""

    value: object
    source: str


@dataclass(frozen=True)
class _Problem:
    """One wrong value: whose it is, what it looks like, where it stands and what was expected."""

    what: str
    expected: str
    value: str = ""
    source: str = ""

    def __str__(self) -> str:
        lines = (("value", self.value), ("from", self.source), ("expected", self.expected))
        return "\n".join([self.what, *(f"  {word:<9} {text}" for word, text in lines if text)])


_Place = dict[str, _Found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a host says about the settings of a provider it launches, each value with its source.

    Attributes:
        place: who we are and where NATS is, by field. Only flags go before it.
        config: what to serve and how, by variable. The environment goes before it.
        rest: by field. All else but the defaults goes before it.
        settled: fields for which, besides flags, nothing but `place` counts.
    """

    place: Mapping[str, tuple[object, str]] = field(default_factory=dict)
    config: Mapping[str, tuple[object, str]] = field(default_factory=dict)
    rest: Mapping[str, tuple[object, str]] = field(default_factory=dict)
    settled: frozenset[str] = frozenset()


def load(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path | Literal[False] | None = None,
    launch: Launch | None = None,
) -> Settings:
    """Read every place, check every value.

    Args:
        flags: values of the command line by name of the field; None means not given.
        environ: the environment, the process's own when left out.
        env_file: a file that must exist; None takes `.env` of the working directory if it is
            there; False takes none.
        launch: what the host says that launched us, None when nobody did. Its working directory
            is none of ours, so `.env` is read only when it is named.

    Raises:
        StartError: anything is wrong. The text lists every wrong value with its variable, where
            it came from and what is expected, and holds no secret.
        TypeError: `flags` has a name that is no field.
    """
    environ = os.environ if environ is None else environ
    problems: list[_Problem] = []
    if launch is not None and env_file is None:
        env_file = False
    launch = launch or Launch()
    lines, file_name = _read_env_file(env_file, problems)
    chosen = _from_flags(flags or {}, problems)
    found: _Place = {
        **_from_variables(lines, file_name, problems),
        **_from_config(launch.config),
        **_from_variables(environ, "environment", problems),
        **chosen,
    }
    if "nats_context" in found:
        found = {**_from_context(found["nats_context"], environ, problems), **found}
    found = {
        **_given(launch.rest),
        **{name: given for name, given in found.items() if name not in launch.settled},
        **_given(launch.place),
        **chosen,
    }
    settings = _checked(found, environ.get("HOME", ""), problems)
    if settings is None or problems:
        count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        raise StartError("\n\n".join([f"{count} wrong:", *map(str, problems)]))
    # Private so that nothing else sets them; load is the one maker of settings.
    settings._sources = {name: given.source for name, given in found.items()}  # noqa: SLF001
    settings._unknown = tuple(_unknown({**lines, **launch.config, **environ}))  # noqa: SLF001
    return settings


def _checked(found: _Place, home: str, problems: list[_Problem]) -> Settings | None:
    """The settings, or None with the reasons added to `problems`."""
    values = {
        KNOBS[field].variable: _at_home(given.value, home)
        if KNOBS[field].kind.is_path
        else given.value
        for field, given in found.items()
    }
    try:
        return Settings.model_validate(values)
    except ValidationError as wrong:
        for error in wrong.errors(include_url=False):
            knob = _BY_VARIABLE[str(error["loc"][0])]
            given = found[knob.field]
            reason = error.get("ctx", {}).get("error")
            problems.append(
                _Problem(
                    knob.variable,
                    value=knob.show(given.value),
                    source=given.source,
                    expected=str(reason) if reason else knob.expects,
                )
            )
    return None


def _at_home(value: object, home: str) -> object:
    # Shells expand ~ in what they are typed, but nobody does it in .env, in a unit file or in a
    # NATS context.
    if isinstance(value, str | Path) and home:
        return type(value)(re.sub(r"(^|:)~/", lambda match: f"{match[1]}{home}/", str(value)))
    return value


def _given(place: Mapping[str, tuple[object, str]]) -> _Place:
    return {name: _Found(*given) for name, given in place.items()}


def _from_config(variables: Mapping[str, tuple[object, str]]) -> _Place:
    given = _given(variables)
    return {knob.field: given[knob.variable] for knob in KNOBS.values() if knob.variable in given}


def _from_flags(flags: Mapping[str, object], problems: list[_Problem]) -> _Place:
    found: _Place = {}
    for name, value in flags.items():
        if name not in KNOBS:
            raise TypeError(f"there is no setting {name!r}")
        # A flag that may be repeated and is not there is an empty list.
        if value is None or value in ([], ()):
            continue
        knob = KNOBS[name]
        on, _, off = (knob.flag or name).partition("/")
        found[name] = _Found(value, f"flag {off if off and value is False else on}")
        if knob.flag and knob.holds_secret(value):
            problems.append(
                _Problem(
                    knob.variable,
                    value=knob.show(value),
                    source=found[name].source,
                    expected="no secret in a flag, which everybody on this machine can read; "
                    f"give it in the environment, as {knob.variable}",
                )
            )
    return found


def _from_variables(variables: Mapping[str, str], place: str, problems: list[_Problem]) -> _Place:
    """What a place with variables says. An empty variable says nothing."""
    found = {}
    for knob in KNOBS.values():
        plain = variables.get(knob.variable)
        path = variables.get(knob.file_variable) if knob.file_variable else None
        if plain and path:
            problems.append(
                _Problem(
                    knob.variable,
                    value=knob.show(plain),
                    source=f"{place} {knob.variable}",
                    expected=f"only one of {knob.variable} and {knob.file_variable}",
                )
            )
        elif plain:
            found[knob.field] = _Found(plain, f"{place} {knob.variable}")
        elif path:
            source = f"{place} {knob.file_variable}"
            if not knob.reads_file:
                found[knob.field] = _Found(Path(path), source)
                continue
            try:
                found[knob.field] = _Found(_read_secret(Path(path)), source)
            except ValueError as expected:
                problems.append(
                    _Problem(
                        f"{knob.file_variable}", str(expected), value=repr(path), source=source
                    )
                )
    return found


def _read_secret(path: Path) -> str:
    """What a file holds, without the white space around it.

    Raises:
        ValueError: it cannot be used; the text says what is expected. So in all the `_read_...`.
    """
    secret = _read_text(path).strip()
    if not secret:
        raise ValueError("a file that is not empty")
    return secret


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"a file that can be read ({error.strerror})") from None
    except ValueError:
        # Not the library's reason: it repeats a piece of the file.
        raise ValueError("a text file in UTF-8") from None


def _read_env_file(
    chosen: Path | Literal[False] | None, problems: list[_Problem]
) -> tuple[dict[str, str], str]:
    """The variables of the `.env` file as they stand there, and the name to call it by."""
    path = Path(".env") if chosen is None else chosen
    # A folder called .env is a virtual environment of somebody's.
    if path is False or (chosen is None and not path.is_file()):
        return {}, ""
    variables: dict[str, str] = {}
    try:
        text = _read_text(path)
    except ValueError as expected:
        problems.append(_Problem(str(path), str(expected)))
        return variables, str(path)
    # Here, because most have no such file.
    from dotenv.parser import parse_stream

    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            # The parser counts from the blank lines before it.
            blank = re.match(r"\s*", binding.original.string)
            line = binding.original.line + (blank[0].count("\n") if blank else 0)
            problems.append(_Problem(f"{path}, line {line}", "NAME=value, with its quotes closed"))
        elif binding.key and binding.value:
            variables[binding.key] = binding.value
    return variables, str(path)


_CONTEXT_KEYS = {
    "url": "nats_url",
    "user": "nats_user",
    "password": "nats_password",
    "token": "nats_token",
    "creds": "nats_creds",
    "nkey": "nats_nkey",
    "user_jwt": "nats_jwt",
    "inbox_prefix": "nats_inbox_prefix",
    "cert": "nats_cert",
    "key": "nats_key",
    "ca": "nats_ca",
}


def _from_context(chosen: _Found, environ: Mapping[str, str], problems: list[_Problem]) -> _Place:
    """What a context of the `nats` command says about the connection."""
    name = str(chosen.value)
    try:
        context = _read_context(name, environ)
    except ValueError as expected:
        problems.append(_Problem("NATS_CONTEXT", str(expected), repr(name), chosen.source))
        return {}
    return {
        field: _Found(context[key], f"context {name}")
        for key, field in _CONTEXT_KEYS.items()
        if context.get(key)
    }


def _read_context(name: str, environ: Mapping[str, str]) -> dict[str, object]:
    if not re.fullmatch(r"[^/\\\s]+", name) or name.startswith("."):
        raise ValueError("the name of a context, as `nats context ls` shows it")
    home = environ.get("HOME")
    config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    if not config:
        raise ValueError("XDG_CONFIG_HOME or HOME in the environment, to find contexts by")
    path = Path(config, "nats", "context", f"{name}.json")
    try:
        text = _read_text(path)
    except ValueError as expected:
        raise ValueError(f"{expected} at {path}") from None
    try:
        context = json.loads(text)
    except (ValueError, RecursionError):
        # Not the library's reason: the exception carries the file, and that a password.
        raise ValueError(f"JSON in {path}") from None
    if not isinstance(context, dict):
        raise ValueError(f"a JSON object in {path}")  # noqa: TRY004  callers catch one class
    for key in _CONTEXT_KEYS:
        if not isinstance(context.get(key, ""), str):
            raise ValueError(f"text as {key!r} in {path}")  # noqa: TRY004  as above
    return context


def _unknown(variables: Iterable[str]) -> Iterator[str]:
    for name in sorted(variables):
        if name.startswith("PROVIDER_") and name not in _VARIABLES:
            # Without the beginning they all share, or everything would be near.
            ours = {known.removeprefix("PROVIDER_"): known for known in sorted(_VARIABLES)}
            near = difflib.get_close_matches(name.removeprefix("PROVIDER_"), ours, n=1)
            yield f"{name} (nearest is {ours[near[0]]})" if near else name
