"""Modules that come with ours and that few programs use, loaded when somebody touches them.

The rule of this file: user code cannot tell. neotasker brings asyncio, which brings TLS, and others
bring what reads source code, JSON and decimals: half of the time a worker takes to start, and a
third of its memory, for programs that may use none of it. While ours is imported, a placeholder
stands for each such module. Afterwards it is gone from `sys.modules`: who imports the module loads
it in full, as always and under the import lock, into the very object that neotasker and we hold;
and our own first touch of an attribute does the same. What such a load brings with it waits on, so
a program pays for asyncio, and not for TLS.

`importlib.util.LazyLoader` would leave its placeholders where user code finds them, and before
Python 3.11.8 and 3.12.2 two threads could get a module that was half loaded.
"""

from __future__ import annotations

import _thread  # of threading, which is not there yet, only the lock is needed
import contextlib
import importlib
import os
import sys
import types
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from importlib.machinery import ModuleSpec

SELDOM_USED = (
    "asyncio",
    "asyncio.sslproto",
    "asyncio.staggered",
    "base64",
    "dataclasses",
    "decimal",
    "inspect",
    "json",
    "linecache",
    "locale",
    "multiprocessing",
    "multiprocessing.reduction",
    "shutil",
    "ssl",
    "tempfile",
    "textwrap",
    "uuid",
)
"""What is worth it: alone or with all it brings, half a millisecond of a start or more."""

ALONE = {"asyncio": "exceptions"}
"""Submodules that need nothing of their package, and that neotasker asks for while it is imported:
loaded without it."""
ANSWERS: dict[str, dict[str, Any]] = {
    "asyncio": {"all_tasks": None},
    "multiprocessing": {"cpu_count": os.cpu_count},
}
"""What neotasker asks of them while it is imported, answered without them. Whether there is
`all_tasks` it asks because of Python 3.6."""

_waiting: dict[str, _Placeholder] = {}
"""Those not loaded yet."""
_filling: set[str] = set()
"""Those of them that are being loaded."""
_turn = _thread.RLock()
"""Held by who puts one into `sys.modules`, takes it out, or begins or ends to load it; by a thread
that a signal interrupts there, once more."""


def _new_turn() -> None:
    global _turn  # noqa: PLW0603  a fork may have left the old one locked, with nobody to free it
    _turn = _thread.RLock()


os.register_at_fork(after_in_child=_new_turn)


@contextlib.contextmanager
def later(names: Sequence[str] = SELDOM_USED) -> Generator[None]:
    """Let modules wait that are imported in this block. One that is not there is left alone.

    Args:
        names: of modules of the standard library.
    """
    sys.meta_path.insert(0, _Waiting())
    for name in names:
        if name not in sys.modules:
            _make_placeholder(name)
    for name, answers in ANSWERS.items():
        if name in _waiting:
            vars(_waiting[name]).update(answers)
    try:
        with _in_their_places():
            for name in _waiting.keys() & ALONE.keys():
                _load_alone(name, ALONE[name])
            yield
    finally:
        for name, module in _waiting.items():
            for answered in ANSWERS.get(name, ()):
                vars(module).pop(answered, None)
            package, _, last = name.rpartition(".")
            around = _waiting.get(package) or sys.modules.get(package)
            if around is not None:  # which would have it as an attribute
                setattr(around, last, module)


@contextlib.contextmanager
def _in_their_places() -> Generator[None]:
    """Placeholders stand in `sys.modules` while this block imports."""
    with _turn:
        put = [
            (name, module)
            for name, module in _waiting.items()
            if name not in _filling and name not in sys.modules
        ]
        sys.modules.update(put)
    try:
        yield
    finally:
        for name, module in put:
            _take_away(name, module)


def _take_away(name: str, module: types.ModuleType) -> None:
    """Have the next import of a placeholder load it, unless one does already."""
    with _turn:
        if sys.modules.get(name) is module and name in _waiting and name not in _filling:
            del sys.modules[name]


class _Placeholder(types.ModuleType):
    def __getattribute__(self, name: str) -> Any:
        # The import system asks for names of this kind, and must not start what it is about to do;
        # all but the one that `from module import *` asks for.
        if not (name.startswith("__") and name.endswith("__")) or name == "__all__":
            held = types.ModuleType.__getattribute__(self, "__dict__")
            known = held["__name__"]
            if name not in held or not (name in ANSWERS.get(known, ()) or name == ALONE.get(known)):
                _load(self)
        return types.ModuleType.__getattribute__(self, name)


class _Waiting:
    """Finds modules that wait: the object is there already, what is left is to fill it."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        module = _waiting.get(name)
        return None if module is None else module.__spec__


class _Filling:
    """Loads into the placeholder."""

    def __init__(self, module: _Placeholder, loader: Any) -> None:
        self._module = module
        self._loader = loader

    def create_module(self, _spec: ModuleSpec) -> types.ModuleType:
        with _turn:  # from here on, and before it stands in sys.modules
            _filling.add(self._module.__name__)
        return self._module

    def exec_module(self, module: types.ModuleType) -> None:
        name = module.__name__
        try:
            # Another thread that touches it meanwhile waits for the lock of this import.
            with _in_their_places():
                self._loader.exec_module(module)
            assert module.__spec__ is not None
            module.__spec__.loader = module.__loader__ = self._loader
            module.__class__ = types.ModuleType
            with _turn:
                del _waiting[name]
        finally:
            _filling.discard(name)
        if not _waiting:
            sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, _Waiting)]


def _make_placeholder(name: str) -> None:
    package = name.rpartition(".")[0]
    around = PathFinder.find_spec(package) if package else None
    spec = PathFinder.find_spec(name, around.submodule_search_locations if around else None)
    if spec is None or spec.loader is None:
        return
    module = _Placeholder(name)
    module.__spec__ = spec
    if spec.submodule_search_locations is not None:
        module.__path__ = spec.submodule_search_locations
    spec.loader = _Filling(module, spec.loader)  # type: ignore[assignment]  # it has what counts
    _waiting[name] = module


def _load_alone(package: str, name: str) -> None:
    """Load a submodule of a package that waits."""
    module = importlib.import_module(f"{package}.{name}")
    vars(_waiting[package])[name] = module


def _load(module: _Placeholder) -> None:
    name = module.__name__
    _take_away(name, module)
    importlib.import_module(name)
