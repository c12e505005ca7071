"""Modules that come with ours and that few programs use, loaded when somebody touches them.

The rule of this file: user code cannot tell. neotasker brings asyncio, which brings TLS, and others
bring what reads source code, JSON and decimals: a third of the time a worker takes to start, and a
third of its memory, for programs that may use none of it. While ours is imported, a placeholder
stands for each such module. Afterwards it is gone from `sys.modules`: who imports the module loads
it in full, as always and under the import lock, into the very object that asyncio and we hold; and
our own first touch of an attribute does the same.

`importlib.util.LazyLoader` would leave its placeholders where user code finds them, and before
Python 3.11.8 and 3.12.2 two threads could get a module that was half loaded.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from importlib.machinery import ModuleSpec

SELDOM_USED = (
    "asyncio.sslproto",
    "asyncio.staggered",
    "base64",
    "dataclasses",
    "decimal",
    "inspect",
    "json",
    "linecache",
    "locale",
    "multiprocessing.reduction",
    "shutil",
    "ssl",
    "tempfile",
    "textwrap",
    "uuid",
)
"""What is worth it: alone or with all it brings, half a millisecond of a start or more."""

_waiting: dict[str, _Placeholder] = {}
"""Those not loaded yet."""
_filling: set[str] = set()
"""Those of them that are being loaded."""


@contextlib.contextmanager
def later(names: Sequence[str] = SELDOM_USED) -> Generator[None]:
    """Let modules wait that are imported in this block. One that is not there is left alone.

    Args:
        names: of modules of the standard library.
    """
    sys.meta_path.insert(0, _Waiting())
    for name in names:
        if name not in sys.modules:
            _put_placeholder(name)
    try:
        yield
    finally:
        for name, module in _waiting.items():
            package, _, last = name.rpartition(".")
            if package in sys.modules:  # which would have it as an attribute
                setattr(sys.modules[package], last, module)
            del sys.modules[name]


class _Placeholder(types.ModuleType):
    def __getattribute__(self, name: str) -> Any:
        # The import system asks for names of this kind, and must not start what it is about to do.
        if not (name.startswith("__") and name.endswith("__")):
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
        return self._module

    def exec_module(self, module: types.ModuleType) -> None:
        name = module.__name__
        _filling.add(name)
        try:
            # Another thread that touches it meanwhile waits for the lock of this import.
            self._loader.exec_module(module)
        finally:
            _filling.discard(name)
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        module.__class__ = types.ModuleType
        del _waiting[name]
        if not _waiting:
            sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, _Waiting)]


def _put_placeholder(name: str) -> None:
    package = name.rpartition(".")[0]
    around = PathFinder.find_spec(package) if package else None
    spec = PathFinder.find_spec(name, around.submodule_search_locations if around else None)
    if spec is None or spec.loader is None:
        return
    module = _Placeholder(name)
    module.__spec__ = spec
    spec.loader = _Filling(module, spec.loader)  # type: ignore[assignment]  # it has what counts
    _waiting[name] = module
    sys.modules[name] = module


def _load(module: _Placeholder) -> None:
    name = module.__name__
    if sys.modules.get(name) is module and name not in _filling:
        del sys.modules[name]
    importlib.import_module(name)
