"""From paths to something that can be called, and again when the files change.

The rule of this file: the program that serves is replaced only by one that loaded completely. A
new text that does not parse, does not run or has no entry leaves the old one serving, and the
reason goes back to the host.

There are two kinds of program. Without PYTHON_MAIN the built-in main serves: the module named by
PYTHON_DISPATCH is loaded and its `handle(command, arg)` called. With PYTHON_MAIN the ancestor's
contract holds: `main(command, arg)`, where `arg` is `{"arg": value}` or empty, loads its dispatch
itself and is called with the command `reload` when a file changed.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from typing import TYPE_CHECKING, Any, NamedTuple

import provider
from provider import dispatch
from provider.wire.signature import Signature, signature
from provider.worker.background import Background
from provider.worker.faults import described, traced
from provider.worker.hooks import HookError, Hooks
from provider.worker.marks import is_a
from provider.worker.operations import Operations, collect
from provider.worker.sources import RESERVED, Folders, Replacement, Tracked

if TYPE_CHECKING:
    from collections.abc import Callable


class LoadError(Exception):
    """The user's code cannot serve; the text says which file and why.

    Attributes:
        traceback: of the exception the user's code raised, empty when it raised none.
    """

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class Loaded(NamedTuple):
    """What a load or reload came to, as told to the host.

    Attributes:
        files: tracked files and what they looked like when read, also those of a failed reload.
        programs: the files whose modification time is checked before each call.
        modules: names that were executed, empty when nothing had changed.
        hidden: user files that a library of the same name hides.
        unfinished: a file was empty, as if it were being written; look again soon.
        operations: declared, as `Operation.described` has them.
        health: whether the module can be asked how it is.
        context: whether it asks what is known of a call beside its argument.
        seconds: a reload took.
    """

    files: list[tuple[str, Signature]]
    programs: list[str]
    modules: list[str]
    hidden: list[str]
    unfinished: bool
    operations: list[dict[str, Any]]
    health: bool
    context: bool
    seconds: float = 0.0

    def as_map(self) -> dict[str, Any]:
        """As it travels to the host."""
        return {**self._asdict(), "files": [[path, *seen] for path, seen in self.files]}


class Program:
    """The user's code, loaded.

    Args:
        main: absolute path of the folder or file of PYTHON_MAIN, or None.
        dispatch: absolute path of the program of PYTHON_DISPATCH, or None (only with a main).
    """

    def __init__(self, main: str | None, dispatch: str | None) -> None:
        if main is None and dispatch is None:
            raise LoadError("neither PYTHON_MAIN nor PYTHON_DISPATCH says what to load")
        self._main = main
        self._dispatch = dispatch
        self._file = _file(main or dispatch or "")
        self._name = _module_name(self._file)
        self.folders = Folders(*_roots_and_packages(main, dispatch))
        self._entry: Any = None
        self.operations: Operations | None = None
        """What the module declares, None where it has a plain `handle`."""
        self.hooks: Hooks | None = None
        """Of the module that serves."""
        self._background: Background | None = None
        self.asks_for_context = False
        """Whether a module of the user has anything among its names by which to ask for it."""
        self._in_background = False
        """Whether background workers run."""
        self.call: Callable[[str, Any, bool], Any] = self._call_main if main else self._call_handle

    @property
    def tracked_count(self) -> int:
        """How many modules came from the user's folders so far."""
        return len(self.folders.tracked)

    @property
    def has_new_files(self) -> bool:
        """Whether the last reload failed and had read files that no serving module came from."""
        known = {module.path for module in self.folders.tracked.values()}
        return not known.issuperset(self.folders.attempted)

    def load(self) -> Loaded:
        """Load for the first time.

        Raises:
            LoadError: with the reason, and the traceback where user code raised.
        """
        self.folders.install()
        self._take_over(None)
        hidden = self.folders.hidden(program=self._file)
        return self._loaded(list(self.folders.tracked), hidden=hidden)

    def reload(self, *, force: bool) -> Loaded:
        """Load again what changed.

        Args:
            force: execute everything of the user's folders afresh, changed or not.

        Raises:
            LoadError: the new text does not serve; the old one still does.
        """
        changed, unfinished = self.folders.changed()
        self._refuse_without_program(changed)
        if not force and (not changed or self._name in unfinished):
            return self._loaded([], unfinished=bool(unfinished))
        before = dict(self.folders.tracked)
        affected = set(before) if force else self.folders.importers(changed)
        if self._main is not None and self._name not in changed:
            return self._ask_main(changed, affected)
        affected |= {self._name}
        previous, ending, stopping = sys.modules.get(self._name), self.hooks, self._background
        with Replacement(self.folders, affected):
            self._take_over(previous)
        if stopping is not None:
            stopping.stop()
        if ending is not None:
            ending.end()
        if self._in_background:
            self.run_background()
        tracked = self.folders.tracked
        return self._loaded(
            sorted(name for name in tracked if tracked[name] is not before.get(name))
        )

    def state(self) -> Loaded:
        """What is tracked now; imports inside functions add to it while calls run."""
        return self._loaded([])

    def trouble(self) -> str:
        """What the module says is wrong with it, empty when all is well."""
        return "" if self.hooks is None else self.hooks.trouble()

    def leave(self) -> None:
        """Let the module shut down; it is not called any more."""
        if self._background is not None:
            self._background.stop()
        if self.hooks is not None:
            self.hooks.end()
            self.hooks = None

    def run_background(self) -> None:
        """Run the background workers of the module, and of those that will take its place."""
        self._in_background = True
        if self._background is not None:
            self._background.start()

    def _take_over(self, previous: types.ModuleType | None) -> None:
        """Load the program, let it start up, and serve with it."""
        entry = self._import()
        instances = entry.instances if isinstance(entry, Operations) else ()
        try:
            hooks = Hooks(sys.modules[self._name], instances)
            hooks.begin(previous)
        except HookError as error:
            raise LoadError(f"{self._file} was executed, but {error}", error.traceback) from None
        self._serve(entry, hooks)
        self._background = Background(sys.modules[self._name])

    def _serve(self, entry: Any, hooks: Hooks) -> None:
        self._entry, self.hooks = entry, hooks
        if self._main is None:
            self.operations = entry if isinstance(entry, Operations) else None
            self.call = self._call_handle if self.operations is None else self.operations.call

    def _call_handle(self, command: str, argument: Any, _present: bool) -> Any:
        return self._entry(command, argument)

    def _call_main(self, command: str, argument: Any, present: bool) -> Any:
        return self._entry(command, {"arg": argument} if present else {})

    def _ask_main(self, changed: set[str], affected: set[str]) -> Loaded:
        """Have the user's main reload its dispatch, with changed helpers out of the way.

        Modules that main holds stay the objects they are, because main reloads them in place. Those
        of them that are not its dispatch are executed again here, so that main needs to know of
        no more than its dispatch.
        """
        kept = self._held_by_main()
        before = {name: dict(vars(sys.modules[name])) for name in kept}
        offered = dict(self.folders.tracked)
        renewed: set[str] = set()
        if self._dispatch is not None:
            renewed = (affected & kept) - {self._name} - self._dispatch_names()

        def reload() -> None:
            for name in self.folders.inner_first(renewed):
                importlib.reload(sys.modules[name])
            self._entry("reload", {})

        try:
            with Replacement(self.folders, affected - kept):
                self._guard(reload, "main('reload', {})")
        except LoadError:
            for name, contents in before.items():
                module = vars(sys.modules[name])
                for added in module.keys() - contents.keys():
                    del module[added]
                module.update(contents)
            raise
        # What main chose not to read again has been offered; it is not offered twice.
        for name in changed:
            if self.folders.tracked.get(name) is offered[name]:
                _accept(offered[name])
        return self._loaded(sorted(affected - {self._name}))

    def _held_by_main(self) -> set[str]:
        """Main, its dispatch, and the modules main imports or has among its names."""
        tracked = self.folders.tracked
        module = sys.modules[self._name]
        held = {
            value.__name__
            for name, value in vars(module).items()
            # A package has its submodules among its names, whoever imported them.
            if is_a(value, types.ModuleType) and value.__name__ != f"{self._name}.{name}"
        }
        held |= self.folders.imported_by(self._name) | self._dispatch_names() | {self._name}
        return {name for name in held if name in tracked and name in sys.modules}

    def _dispatch_names(self) -> set[str]:
        file = _file(self._dispatch or "")
        return {name for name, module in self.folders.tracked.items() if module.path == file}

    def _refuse_without_program(self, changed: set[str]) -> None:
        """A program that is gone serves on: a save may be a removal followed by a creation."""
        if self._name in changed and not os.path.exists(self._file):
            raise LoadError(f"{self._file} is gone; what was loaded from it serves on")

    def _import(self) -> Any:
        what = "PYTHON_MAIN" if self._main else "PYTHON_DISPATCH"
        entry_name = "main" if self._main else "handle"
        module = self._guard(self._execute, f"loading {what} {self._file}")
        if self._main is None:
            operations = self._guard(lambda: collect(module), f"loading {what} {self._file}")
            if operations is not None:
                return operations
        entry = self._guard(
            lambda: getattr(module, entry_name, None), f"loading {what} {self._file}"
        )
        if entry is None:
            raise LoadError(
                f"{self._file} has no function {entry_name}; add: def {entry_name}(command, arg)"
                + ("" if self._main else ", or declare operations (provider.dispatch.operation)")
            )
        if not callable(entry):
            raise LoadError(f"{entry_name} in {self._file} is {type(entry).__name__}, no function")
        problem = _arity_problem(entry)
        if problem:
            raise LoadError(
                f"{entry_name} in {self._file} {problem}; it is called as "
                f"{entry_name}(command, arg)"
            )
        return entry

    def _execute(self) -> Any:
        spec = self.folders.spec(self._name, self._file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[self._name] = module
        try:
            assert spec.loader is not None
            spec.loader.exec_module(module)
        except BaseException:  # sys.exit too: half a module must not stay
            sys.modules.pop(self._name, None)
            raise
        return sys.modules[self._name]

    def _guard(self, action: Callable[[], Any], what: str) -> Any:
        try:
            return action()
        except BaseException as error:  # noqa: BLE001  a module that leaves must not take us along
            raise LoadError(f"{what} failed: {described(error)}", traced(error)) from None

    def _loaded(
        self, modules: list[str], *, hidden: list[str] | None = None, unfinished: bool = False
    ) -> Loaded:
        tracked = self.folders.tracked
        programs = [self._file, *self.folders.programs]
        if self._dispatch is not None and _file(self._dispatch) not in programs:
            programs.append(_file(self._dispatch))
        files = {module.path: module.signature for module in tracked.values()}
        files |= self.folders.attempted
        self.asks_for_context = self._has_context()
        operations = self.operations.all if self.operations is not None else []
        return Loaded(
            sorted(files.items()),
            programs,
            modules,
            hidden or [],
            unfinished,
            [operation.described() for operation in operations],
            health=self.hooks is not None and self.hooks.tells_health,
            context=self.asks_for_context,
        )

    def _has_context(self) -> bool:
        asking = {id(value) for value in (provider, dispatch, dispatch.context, dispatch.Context)}
        return any(
            id(value) in asking
            for name in self.folders.tracked
            for value in getattr(sys.modules.get(name), "__dict__", {}).values()
        )


def _accept(module: Tracked) -> None:
    """Take what is on the disk as what this module was made from."""
    try:
        with open(module.path, "rb") as file:
            module.signature = signature(os.fstat(file.fileno()))
            module.source = file.read()
    except OSError:
        return  # gone; the next look finds it changed again


def _file(path: str) -> str:
    return os.path.join(path, "__init__.py") if os.path.isdir(path) else path


def _roots_and_packages(main: str | None, dispatch: str | None) -> tuple[list[str], list[str]]:
    """Folders whose files are top-level modules, and folders that are packages themselves."""
    roots: list[str] = []
    packages: list[str] = []
    for path in (main, dispatch):
        if path is None or any(path.startswith(package + os.sep) for package in packages):
            continue
        if os.path.isdir(path):
            packages.append(path)
        else:
            roots.append(os.path.dirname(path))
    return list(dict.fromkeys(roots)), packages


def _module_name(file: str) -> str:
    name = os.path.splitext(os.path.basename(file))[0]
    if name == "__init__":
        name = os.path.basename(os.path.dirname(file))
    # A program called json.py must not stand where the library is looked for.
    return f"dispatch_{name}" if name in RESERVED else name


def _takes_two(function: types.FunctionType) -> bool:
    """Whether it takes two arguments by position and none by keyword only, as is plain to see."""
    code = function.__code__
    return (
        code.co_argcount == 2
        and not code.co_kwonlyargcount
        and not hasattr(function, "__wrapped__")
        and not hasattr(function, "__signature__")
    )


def _arity_problem(function: Any) -> str:
    """Why this cannot be called with two positional arguments; empty when it can."""
    if type(function) is types.FunctionType and _takes_two(function):
        return ""  # as nearly all; it takes a sixth of a start to load what tells of the others
    import inspect

    try:
        inspect.signature(function).bind("command", None)
    except TypeError as error:
        return f"cannot take two arguments ({error})"
    except ValueError:
        return ""  # a builtin that does not tell: the first call will
    return ""
