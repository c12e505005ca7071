"""Seeds in files: readable by their owner only, never lost by accident, never told."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from provider.lattice import seed_file
from provider.lattice.nkeys import KeyPair, Kind
from provider.lattice.seed_file import SeedFileError

if TYPE_CHECKING:
    from pathlib import Path

PAIR = KeyPair.from_raw(Kind.CLUSTER, b"\x01" * 32)


@pytest.fixture(autouse=True)
def open_umask():
    """Files are made as openly as they ask for."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def reason(path: Path, kind: Kind | None = None) -> str:
    with pytest.raises(SeedFileError) as caught:
        seed_file.read(path, kind)
    assert PAIR.seed not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", list(Kind))
def test_what_is_written_is_read_back(tmp_path, kind):
    path = tmp_path / "x.nk"
    pair = KeyPair.generate(kind)
    seed_file.write(path, pair)
    assert seed_file.read(path, kind) == pair
    assert mode(path) == 0o600
    assert path.read_text() == f"{pair.seed}\n"


def test_a_key_that_is_there_stays(tmp_path):
    path = tmp_path / "x.nk"
    seed_file.write(path, PAIR)
    with pytest.raises(SeedFileError, match=r"x\.nk is there already"):
        seed_file.write(path, KeyPair.generate(Kind.CLUSTER))
    assert seed_file.read(path) == PAIR
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_is_replaced_when_that_is_asked_for(tmp_path):
    path = tmp_path / "x.nk"
    path.write_text("open to all")
    path.chmod(0o644)
    seed_file.write(path, PAIR, replace=True)
    assert seed_file.read(path) == PAIR
    assert mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(SeedFileError, match=r"cannot write .*: No such file or directory"):
        seed_file.write(tmp_path / "absent" / "x.nk", PAIR)
    with pytest.raises(SeedFileError, match=r"cannot write .*: No such file or directory"):
        seed_file.write(tmp_path / "absent" / "x.nk", PAIR, replace=True)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SeedFileError, match=r"cannot write .*folder: Is a directory"):
        seed_file.write(tmp_path / "folder", PAIR, replace=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_what_holds_no_seed(tmp_path):
    path = tmp_path / "x.nk"
    assert reason(path) == f"cannot read {path}: No such file or directory"
    assert reason(tmp_path) == f"cannot read {tmp_path}: Is a directory"
    for data, why in (
        (b"", "Bad seed length: 0"),
        (PAIR.public.encode(), "Bad seed length: 56"),
        (PAIR.seed[:-1].encode() + b"A", "Checksum mismatch"),
        (PAIR.seed.encode() * 2, "Bad seed length: 116"),
        (b"\xff" * 58, "Bad seed length: 174"),
        (PAIR.seed.encode() + b" " * 1024, "it is longer than 1024 bytes"),
    ):
        path.write_bytes(data)
        assert reason(path) == f"{path} holds no seed: {why}"


def test_white_space_around_it_is_no_harm(tmp_path):
    path = tmp_path / "x.nk"
    path.write_bytes(b"\n  " + PAIR.seed.encode() + b"\r\n\n")
    assert seed_file.read(path) == PAIR


def test_a_seed_of_another_kind(tmp_path):
    path = tmp_path / "x.nk"
    seed_file.write(path, PAIR)
    assert reason(path, Kind.ACCOUNT) == f"{path} holds a seed of kind C; it must be A (account)"


def test_a_missing_key_is_made_once(tmp_path):
    path = tmp_path / "deep" / "keys" / "x.nk"
    pair, made = seed_file.read_or_make(path, Kind.ACCOUNT)
    assert made
    assert seed_file.read_or_make(path, Kind.ACCOUNT) == (pair, False)
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    with pytest.raises(SeedFileError, match="it must be V"):
        seed_file.read_or_make(path, Kind.SERVICE)


def test_git_leaves_a_folder_of_keys_alone(tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    seed_file.read_or_make(tmp_path / "keys" / "x.nk", Kind.ACCOUNT)
    status = ["git", "-C", tmp_path, "status", "--porcelain", "--untracked-files=all"]
    assert subprocess.run(status, check=True, capture_output=True).stdout == b""


def test_a_folder_that_is_there_stays_as_it_is(tmp_path):
    (tmp_path / "keys").mkdir(mode=0o755)
    seed_file.read_or_make(tmp_path / "keys" / "x.nk", Kind.ACCOUNT)
    assert mode(tmp_path / "keys") == 0o755
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["x.nk"]


def test_a_key_is_not_made_where_a_link_leads_nowhere(tmp_path):
    path = tmp_path / "x.nk"
    path.symlink_to(tmp_path / "absent")
    with pytest.raises(SeedFileError, match=r"cannot read"):
        seed_file.read_or_make(path, Kind.ACCOUNT)
    (tmp_path / "file").write_text("")
    with pytest.raises(SeedFileError, match=r"cannot make the folder .*: Not a directory"):
        seed_file.read_or_make(tmp_path / "file" / "keys" / "x.nk", Kind.ACCOUNT)
