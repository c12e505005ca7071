"""A dispatch program as an archive carries it: read from disk, with nothing secret in it.

The rule of this file: what is taken along is exactly what a person would expect of a program, and a
seed never is. An archive goes to registries and caches that anybody may read.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from provider.errors import ProviderError
from provider.lattice.launcher import Cargo, File
from provider.lattice.nkeys import BadKey, decode_seed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

MAX_FILES = 10_000
MAX_SIZE = 128 << 20

_LEFT_OUT = ("*.pyc", "*.par", "*.par.gz")
_SEED = re.compile(rb"S[A-Z2-7]{57}")


class CargoError(ProviderError):
    """A program cannot be taken along; the message says why."""


def collect(program: Path, settings: Mapping[str, str], *, without: Collection[Path] = ()) -> Cargo:
    """What a launcher carries.

    A file is taken alone. Of a folder everything is taken except what begins with a dot, byte code,
    archives and virtual environments; it is a package, or holds `dispatch.py`.

    Args:
        program: a file or a folder.
        settings: values of variables.
        without: files that are not taken along, such as those of the keys.

    Raises:
        CargoError: it is neither, cannot be read, is too large, or holds a seed.
    """
    program = Path(os.path.abspath(program))
    try:
        if program.is_file():
            if program.suffix != ".py":
                raise CargoError(f"{program} is no .py file")
            return Cargo(dict([_read(program, program.name)]), program.name, settings)
        if not program.is_dir():
            raise CargoError(f"{program} does not exist")
        return _folder(program, settings, {Path(os.path.abspath(path)) for path in without})
    except OSError as error:
        raise CargoError(f"cannot read {error.filename}: {error.strerror}") from None


def _folder(folder: Path, settings: Mapping[str, str], without: Collection[Path]) -> Cargo:
    if (folder / "__init__.py").is_file():
        entry, prefix = folder.name, f"{folder.name}/"
    elif (folder / "dispatch.py").is_file():
        entry, prefix = "dispatch.py", ""
    else:
        raise CargoError(f"{folder} holds neither __init__.py nor dispatch.py")
    files: dict[str, File] = {}
    size = 0
    for path in _walk(folder):
        if path in without:
            continue
        name, file = _read(path, prefix + path.relative_to(folder).as_posix())
        files[name] = file
        size += len(file.data)
        if size > MAX_SIZE or len(files) > MAX_FILES:
            raise CargoError(
                f"{folder} is more than {MAX_FILES} files or {MAX_SIZE >> 20} MiB; large data "
                "belongs beside the provider, not into its archive"
            )
    return Cargo(files, entry, settings)


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or any(path.match(pattern) for pattern in _LEFT_OUT):
            continue
        if path.is_file():
            yield path
        elif path.is_symlink() or not path.is_dir():
            raise CargoError(f"{path} is neither a file nor a folder")
        elif path.name != "__pycache__" and not (path / "pyvenv.cfg").exists():
            yield from _walk(path)


def _read(path: Path, name: str) -> tuple[str, File]:
    if not name.isprintable():
        raise CargoError(f"{name!r} has unusual characters in its name")
    if path.stat().st_size > MAX_SIZE:
        raise CargoError(f"{path} is larger than {MAX_SIZE >> 20} MiB")
    data = path.read_bytes()
    if any(_is_seed(found) for found in _SEED.findall(data)):
        raise CargoError(
            f"{path} holds the seed of a key, and an archive is no secret; take it out"
        )
    return name, File(data, executable=bool(path.stat().st_mode & stat.S_IXUSR))


def _is_seed(text: bytes) -> bool:
    try:
        decode_seed(text.decode("ascii"))
    except BadKey:
        return False
    return True
