"""The `config.json` of OpenVINO Model Server: which graphs there are, and where.

The rule of this file: a key that is not known is an error that names it; only servables of Python
nodes are served, and of everything else in the file it is said that it is not.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from provider.errors import StartError

GRAPH_FILE = "graph.pbtxt"
MOST_BYTES = 4 << 20
"""Bytes of a config or a graph; those people write have thousands."""

_MODELS, _GRAPHS, _SUBCONFIG = "model_config_list", "mediapipe_config_list", "subconfig.json"
_NOT_HERE = ("custom_loader_config_list", "pipeline_config_list", "custom_node_library_config_list")
_KEYS = frozenset({_MODELS, _GRAPHS, "monitoring", *_NOT_HERE})
_ENTRY = frozenset({"name", "base_path", "graph_path", "subconfig"})


@dataclass(frozen=True)
class Entry:
    """One servable of the file.

    Attributes:
        name: under which it is called.
        graph: absolute path of its graph's file.
        problem: why it is not served whatever its graph says, empty when it may be.
    """

    name: str
    graph: str
    problem: str = ""


@dataclass(frozen=True)
class Config:
    """What the file says.

    Attributes:
        path: absolute.
        entries: servables in their order, each name once.
        notes: what a person should know of what is left out.
    """

    path: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]

    @property
    def folder(self) -> str:
        """That of the file."""
        return os.path.dirname(self.path)


def read(path: str | os.PathLike[str]) -> Config:
    """Read the file.

    Raises:
        StartError: it is no such file; the text names the place and what is wrong there.
    """
    absolute = os.path.abspath(path)
    told = _parsed(absolute)
    notes: list[str] = []
    if not isinstance(told, dict):
        raise _wrong(absolute, "it", "is no object")
    _check_keys(absolute, "it", told, _KEYS)
    if _MODELS not in told:
        raise _wrong(absolute, "it", f"lacks {_MODELS}, which may be empty")
    for name in _NOT_HERE:
        if _list(absolute, told, name):
            raise _wrong(absolute, name, "is not empty; only servables of Python are served here")
    if "monitoring" in told:
        notes.append(f"{absolute}: monitoring is left out; see PROVIDER_HTTP for metrics")
    found: list[Entry] = []
    for number, each in enumerate(_list(absolute, told, _GRAPHS)):
        found.append(_entry(absolute, f"{_GRAPHS}[{number}]", each, _ENTRY, notes))
    for number, each in enumerate(_list(absolute, told, _MODELS)):
        where = f"{_MODELS}[{number}]"
        if not isinstance(each, dict):
            raise _wrong(absolute, where, "is no object")
        _check_keys(absolute, where, each, frozenset({"config"}))
        found.append(_entry(absolute, f"{where}.config", each.get("config"), None, notes))
    entries: dict[str, Entry] = {}
    for entry in found:
        if entry.name in entries:
            notes.append(f"{absolute}: {entry.name} is there twice; the first one is served")
        else:
            entries[entry.name] = entry
    return Config(absolute, tuple(entries.values()), tuple(notes))


def located(path: str, base: str, config_folder: str) -> tuple[str, str]:
    """Where a file is that a config or a graph names.

    Args:
        path: as it is written there.
        base: absolute folder that a relative path begins at.
        config_folder: that of the config. It stands for a folder that is there only in a
            container: of an absolute path that does not exist, the leading folders are left out
            until the rest is found in it.

    Returns:
        The absolute path, and a note when it is not what is written; empty otherwise.
    """
    whole = os.path.normpath(os.path.join(base, path))
    if not os.path.isabs(path) or os.path.exists(whole):
        return whole, ""
    parts = whole.strip(os.sep).split(os.sep)
    for first in range(1, len(parts)):
        inside = os.path.join(config_folder, *parts[first:])
        if os.path.exists(inside):
            return inside, f"{path} does not exist; {inside} is taken"
    return whole, ""


def _entry(
    file: str, where: str, told: Any, known: frozenset[str] | None, notes: list[str]
) -> Entry:
    if not isinstance(told, dict):
        raise _wrong(file, where, "is no object")
    if known is not None:
        _check_keys(file, where, told, known)
    name = told.get("name")
    if not isinstance(name, str) or not name:
        raise _wrong(file, f"{where}.name", "is no text" if "name" in told else "is missing")
    for key in ("base_path", "graph_path", "subconfig"):
        value = told.get(key, "")
        if not isinstance(value, str) or "\0" in value:
            raise _wrong(file, f"{where}.{key}", "is no path")
    folder = os.path.dirname(file)
    base, note = located(told.get("base_path") or name, folder, folder)
    notes += [note] if note else []
    graph, note = located(told.get("graph_path") or GRAPH_FILE, base, folder)
    notes += [note] if note else []
    problem = _name_problem(name)
    strange = sorted(set(told) - _ENTRY)
    if strange or (known is None and not os.path.isfile(graph)):
        problem = problem or f"it is a model and no graph; {graph} does not exist"
    elif _models_of(os.path.join(base, told.get("subconfig") or _SUBCONFIG)):
        problem = problem or "its subconfig has models; only graphs of Python nodes are served here"
    return Entry(name, graph, problem)


def _name_problem(name: str) -> str:
    """Why no operation can have this name, empty when one can."""
    from provider import dispatch

    def probe() -> None:
        """Stands for the servable."""

    try:
        dispatch.operation(name=name)(probe)
    except ValueError as error:
        return str(error)
    return ""


def _models_of(subconfig: str) -> list[Any]:
    if not os.path.isfile(subconfig):
        return []
    told = _parsed(subconfig)
    if not isinstance(told, dict):
        raise _wrong(subconfig, "it", "is no object")
    _check_keys(subconfig, "it", told, frozenset({_MODELS}))
    return _list(subconfig, told, _MODELS)


def _list(file: str, told: dict[str, Any], key: str) -> list[Any]:
    value = told.get(key, [])
    if not isinstance(value, list):
        raise _wrong(file, key, "is no list")
    return value


def _check_keys(file: str, where: str, told: dict[str, Any], known: frozenset[str]) -> None:
    strange = sorted(set(told) - known)
    if strange:
        raise _wrong(file, where, f"has {strange[0]!r:.100}; known are {', '.join(sorted(known))}")


def _parsed(file: str) -> Any:
    return parse_json(file, read_text(file))


def read_text(file: str) -> str:
    """The text of a file of a servable.

    Raises:
        StartError: it cannot be read, is too large, or is not UTF-8.
    """
    try:
        with open(file, "rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise StartError(f"{file} cannot be read: {error.strerror or error}") from None
    if len(data) > MOST_BYTES:
        raise StartError(f"{file} has more than {MOST_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StartError(f"{file} is not UTF-8: {error}") from None


def parse_json(file: str, text: str) -> Any:
    """The value of a file's JSON.

    Raises:
        StartError: it is none, or has a key twice.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise StartError(f"{file}: the key {twice!r:.100} is there twice")
        return made

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise StartError(f"{file} is no JSON: {error}") from None


def _wrong(file: str, where: str, what: str) -> StartError:
    return StartError(f"{file}: {where} {what}")
