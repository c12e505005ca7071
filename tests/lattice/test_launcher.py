"""The executable of an archive: made alike twice, started from an empty environment."""

from __future__ import annotations

import io
import os
import shutil
import site
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from provider.lattice import launcher
from provider.lattice.launcher import Cargo, File, LauncherError
from provider.settings import load

CARGO = Cargo(
    {
        "shop/__init__.py": File(b"from shop import helper\n"),
        "shop/helper.py": File(b""),
        "shop/tool": File(b"#!/bin/sh\n", executable=True),
    },
    "shop",
    {"VENV_PATH": "/opt/shop's \\\\venv\\", "PROVIDER_NAME": "shop"},
)


def placed(folder: Path, data: bytes) -> Path:
    """A launcher at a place as hosts choose one."""
    path = folder / "wasmcloudcache" / "V" / "7" / "wasmcloud_example_python_default"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    path.chmod(0o755)
    return path


def start(path: Path, *arguments: str, folder: Path | None = None):
    """What becomes of it as hosts start it, with nothing on standard input."""
    return subprocess.run(
        [path, *arguments],
        env={},
        cwd=folder or path.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def make_environment(folder: Path) -> Path:
    """The interpreter of a fresh environment that sees the provider of this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    paths = [*site.getsitepackages(), str(Path(launcher.__file__).parents[2])]
    (packages / "provider.pth").write_text("\n".join(paths))
    return folder / "bin" / "python"


# --- Made ----------------------------------------------------------------------------------------


def test_the_same_input_makes_the_same_bytes():
    backwards = Cargo(
        dict(reversed(CARGO.files.items())),
        CARGO.program,
        dict(reversed(CARGO.settings.items())),
    )
    assert launcher.make("/opt/python", CARGO) == launcher.make("/opt/python", backwards)


def test_it_is_a_script_and_a_zip():
    data = launcher.make("/opt/python", CARGO)
    assert data.startswith(b"#!/opt/python -P\nPK")
    with zipfile.ZipFile(io.BytesIO(data)) as content:
        assert content.testzip() is None
        modes = {entry.filename: entry.external_attr >> 16 for entry in content.infolist()}
    assert modes == {
        "__main__.py": stat.S_IFREG | 0o644,
        "launch.json": stat.S_IFREG | 0o644,
        "program/shop/__init__.py": stat.S_IFREG | 0o644,
        "program/shop/helper.py": stat.S_IFREG | 0o644,
        "program/shop/tool": stat.S_IFREG | 0o755,
    }


@pytest.mark.parametrize(
    ("python", "first"),
    [
        ("/" + "p" * 120, b"#!/" + b"p" * 120 + b" -P\n"),
        ("/" + "p" * 121, b"#!/bin/sh\nexec /" + b"p" * 121 + b' -P "$0" "$@"\n'),
        ("/a b/python", b'#!/bin/sh\nexec \'/a b/python\' -P "$0" "$@"\n'),
        ("/it's $HOME/p", b'#!/bin/sh\nexec \'/it\'"\'"\'s $HOME/p\' -P "$0" "$@"\n'),
        ("/ü/python", "#!/ü/python -P\n".encode()),
    ],
)
def test_a_path_no_kernel_would_read_goes_through_the_shell(python, first):
    data = launcher.make(python, CARGO)
    assert data.startswith(first + b"PK")
    assert first.startswith(b"#!/bin/sh") or len(first) <= launcher.SHEBANG


@pytest.mark.parametrize("python", ["python3", "", "/a\nb", "/a\x00b", "/\udcff"])
def test_an_interpreter_that_cannot_be_named(python):
    with pytest.raises(LauncherError):
        launcher.make(python, CARGO)


# --- Started -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["venv", "it's a venv"])
def test_it_becomes_the_provider_of_that_interpreter(tmp_path, name):
    path = placed(tmp_path, launcher.make(str(make_environment(tmp_path / name)), Cargo()))
    # Modules of strangers, in both folders a host has to do with.
    for folder in (path.parent, tmp_path):
        (folder / "provider.py").write_text("raise SystemExit('stranger')")
    done = start(path, folder=tmp_path)
    # Nothing on standard input is the first thing the provider itself complains of.
    assert (done.returncode, done.stdout) == (3, "")
    assert "stdin is empty - expecting host data configuration" in done.stderr
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["provider.py", path.name]


def test_further_flags_are_those_of_run(tmp_path):
    done = start(placed(tmp_path, launcher.make(sys.executable, Cargo())), "--help")
    assert done.returncode == 0
    assert "provider run [OPTIONS]" in done.stdout


def test_an_interpreter_without_the_provider(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    done = start(placed(tmp_path, launcher.make(str(python), CARGO)))
    assert done.returncode == 3
    assert f"error: {python} cannot start the provider: No module named 'provider'" in done.stderr
    assert "provider pack --python" in done.stderr


def test_a_damaged_launcher(tmp_path):
    data = bytearray(launcher.make(sys.executable, CARGO))
    at = data.index(b"program/shop/helper.py")
    data[at - 4] ^= 1
    path = placed(tmp_path, bytes(data))
    done = start(path)
    assert done.returncode == 3
    assert done.stderr.startswith(f"error: cannot start the provider from {path}: ")
    assert "Traceback" not in done.stderr


# --- Unpacked ------------------------------------------------------------------------------------


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_it_is_unpacked_beside_itself_for_its_owner_only(tmp_path):
    path = placed(tmp_path, launcher.make("/p", CARGO))
    settings = launcher.unpack(path)
    assert settings is not None
    folder = settings.parent
    assert folder.parent == path.parent
    assert folder.name.startswith(f"{path.name}-")
    assert set(content(folder)) == {f"program/{name}" for name in CARGO.files} | {settings.name}
    assert content(folder)["program/shop/__init__.py"] == b"from shop import helper\n"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()
    }
    assert modes.pop("tool") == 0o700
    assert set(modes.values()) == {0o600}


def test_the_settings_name_the_program(tmp_path):
    settings = launcher.unpack(placed(tmp_path, launcher.make("/p", CARGO)))
    assert settings is not None
    found = load({}, environ={}, env_file=settings)
    assert found.python_dispatch == str(settings.parent / "program" / "shop")
    assert str(found.venv_path) == "/opt/shop's \\\\venv\\"
    assert found.name == "shop"
    assert found.sources["name"] == f"{settings} PROVIDER_NAME"


def test_settings_alone_and_nothing_at_all(tmp_path):
    (tmp_path / "a").mkdir()
    settings = launcher.unpack(
        placed(tmp_path / "a", launcher.make("/p", Cargo(settings={"PROVIDER_NAME": "x"})))
    )
    assert settings is not None
    assert settings.read_text() == "PROVIDER_NAME='x'\n"
    assert launcher.unpack(placed(tmp_path, launcher.make("/p", Cargo()))) is None
    assert len(list((tmp_path / "wasmcloudcache/V/7").iterdir())) == 1


def test_what_is_right_already_is_left_alone_and_what_is_not_is_put_right(tmp_path):
    path = placed(tmp_path, launcher.make("/p", CARGO))
    settings = launcher.unpack(path)
    assert settings is not None
    program = settings.parent / "program" / "shop"
    before = (program / "__init__.py").stat()
    (program / "helper.py").write_text("raise SystemExit")
    assert launcher.unpack(path) == settings
    after = (program / "__init__.py").stat()
    # A provider that runs from there has nothing to load again.
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (program / "helper.py").read_bytes() == b""


def test_the_next_version_is_unpacked_apart(tmp_path):
    path = placed(tmp_path, launcher.make("/p", CARGO))
    first = launcher.unpack(path)
    path.write_bytes(launcher.make("/q", CARGO))
    second = launcher.unpack(path)
    assert first is not None
    assert second is not None
    assert first.parent != second.parent
    assert first.exists()


@pytest.fixture
def temporary(tmp_path):
    """Whatever has to go into the system's folder for temporary files goes here."""
    import tempfile

    before, folder = tempfile.tempdir, tmp_path / "temporary"
    folder.mkdir()
    tempfile.tempdir = str(folder)
    yield folder
    tempfile.tempdir = before


@pytest.mark.parametrize("trap", ["a link", "open to others", "a file", "another user's"])
def test_a_folder_somebody_prepared_is_not_used(tmp_path, temporary, trap):
    path = placed(tmp_path, launcher.make("/p", CARGO))
    settings = launcher.unpack(path)
    assert settings is not None
    prepared = settings.parent
    shutil.rmtree(prepared)
    if trap == "a link":
        (tmp_path / "elsewhere").mkdir()
        prepared.symlink_to(tmp_path / "elsewhere")
    elif trap == "a file":
        prepared.write_text("")
    else:
        prepared.mkdir()
        prepared.chmod(0o777 if trap == "open to others" else 0o700)
    if trap == "another user's":
        if os.geteuid():
            pytest.skip("only root can give a folder away")
        os.chown(prepared, 12345, 12345)
    settings = launcher.unpack(path)
    assert settings is not None
    assert settings.parent.parent == temporary
    assert stat.S_IMODE(settings.parent.stat().st_mode) == 0o700
    assert (settings.parent / "program" / "shop" / "helper.py").exists()
