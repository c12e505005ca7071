"""The three variables of the contract, resolved and checked before a worker is started.

The rule of this file: a wrong path is found here, by name, with what to do about it; nothing later
guesses. VENV_PATH is the environment whose interpreter runs the user's code, PYTHON_MAIN the module
with `main(command, arg)`, PYTHON_DISPATCH the program with `handle(command, arg)`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provider import inspection
from provider.errors import StartError
from provider.host.resources import Resources
from provider.host.worker_user import WorkerUser
from provider.wire.values import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provider.host.cgroup import Groups

_PACKAGE = str(Path(__file__).parent.parent)


@dataclass(frozen=True)
class WorkerSetup:
    """What to start and what to load in it.

    Attributes:
        python: the interpreter.
        main: absolute path of the user's main, or None for the built-in one.
        dispatch: absolute path of the dispatch program, or None when only main is given.
        path: further folders to import from.
        limits: of values.
        concurrency: calls that may run at once.
        environment: of the worker process.
        title: what a person would name as what is served, where that is neither of them.
        resources: what it may use of the machine.
        user: whom its process belongs to, None for ours.
        groups: where its control group is made, None if it gets none.
    """

    python: str
    main: str | None
    dispatch: str | None
    path: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    concurrency: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    resources: Resources = field(default_factory=Resources)
    user: WorkerUser | None = None
    groups: Groups | None = None

    @property
    def program(self) -> str:
        """The file or folder a person would name as what is served."""
        return self.title or self.dispatch or self.main or ""

    def as_map(self) -> dict[str, Any]:
        """As it travels to the worker."""
        limits = self.limits
        return {
            "main": self.main,
            "dispatch": self.dispatch,
            "path": list(self.path),
            "limits": {
                "depth": limits.depth,
                "items": limits.items,
                "string": limits.string,
                "integer_bits": limits.integer_bits,
                "decimal_exponent": limits.decimal_exponent,
            },
            "concurrency": self.concurrency,
        }


def resolve(
    *,
    venv: Path | None,
    main: Path | None,
    dispatch: str | None,
    path: Sequence[Path] = (),
    limits: Limits | None = None,
    concurrency: int = 1,
    environ: Mapping[str, str] | None = None,
    resources: Resources | None = None,
    user: str | None = None,
) -> WorkerSetup:
    """Turn the variables into what to start.

    Args:
        venv: VENV_PATH, None for the interpreter of the provider itself.
        main: PYTHON_MAIN, None for the built-in main.
        dispatch: PYTHON_DISPATCH, a path or a name inside the folder of main.
        path: PYTHON_PATH.
        limits: of values.
        concurrency: calls that may run at once.
        environ: what the worker's environment is made from.
        resources: what the worker may use of the machine.
        user: whom its process shall belong to, as `WorkerUser.find` has it.

    Raises:
        StartError: a variable is missing or wrong; the text names it.
    """
    environ = os.environ if environ is None else environ
    python = _python(venv)
    main_path = None if main is None else _main(main)
    if dispatch:
        dispatch_path = _dispatch(dispatch, main_path)
    elif main_path is None:
        raise StartError(
            "PYTHON_DISPATCH is not set: name the file that contains handle(command, arg), as in\n"
            "  PYTHON_DISPATCH=dispatch.py provider run\n"
            "or try the example: provider run --example factorial --embedded-nats"
        )
    else:
        dispatch_path = None
    for folder in path:
        if not folder.is_dir():
            raise StartError(f"PYTHON_PATH names {folder}, which is not a folder")
    inherited = environ.get("PYTHONPATH", "").split(os.pathsep)
    _check_names(
        ("PYTHON_MAIN", main_path or ""),
        ("PYTHON_DISPATCH", dispatch_path or ""),
        *(("PYTHON_PATH", str(folder)) for folder in path),
        *(("PYTHONPATH", folder) for folder in inherited),
    )
    environment = _environment(environ, venv)
    resources = resources or Resources()
    worker_user = WorkerUser.find(user) if user else None
    if worker_user is not None:
        environment = worker_user.environment(environment)
        worker_user.check(python, filter(None, (_PACKAGE, main_path, dispatch_path)))
    return WorkerSetup(
        python=python,
        main=main_path,
        dispatch=dispatch_path,
        path=(
            *(str(folder.absolute()) for folder in path),
            *(os.path.abspath(folder) for folder in inherited if folder),
        ),
        limits=limits or Limits(),
        concurrency=concurrency,
        environment=environment,
        resources=resources,
        user=worker_user,
        groups=resources.check(worker_user),
    )


def _python(venv: Path | None) -> str:
    if venv is None:
        return sys.executable or "python3"
    if not venv.is_dir():
        raise StartError(
            f"VENV_PATH names {venv}, which is not a folder; create it with\n"
            f"  python3 -m venv {venv} && {venv}/bin/pip install 'cbor2>=6.1,<7' neotasker"
        )
    python = venv.absolute() / "bin" / "python"
    if not os.access(python, os.X_OK):
        raise StartError(
            f"VENV_PATH names {venv}, which holds no bin/python; is it a virtual environment?"
        )
    return str(python)


def _main(main: Path) -> str:
    absolute = main.absolute()
    if absolute.is_dir():
        if not (absolute / "__init__.py").is_file():
            raise StartError(
                f"PYTHON_MAIN names the folder {main}, which has no __init__.py with "
                "main(command, arg)"
            )
    elif not absolute.is_file():
        raise StartError(f"PYTHON_MAIN names {main}, which does not exist")
    elif absolute.suffix != ".py":
        raise StartError(f"PYTHON_MAIN names {main}; a file must end in .py")
    return str(absolute)


def _dispatch(dispatch: str, main: str | None) -> str:
    given = Path(dispatch)
    candidates = [given.absolute()]
    if main is not None and not given.is_absolute():
        folder = Path(main) if os.path.isdir(main) else Path(main).parent
        candidates = [folder / given, folder / f"{dispatch}.py", *candidates]
    for candidate in candidates:
        if candidate.is_file() and candidate.suffix == ".py":
            return str(candidate)
        if candidate.is_dir() and (candidate / "__init__.py").is_file():
            return str(candidate)
    if any(candidate.exists() for candidate in candidates):
        raise StartError(
            f"PYTHON_DISPATCH names {dispatch}, which is neither a .py file nor a folder with "
            "__init__.py"
        )
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise StartError(
        f"PYTHON_DISPATCH names {dispatch}, which does not exist (looked for {looked})"
    )


def _check_names(*named: tuple[str, str]) -> None:
    for variable, path in named:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise StartError(
                f"{variable} names {path!a}, which is not UTF-8 and cannot be told to the worker; "
                "rename it"
            ) from None


def _environment(environ: Mapping[str, str], venv: Path | None) -> dict[str, str]:
    kept = inspection.without_secrets(environ)
    if venv is not None:
        # As activating the environment would do, for programs the user's code starts.
        folder = venv.absolute()
        kept["VIRTUAL_ENV"] = str(folder)
        kept["PATH"] = f"{folder / 'bin'}{os.pathsep}{environ.get('PATH', os.defpath)}"
        kept.pop("PYTHONHOME", None)
    return kept
