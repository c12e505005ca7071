"""A dispatch program as an archive carries it: read from disk, with nothing secret in it.

The rule of this file: what is taken along is exactly what a person would expect of a program, and a
seed never is. An archive goes to registries and caches that anybody may read.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provider.errors import ProviderError
from provider.lattice.launcher import Cargo, File
from provider.lattice.nkeys import BadKey, decode_seed
from provider.units import format_size

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

_LEFT_OUT = ("*.pyc", "*.par", "*.par.gz")
# The second letter is that of a kind. Looked ahead, as an S of something else may stand before it.
_SEED = re.compile(rb"(?=(S[ACMNOUVX][A-Z2-7]{56}))")


class CargoError(ProviderError):
    """A program cannot be taken along; the message says why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be taken along.

    Attributes:
        size: bytes of all files together.
        files: how many.
    """

    size: int = 128 << 20
    files: int = 10_000


def collect(
    program: Path,
    settings: Mapping[str, str],
    *,
    without: Collection[Path] = (),
    limits: Limits | None = None,
) -> Cargo:
    """What a launcher carries.

    A file is taken alone. Of a folder everything is taken except what begins with a dot, byte code,
    archives and virtual environments; it is a package, or holds `dispatch.py`.

    Args:
        program: a file or a folder.
        settings: values of variables.
        without: files that are not taken along, such as those of the keys.
        limits: what may be taken along.

    Raises:
        CargoError: it is neither, cannot be read, is too large, or holds a seed.
    """
    program = Path(os.path.abspath(program))
    limits = limits or Limits()
    named: Iterable[tuple[Path, str]]
    try:
        if program.is_file():
            if program.suffix != ".py":
                raise CargoError(f"{program} is no .py file")
            entry, named = program.name, [(program, program.name)]
        elif program.is_dir():
            entry, named = _folder(program, {Path(os.path.abspath(path)) for path in without})
        else:
            raise CargoError(f"{program} does not exist")
        files: dict[str, File] = {}
        size = 0
        for path, name in named:
            size += path.stat().st_size
            if size > limits.size or len(files) >= limits.files:
                raise CargoError(
                    f"{program} is more than {limits.files} files or {format_size(limits.size)}; "
                    "large data belongs beside the provider, not into its archive"
                )
            files[name] = _read(path, name)
    except OSError as error:
        raise CargoError(f"cannot read {error.filename}: {error.strerror}") from None
    return Cargo(files, entry, settings)


def _folder(folder: Path, without: Collection[Path]) -> tuple[str, Iterator[tuple[Path, str]]]:
    """What of a folder is PYTHON_DISPATCH, and its files with their names in the archive."""
    if (folder / "__init__.py").is_file():
        entry, prefix = folder.name, f"{folder.name}/"
    elif (folder / "dispatch.py").is_file():
        entry, prefix = "dispatch.py", ""
    else:
        raise CargoError(f"{folder} holds neither __init__.py nor dispatch.py")
    return entry, (
        (path, prefix + path.relative_to(folder).as_posix())
        for path in _walk(folder)
        if path not in without
    )


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


def _read(path: Path, name: str) -> File:
    if not name.isprintable():
        raise CargoError(f"{name!r} has unusual characters in its name")
    data = path.read_bytes()
    if any(_is_seed(found) for found in _SEED.findall(data)):
        raise CargoError(
            f"{path} holds the seed of a key, and an archive is no secret; take it out"
        )
    return File(data, executable=bool(path.stat().st_mode & stat.S_IXUSR))


def _is_seed(text: bytes) -> bool:
    try:
        decode_seed(text.decode("ascii"))
    except BadKey:
        return False
    return True
