"""A wheel is all it takes: built, installed without network, it serves its example anywhere."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from provider.host.embedded import find_server
from tests.conftest import PATIENCE, Provider, clean_environment

ROOT = Path(__file__).parents[2]


def run(*command: object, **options) -> str:
    """What the command prints, once it has ended well."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, timeout=2 * PATIENCE, check=False, **options
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout.decode()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The `bin` folder of a fresh environment with the wheel, and its dependencies from here."""
    folder = tmp_path_factory.mktemp("installed") / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    (folder / "bin" / "nats-server").symlink_to(find_server())
    return folder / "bin"


def files(folder):
    """All files of a folder that are not made by running them, by their paths in the project."""
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_its_example_and_its_licence(wheel):
    assert wheel.name.startswith("python_provider-")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        told = message_from_bytes(content.read(metadata))
        (commands,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
        entries = content.read(commands).decode()
        assert "provider = provider.cli:main" in entries
        assert "[pytest11]\nprovider = provider.testing.plugin" in entries
    sources = files("provider")
    examples = {f"provider/{name}" for name in files("dispatch_examples")}
    assert "provider/dispatch_examples/factorial/dispatch.py" in examples
    assert {"provider/py.typed", "provider/templates/common/env.template"} <= sources
    assert {name for name in names if ".dist-info/" not in name} == sources | examples
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert told["Name"] == "python-provider"
    assert told["Requires-Python"] == ">=3.11"
    assert told["License-Expression"] == "Apache-2.0"


@pytest.mark.long
def test_an_installed_wheel_serves_its_example_in_an_empty_directory(installed, tmp_path):
    where = run(installed / "python", "-I", "-c", "import provider; print(provider.__file__)")
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert run(installed / "provider", "--version", cwd=tmp_path).startswith("provider ")
    provider = Provider(
        [
            str(installed / "provider"),
            *("run", "--example", "factorial", "--embedded-nats", "--embedded-port", "0"),
        ],
        clean_environment(PROVIDER_LOG_FORMAT="json"),
        tmp_path,
    )
    try:
        url = provider.wait_for("embedded_nats_ready")["url"]
        program = provider.wait_for("ready")["program"]
        assert Path(program).is_relative_to(installed.parent)
        environment = clean_environment(NATS_URL=url)
        call = (installed / "provider", "call")
        assert run(*call, "py.factorial", "10", env=environment, cwd=tmp_path) == "3628800\n"
        assert provider.stop() == 0
    finally:
        provider.close()
    assert list(tmp_path.iterdir()) == []


def test_what_the_worker_imports_compiles_on_the_oldest_python(tmp_path):
    found = [shutil.which("python3.10")]
    found += map(str, Path.home().glob(".pyenv/versions/3.10.*/bin/python"))
    oldest = [
        python
        for python in filter(None, found)
        if subprocess.run([python, "--version"], capture_output=True, check=False).stdout[:11]
        == b"Python 3.10"
    ]
    if not oldest:
        pytest.skip("there is no Python 3.10 on this machine")
    package = ROOT / "provider"
    files = ["__init__.py", "dispatch.py", "errors.py", "wire", "worker"]
    run(
        *(oldest[0], "-W", "error", "-m", "compileall", "-q", "-f"),
        *(package / name for name in files),
        env={**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)},
    )
    compiled = {path.name for path in tmp_path.rglob("*.pyc")}
    assert {"errors.cpython-310.pyc", "values.cpython-310.pyc", "serve.cpython-310.pyc"} <= compiled
