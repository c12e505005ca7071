"""The executable in a provider archive: a file that starts the provider installed on its machine.

The rule of this file: a launcher needs nothing of its environment, which wasmCloud hosts leave
empty: neither PATH nor HOME nor a locale. It is a Python zip application (PEP 441): a first line
that names an interpreter by its absolute path, and a zip with a few lines of code, the dispatch
program it may carry, and settings. The interpreter has the provider installed, and whatever needs
thought is done by its `launch`, so archives stay small and old ones start new providers.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shlex
import stat
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from provider.errors import ExitCode, ProviderError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHEBANG = 127
"""Bytes of a first line that every kernel reads to its end; Linux before 5.1 reads no more."""

_START = """\
import sys

try:
    from provider.lattice.launcher import launch
except ImportError as error:
    print(
        f"error: {sys.executable} cannot start the provider: {error}\\n"
        "Install it there (pip install python-provider), or name another interpreter when you "
        "make the archive (provider pack --python)",
        file=sys.stderr,
    )
    sys.exit(3)
launch(sys.argv[0], sys.argv[1:])
"""
_MANIFEST = "launch.json"
_PROGRAM = "program"
_SETTINGS = "provider.env"


class LauncherError(ProviderError):
    """A launcher cannot be made; the message says why."""


@dataclass(frozen=True, slots=True)
class File:
    """A file a launcher carries.

    Attributes:
        data: what is in it.
        executable: whether it may be executed.
    """

    data: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Cargo:
    """What a launcher carries besides itself.

    Attributes:
        files: of the dispatch program, by their paths with slashes.
        program: the one of them, or the folder, that is PYTHON_DISPATCH; empty for none.
        settings: values of variables, which every other place outranks.
    """

    files: Mapping[str, File] = field(default_factory=dict)
    program: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


def make(python: str, cargo: Cargo) -> bytes:
    """A launcher, the same bytes for the same input.

    Args:
        python: absolute path of an interpreter that has the provider installed, on the machine
            the launcher will run on.
        cargo: what it carries.

    Raises:
        LauncherError: the path of the interpreter cannot be used.
    """
    made = io.BytesIO()
    made.write(_first_lines(python))
    manifest = {"program": cargo.program, "settings": dict(sorted(cargo.settings.items()))}
    with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED) as content:
        _add(content, "__main__.py", File(_START.encode()))
        _add(content, _MANIFEST, File(json.dumps(manifest).encode()))
        for name in sorted(cargo.files):
            _add(content, f"{_PROGRAM}/{name}", cargo.files[name])
    return made.getvalue()


def _first_lines(python: str) -> bytes:
    if not os.path.isabs(python):
        raise LauncherError(f"the interpreter {python} needs an absolute path")
    if not python.isprintable():
        raise LauncherError(f"the path of the interpreter {python!r} has unusual characters")
    # -P: the launcher's folder and the working directory are the host's, no place for modules.
    line = f"#!{python} -P\n".encode()
    if len(line) <= SHEBANG and not any(char.isspace() for char in python):
        return line
    # The shell reads one line and is gone; what follows it never sees.
    return f'#!/bin/sh\nexec {shlex.quote(python)} -P "$0" "$@"\n'.encode()


def _add(content: zipfile.ZipFile, name: str, file: File) -> None:
    entry = zipfile.ZipInfo(name)  # last changed in 1980
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3  # Unix, on whatever system it is made
    entry.external_attr = (stat.S_IFREG | (0o755 if file.executable else 0o644)) << 16
    content.writestr(entry, file.data)


# --- On the host's machine -----------------------------------------------------------------------


def launch(file: str, arguments: Sequence[str]) -> NoReturn:
    """Become the provider. Called by the launcher; the host's line stays unread on standard input.

    Args:
        file: path of the launcher.
        arguments: further flags of `provider run`, for a person; hosts give none.
    """
    command = [sys.executable, "-P", "-m", "provider", "run", "--host-data", "-"]
    try:
        settings = unpack(Path(file))
        if settings is not None:
            command += ["--env-file", str(settings)]
        # The same process: what the host kills is the provider, and its end is the provider's.
        os.execv(sys.executable, [*command, *arguments])  # noqa: S606  no shell: as it should be
    except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
        print(f"error: cannot start the provider from {file}: {error}", file=sys.stderr)  # noqa: T201  last words
        sys.exit(ExitCode.NOT_STARTED)


def unpack(file: Path) -> Path | None:
    """Put what a launcher carries where it can be read, and settings that name it into a file.

    It goes into a folder beside the launcher, which is the host's cache, so it goes when that is
    cleared; what lies there already is used. Where nobody may write, or what is there is another
    user's, it goes into a new folder of the system's for temporary files, which is left behind:
    the host kills the provider without a warning.

    Returns:
        The file with settings, None when the launcher carries nothing.
    """
    with zipfile.ZipFile(file) as content:
        manifest = json.loads(content.read(_MANIFEST))
        settings = dict(manifest["settings"])
        if not manifest["program"] and not settings:
            return None
        folder = _folder(file)
        for entry in content.infolist():
            if entry.filename.startswith(f"{_PROGRAM}/"):
                mode = 0o700 if entry.external_attr >> 16 & 0o100 else 0o600
                _place(folder / entry.filename, content.read(entry), mode)
    if manifest["program"]:
        settings["PYTHON_DISPATCH"] = str(folder / _PROGRAM / manifest["program"])
    lines = (f"{name}={_quoted(value)}\n" for name, value in settings.items())
    _place(folder / _SETTINGS, "".join(lines).encode(), 0o600)
    return folder / _SETTINGS


def _folder(file: Path) -> Path:
    # Named by what is in it: the next version never changes files under a provider that runs.
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    folder = file.absolute().with_name(f"{file.name}-{digest}")
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if ours and not found.st_mode & 0o022 and os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="provider-"))


def _place(path: Path, data: bytes, mode: int) -> None:
    """Write a file in one step, for others may be reading; leave it alone when it is right."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fchmod(descriptor, mode)
    os.replace(beside, path)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
