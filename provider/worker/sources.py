"""Imports from the dispatch folders: always from source, always known, replaceable as a whole.

The rule of this file: a module of the user's folders runs the text that is on the disk when it is
imported. Bytecode is neither read nor written: an edit of the same length within one second would
run the old one, also in a new process. Every such module is tracked with the text it was made
from, so a reload knows what changed, who imports it, and how to put everything back if the new
text does not run.

Names of the standard library and of the worker's own libraries are never taken from these folders:
a `json.py` beside a dispatch program must not become everybody's `json`.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from provider.wire.signature import Signature, signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import ModuleType

RESERVED = frozenset(sys.stdlib_module_names) | {"provider", "cbor2", "neotasker", "aiosched"}
"""Top-level names a dispatch folder cannot take over."""
WRITING_NS = 2_000_000_000
"""Nanoseconds for which a file that became empty counts as being written."""


class Tracked:
    """A module that came from a dispatch folder.

    Attributes:
        path: its file.
        signature: of the file when it was read.
        source: the bytes that were compiled.
    """

    def __init__(self, path: str, signature: Signature, source: bytes) -> None:
        self.path = path
        self.signature = signature
        self.source = source


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles from source each time, and tells its folders what it read."""

    def __init__(self, fullname: str, path: str, folders: Folders) -> None:
        super().__init__(fullname, path)
        self._folders = folders

    def get_code(self, fullname: str) -> Any:
        with open(self.path, "rb") as file:
            seen = signature(os.fstat(file.fileno()))
            source = file.read()
        self._folders.tracked[fullname] = Tracked(self.path, seen, source)
        return compile(source, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        # A package made anew while its submodules stay must still have them as attributes.
        prefix = module.__name__ + "."
        for name, child in list(sys.modules.items()):
            if name.startswith(prefix) and "." not in name[len(prefix) :]:
                setattr(module, name[len(prefix) :], child)
        super().exec_module(module)


class Folders:
    """The folders user code is imported from, as a finder on `sys.meta_path`.

    Args:
        roots: absolute paths of folders whose files are top-level modules, searched in this order
            before installed libraries.
        packages: absolute paths of folders that are packages; only their submodules are found.
    """

    def __init__(self, roots: Sequence[str], packages: Sequence[str] = ()) -> None:
        # Links are not resolved: a folder behind a link that is swapped must be read through it.
        self.roots = [os.path.abspath(root) for root in roots]
        self._packages = [os.path.abspath(package) for package in packages]
        self._libraries = _library_folders()
        self.tracked: dict[str, Tracked] = {}
        self.attempted: dict[str, Signature] = {}
        """Files a failed replacement read, and what they looked like."""
        self.programs: list[str] = []
        """Files beside the program that are looked at before each call, as it is."""
        self.missing: dict[str, str] = {}
        """Files that are waited for, by the names of the modules they would be."""

    def install(self) -> None:
        """Start answering imports. The folders also close `sys.path`, for child processes."""
        sys.meta_path.insert(0, self)
        parents = [os.path.dirname(package) for package in self._packages]
        sys.path.extend(place for place in (*self.roots, *parents) if place not in sys.path)

    def find_spec(
        self,
        fullname: str,
        path: Iterable[str] | None = None,
        target: object = None,  # noqa: ARG002  of the protocol
    ) -> importlib.machinery.ModuleSpec | None:
        """What the import system asks of a finder (PEP 451)."""
        if path is None:
            if fullname in RESERVED:
                return None
            places: Iterable[str] = self.roots
        else:
            places = [place for place in path if self._is_ours(place)]
        tail = fullname.rpartition(".")[2]
        for place in places:
            package = os.path.join(place, tail, "__init__.py")
            if os.path.isfile(package):
                return self.spec(fullname, package)
            single = os.path.join(place, tail + ".py")
            if os.path.isfile(single):
                return self.spec(fullname, single)
        return None

    def spec(self, fullname: str, path: str) -> importlib.machinery.ModuleSpec:
        """The spec of one source file under this name."""
        package = [os.path.dirname(path)] if os.path.basename(path) == "__init__.py" else None
        spec = importlib.util.spec_from_file_location(
            fullname,
            path,
            loader=_Loader(fullname, path, self),
            submodule_search_locations=package,
        )
        assert spec is not None  # only None for a loader that cannot tell, ours can
        return spec

    def hidden(self, program: str = "") -> list[str]:
        """Files at the top of the folders that a library of the same name hides.

        Args:
            program: a file that is not hidden, because it is loaded by its path; as are those of
                `programs`.
        """
        names = []
        for root in self.roots:
            try:
                beside = sorted(os.listdir(root))
            except OSError:  # files can be read there, and not listed
                continue
            for name in beside:
                stem, extension = os.path.splitext(name)
                path = os.path.join(root, name)
                is_module = extension == ".py" or os.path.isfile(os.path.join(path, "__init__.py"))
                known = path == program or path in self.programs
                if stem in RESERVED and is_module and not known:
                    names.append(path)
        return names

    def changed(self) -> tuple[set[str], set[str]]:
        """Names of tracked modules whose text differs from what runs, and of unfinished ones.

        Every text is read: times and sizes alone miss an edit of the same length whose times were
        put back. A file that is gone counts as changed. A file that has just become empty is being
        written: it is unfinished, and left for the next look.
        """
        names, unfinished = set(), set()
        for name, module in list(self.tracked.items()):
            try:
                with open(module.path, "rb") as file:
                    seen = signature(os.fstat(file.fileno()))
                    source = file.read()
            except OSError:
                names.add(name)
                continue
            if source == module.source:
                module.signature = seen
            elif source.strip() or not _is_fresh(seen):
                names.add(name)
            else:
                unfinished.add(name)
        names.update(name for name, path in self.missing.items() if os.path.exists(path))
        return names, unfinished

    def importers(self, names: set[str]) -> set[str]:
        """These tracked modules and all tracked modules that import them, however indirectly."""
        imports = {name: self.imported_by(name) for name in list(self.tracked)}
        found = set(names)
        grew = True
        while grew:
            more = {name for name, used in imports.items() if used & found} - found
            found |= more
            grew = bool(more)
        return found

    def imported_by(self, name: str) -> set[str]:
        """Tracked modules that this tracked module names in its imports."""
        module = self.tracked.get(name)
        return _imports(name, module, set(self.tracked)) if module else set()

    def inner_first(self, names: set[str]) -> list[str]:
        """These tracked modules in an order in which each comes after those it imports.

        Those that import each other in a circle come together, by name.
        """
        above = {name: self.importers({name}) - {name} for name in names}
        left, ordered = set(names), []
        while left:
            free = {
                name for name in left if not any(name in above[other] for other in left)
            } or left
            ordered += sorted(free)
            left = left - free
        return ordered

    def _is_ours(self, place: str) -> bool:
        """Whether a folder belongs to the user and not to an environment kept inside his folder."""
        ours = _deepest(place, (*self.roots, *self._packages))
        return ours >= 0 and ours >= _deepest(place, self._libraries)


class Replacement:
    """Modules taken out of `sys.modules` for a while, to be put back unless new ones take over.

    A context manager: whatever is raised inside puts the old modules, their tracking and their
    places in their packages back as they were.
    """

    def __init__(self, folders: Folders, names: set[str]) -> None:
        self._folders = folders
        self._names = names

    def __enter__(self) -> None:
        self._modules = dict(sys.modules)
        self._tracked = dict(self._folders.tracked)
        self._attributes: list[tuple[ModuleType, str, ModuleType]] = []
        for name in self._names:
            sys.modules.pop(name, None)
            self._folders.tracked.pop(name, None)
        for name in self._names & set(self._modules):
            # `from package import module` asks the package first: it must not have the old one.
            taken = _take_from_parent(name, self._modules[name])
            if taken is not None:
                self._attributes.append((taken, name.rpartition(".")[2], self._modules[name]))
        importlib.invalidate_caches()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._folders.attempted.clear()
            return
        tracked = self._folders.tracked
        self._folders.attempted = {module.path: module.signature for module in tracked.values()}
        for name in (set(tracked) - set(self._tracked)) | self._names:
            new = sys.modules.pop(name, None)
            if new is not None:
                _take_from_parent(name, new)
            if name in self._modules:
                sys.modules[name] = self._modules[name]
        tracked.clear()
        tracked.update(self._tracked)
        for parent, child, module in self._attributes:
            setattr(parent, child, module)


def _take_from_parent(name: str, module: ModuleType) -> ModuleType | None:
    """Remove a submodule from the package that has it as attribute, and say which that was."""
    parent, _, child = name.rpartition(".")
    package = sys.modules.get(parent)
    if package is None or vars(package).get(child) is not module:
        return None
    del vars(package)[child]
    return package


def _imports(name: str, module: Tracked, known: set[str]) -> set[str]:
    """Which of the known modules a module's text imports, wherever in it the import stands.

    A package is counted only where the text can reach what its `__init__` defines: an edit there
    must not execute every submodule again that imports a neighbour.
    """
    import ast

    try:
        tree = ast.parse(module.source)
    except (SyntaxError, ValueError):
        return set()
    is_package = os.path.basename(module.path) == "__init__.py"
    package = name if is_package else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                # `import a.b` binds a and reaches b through it, `import a.b as c` binds b alone.
                found.update([alias.name] if alias.asname else _with_parents(alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                parts = parts[: max(0, len(parts) - node.level + 1)]
                base = ".".join([*parts, base] if base else parts)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in known else base)
    return found & known


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])


def _is_fresh(seen: Signature) -> bool:
    """Whether the file was written a moment ago."""
    return abs(time.time_ns() - seen[0]) < WRITING_NS


def _library_folders() -> list[str]:
    """Where installed code lives; all of it may lie inside the user's folder, as `.venv` does."""
    places = [place for place in sys.path if place.endswith("-packages")]
    return [sys.prefix, sys.exec_prefix, sys.base_prefix, os.path.dirname(os.__file__), *places]


def _deepest(place: str, folders: Iterable[str]) -> int:
    """The length of the longest of these folders that holds the place, -1 when none does."""
    holding = (
        len(folder)
        for folder in folders
        if place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)
    )
    return max(holding, default=-1)
