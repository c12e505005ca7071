"""What an archive takes along of a dispatch program, and what it never does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provider.lattice.cargo import CargoError, Limits, collect
from provider.lattice.launcher import Cargo, File
from provider.lattice.nkeys import KeyPair, Kind
from tests.conftest import write


@pytest.fixture
def shop(tmp_path):
    """A folder with a program, what it needs, and what lies about beside it."""
    folder = tmp_path / "shop"
    for name in (
        "dispatch.py",
        "prices/__init__.py",
        "prices/table.csv",
        "__pycache__/dispatch.cpython-311.pyc",
        "old.pyc",
        "shop.par.gz",
        "older.par",
        ".env",
        ".git/config",
        "venv/pyvenv.cfg",
        "venv/bin/python",
        "keys/account.nk",
    ):
        write(folder / name, name)
    return folder


def refusal(program: Path, limits: Limits | None = None) -> str:
    with pytest.raises(CargoError) as caught:
        collect(program, {}, limits=limits)
    return str(caught.value)


def test_a_file_is_taken_alone(tmp_path):
    write(tmp_path / "helper.py", "")
    write(tmp_path / "dispatch.py", "x = 1")
    assert collect(tmp_path / "dispatch.py", {"A": "b"}) == Cargo(
        {"dispatch.py": File(b"x = 1")}, "dispatch.py", {"A": "b"}
    )


def test_a_folder_is_taken_with_what_the_program_needs(shop):
    taken = collect(shop, {}, without=[shop / "keys" / "account.nk"])
    assert taken.program == "dispatch.py"
    assert {name: file.data.decode() for name, file in taken.files.items()} == {
        name: name for name in ("dispatch.py", "prices/__init__.py", "prices/table.csv")
    }


def test_a_package_keeps_its_name(shop, monkeypatch):
    write(shop / "__init__.py", "")
    monkeypatch.chdir(shop)
    taken = collect(Path(), {}, without=[Path("keys/account.nk")])
    assert taken.program == "shop"
    assert sorted(taken.files)[:2] == ["shop/__init__.py", "shop/dispatch.py"]


def test_a_program_stays_executable(tmp_path):
    write(tmp_path / "dispatch.py", "")
    write(tmp_path / "tool", "#!/bin/sh").chmod(0o755)
    taken = collect(tmp_path, {})
    assert {name: file.executable for name, file in taken.files.items()} == {
        "dispatch.py": False,
        "tool": True,
    }


@pytest.mark.parametrize("kind", [Kind.ACCOUNT, Kind.SERVICE, Kind.CLUSTER, Kind.USER])
def test_a_seed_is_never_taken_along(shop, kind):
    seed = KeyPair.generate(kind).seed
    text = refusal(write(shop / "dispatch.py", f"SEED = '{seed}'"))
    assert text.startswith(f"{shop}/dispatch.py holds the seed of a key")
    assert seed not in text
    assert refusal(write(shop / "dispatch.py", f"SA{seed}A")).endswith("take it out")
    write(shop / "dispatch.py", "")
    write(shop / "keys" / "other.creds", f"-----BEGIN USER NKEY SEED-----\n{seed}\n")
    assert "other.creds holds the seed of a key" in refusal(shop)


def test_what_only_looks_like_a_seed_is_taken(tmp_path):
    text = f"# S{'A' * 57} S{'7' * 80}"
    assert collect(write(tmp_path / "dispatch.py", text), {}).files["dispatch.py"]


def test_what_is_no_program(tmp_path):
    assert refusal(tmp_path / "absent.py") == f"{tmp_path}/absent.py does not exist"
    assert refusal(write(tmp_path / "x.txt", "")) == f"{tmp_path}/x.txt is no .py file"
    assert refusal(tmp_path) == f"{tmp_path} holds neither __init__.py nor dispatch.py"


def test_what_cannot_be_taken(shop):
    pipe, link = shop / "pipe", shop / "link"
    os.mkfifo(pipe)
    assert refusal(shop) == f"{pipe} is neither a file nor a folder"
    pipe.unlink()
    link.symlink_to(shop.parent)
    assert refusal(shop) == f"{link} is neither a file nor a folder"
    link.unlink()
    write(shop / "a\x1b.py", "")
    assert refusal(shop) == "'a\\x1b.py' has unusual characters in its name"


def test_a_link_to_a_file_is_taken_as_the_file(tmp_path):
    write(tmp_path / "elsewhere", "x = 1")
    folder = write(tmp_path / "shop" / "dispatch.py", "").parent
    (folder / "helper.py").symlink_to(tmp_path / "elsewhere")
    assert collect(folder, {}).files["helper.py"] == File(b"x = 1")


def test_large_data_stays_outside(tmp_path):
    for name in ("dispatch.py", "a", "b"):
        write(tmp_path / name, "12345")
    told = f"{tmp_path} is more than 3 files or 15; large data belongs beside the provider"
    assert len(collect(tmp_path, {}, limits=Limits(size=15, files=3)).files) == 3
    assert refusal(tmp_path, Limits(size=14, files=3)).startswith(told.replace("15;", "14;"))
    assert refusal(tmp_path, Limits(size=15, files=2)).startswith(told.replace("3 f", "2 f"))
    program = tmp_path / "dispatch.py"
    assert refusal(program, Limits(size=4)).startswith(f"{program} is more than 10000 files or 4;")
    with program.open("wb") as file:
        file.truncate(1 << 40)  # nothing of it is read
    assert "128MiB" in refusal(program)


def test_what_cannot_be_read_is_named(tmp_path):
    write(tmp_path / "dispatch.py", "")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert refusal(tmp_path) == f"{tmp_path}/loop is neither a file nor a folder"
