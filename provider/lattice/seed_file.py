"""Seeds in files: one line of text that only its owner may read.

The rule of this file: a seed on the disk has mode 0600 from its first byte, is never written over
unless that was asked for, and stands in no text made here.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from provider.errors import ProviderError
from provider.lattice.nkeys import BadKey, KeyPair

if TYPE_CHECKING:
    from provider.lattice.nkeys import Kind

_MOST = 1024
"""Bytes of a file with a seed: it, the end of its line and some white space."""


class SeedFileError(ProviderError):
    """A file with a seed cannot be read or written; the message names the file and says why."""


def read(path: Path, kind: Kind | None = None) -> KeyPair:
    """The key whose seed is in a file.

    Args:
        path: of the file.
        kind: what the key has to be for, None for anything.

    Raises:
        SeedFileError: it cannot be read, holds no seed, or one of another kind.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
    except OSError as error:
        raise SeedFileError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > _MOST:
        raise SeedFileError(f"{path} holds no seed: it is longer than {_MOST} bytes")
    try:
        pair = KeyPair.from_seed(data.decode("ascii", "replace").strip())
    except BadKey as error:
        raise SeedFileError(f"{path} holds no seed: {error}") from None
    if kind is not None and pair.kind is not kind:
        raise SeedFileError(
            f"{path} holds a seed of kind {pair.kind.letter}; it must be {kind.letter} "
            f"({kind.name.lower()})"
        )
    return pair


def write(path: Path, pair: KeyPair, *, replace: bool = False) -> None:
    """Put a seed into a file.

    Args:
        path: of the file.
        pair: whose seed.
        replace: whether a file that is there already may go.

    Raises:
        SeedFileError: it is there already, or cannot be written.
    """
    data = f"{pair.seed}\n".encode("ascii")
    try:
        if not replace:
            _write(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), data)
            return
        descriptor, beside = tempfile.mkstemp(dir=path.parent)  # with mode 0600
        try:
            _write(descriptor, data)
            os.replace(beside, path)
        except OSError:
            Path(beside).unlink()
            raise
    except FileExistsError:
        raise SeedFileError(f"{path} is there already") from None
    except OSError as error:
        raise SeedFileError(f"cannot write {path}: {error.strerror}") from None


def read_or_make(path: Path, kind: Kind) -> tuple[KeyPair, bool]:
    """The key whose seed is in a file, made when there is no such file, and whether it was made.

    Its folder is made, too, for its owner only, and git leaves that alone.

    Raises:
        SeedFileError: as in `read` and `write`.
    """
    if os.path.lexists(path):
        return read(path, kind), False
    pair = KeyPair.generate(kind)
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True)
            (path.parent / ".gitignore").write_text("*\n", encoding="ascii")
    except OSError as error:
        raise SeedFileError(f"cannot make the folder {path.parent}: {error.strerror}") from None
    write(path, pair)
    return pair, True


def _write(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
