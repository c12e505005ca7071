"""What was written for the ancestor runs unchanged: its main, its dispatch, its environments."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from provider.errors import BadRequest, HandlerError
from tests.conftest import PATIENCE, write

STOCK_MAIN = """
    # Module that loads and runs the dispatch program
    import importlib
    import os
    from . import dispatch

    ALLOW_RELOAD = True

    def main(command, arg):
        if command == "reload":
            if ALLOW_RELOAD:
                importlib.reload(dispatch)
                return True
            return False
        return dispatch.handle(command, arg["arg"])
"""
STOCK_DISPATCH = """
    def factorial(n):
        val = 1
        for i in range(2, n + 1):
            val = val * i
        return val

    def say_hello(name):
        return "Hello {}!".format(name)

    # dispatch RPC command
    def handle(command, arg):
        if command.endswith("factorial"):
            return factorial(arg)
        if command.endswith("hello"):
            return say_hello(arg)
        return "unknown command {}".format(command)
"""


@pytest.fixture(scope="module")
def stock(serve, tmp_path_factory):
    """The ancestor's example: a folder as PYTHON_MAIN, and a program in it as PYTHON_DISPATCH."""
    folder = tmp_path_factory.mktemp("ancestor") / "pyprovider"
    write(folder / "__init__.py", STOCK_MAIN)
    write(folder / "dispatch.py", STOCK_DISPATCH)
    provider = serve(PYTHON_MAIN=str(folder), PYTHON_DISPATCH=str(folder / "dispatch.py"))
    provider.folder = folder
    return provider


def test_a_main_folder_and_its_dispatch_serve_unchanged(stock):
    assert stock.call("py.factorial", 10) == 3628800
    assert stock.call("py.hello", "Alice") == "Hello Alice!"
    assert stock.call("py.nothing", 1) == "unknown command py.nothing"


def test_a_stock_main_fails_on_a_call_without_argument_as_it_did(stock):
    with pytest.raises(HandlerError) as caught:
        stock.call("py.factorial")
    assert caught.value.type == "KeyError"
    assert stock.call("py.hello", None) == "Hello None!"


def test_the_operation_reload_reaches_a_stock_main_and_answers_true(stock):
    before = len(stock.events("reloaded"))
    assert stock.call("reload") is True
    assert stock.call("py.factorial", 5) == 120
    stock.wait_for("reloaded", before + 1)


def test_a_saved_dispatch_is_live_at_the_next_call_through_a_stock_main(stock):
    before = len(stock.events("reloaded"))
    program = stock.folder / "dispatch.py"
    program.write_text(program.read_text().replace("Hello {}!", "Salut {}!"))
    assert stock.call("py.hello", "Alice") == "Salut Alice!"
    program.write_text(program.read_text().replace("Salut {}!", "Hello {}!"))
    assert stock.call("py.hello", "Alice") == "Hello Alice!"
    assert stock.call("py.hello", "Bob") == "Hello Bob!"
    stock.wait_for("reloaded", before + 2)
    assert len(stock.events("reloaded")) == before + 2


def test_a_saved_main_is_live_at_the_next_call(stock):
    main = stock.folder / "__init__.py"
    good = main.read_text()
    main.write_text(good.replace('return dispatch.handle(command, arg["arg"])', "return 'mine'"))
    assert stock.call("py.hello", "Alice") == "mine"
    main.write_text(good)
    assert stock.call("py.hello", "Alice") == "Hello Alice!"


def test_a_broken_dispatch_leaves_the_old_one_behind_a_stock_main(stock):
    program = stock.folder / "dispatch.py"
    good = program.read_text()
    failed = len(stock.events("reload_failed"))
    program.write_text("def handle(command, arg:\n")
    assert stock.call("py.hello", "Alice") == "Hello Alice!"
    assert "SyntaxError" in stock.wait_for("reload_failed", failed + 1)["error"]
    program.write_text("raise RuntimeError('not today')\n" + good)
    assert stock.call("py.hello", "Alice") == "Hello Alice!"
    assert "not today" in stock.wait_for("reload_failed", failed + 2)["error"]
    program.write_text(good.replace("Hello", "Good day"))
    assert stock.call("py.hello", "Alice") == "Good day Alice!"
    program.write_text(good)
    assert stock.call("py.hello", "Alice") == "Hello Alice!"


TELLING = """
    import sys

    import beside
    import further
    import wide

    SEEN = []

    def main(command, arg):
        SEEN.append([command, type(arg).__name__, arg])
        if command == "seen":
            return SEEN[:-1]
        return {"arg": arg, "libraries": [beside.NAME, further.NAME, wide.NAME]}
"""


@pytest.fixture(scope="module")
def single(serve, tmp_path_factory):
    """A file as PYTHON_MAIN, without any dispatch, and two folders on PYTHON_PATH."""
    folder = tmp_path_factory.mktemp("single")
    write(folder / "main" / "telling.py", TELLING)
    write(folder / "main" / "beside.py", "NAME = 'beside'")
    write(folder / "one" / "further.py", "NAME = 'further'")
    write(folder / "two" / "wide" / "__init__.py", "NAME = 'wide'")
    return serve(
        PYTHON_MAIN=str(folder / "main" / "telling.py"),
        PYTHON_PATH=f"{folder / 'one'}{os.pathsep}{folder / 'two'}",
    )


def test_a_file_is_a_main_and_python_path_is_searched(single):
    libraries = single.call("anything", 1)["libraries"]
    assert libraries == ["beside", "further", "wide"]


def test_an_argument_is_wrapped_and_none_is_an_empty_dict(single):
    assert single.call("x", 7)["arg"] == {"arg": 7}
    assert single.call("x", None)["arg"] == {"arg": None}
    assert single.call("x", {})["arg"] == {"arg": {}}
    assert single.call("x")["arg"] == {}


def test_main_sees_the_whole_operation_name(single):
    single.call("Interface.Method.deeper/über", 1)
    assert ["Interface.Method.deeper/über", "dict", {"arg": 1}] in single.call("seen")


@pytest.mark.parametrize("name", ["work", "work.py"])
def test_dispatch_is_a_name_inside_the_main_folder(serve, tmp_path, name):
    folder = tmp_path / "mainfolder"
    write(folder / "__init__.py", STOCK_MAIN.replace("dispatch", "work"))
    program = write(folder / "work.py", STOCK_DISPATCH)
    provider = serve(PYTHON_MAIN=str(folder), PYTHON_DISPATCH=name)
    assert provider.call("py.factorial", 10) == 3628800
    program.write_text(program.read_text().replace("Hello", "Salut"))
    assert provider.call("py.hello", "Alice") == "Salut Alice!"
    assert provider.wait_for("ready")["program"] == str(program)


# --- VENV_PATH ------------------------------------------------------------------------------------

SURVEY = """
    import sys

    import only_in_this_environment

    def handle(command, arg):
        if command == "square":
            return arg * arg
        missing = []
        for name in ("structlog", "nats", "typer", "pydantic", "numpy", "uvloop", "watchdog"):
            try:
                __import__(name)
            except ImportError:
                missing.append(name)
        return {
            "prefix": sys.prefix,
            "version": list(sys.version_info[:2]),
            "missing": missing,
            "own": only_in_this_environment.NAME,
        }
"""
HIDDEN = ["structlog", "nats", "typer", "pydantic", "numpy", "uvloop", "watchdog"]


def library(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def new_environment(folder: Path, python: str) -> Path:
    """A virtual environment without pip, with neotasker and what it needs; its site-packages."""
    subprocess.run(
        [python, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=2 * PATIENCE
    )
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in ("neotasker", "aiosched"):
        shutil.copytree(library(name), packages / name, ignore=shutil.ignore_patterns("*.pyc"))
    write(packages / "only_in_this_environment.py", "NAME = 'mine'")
    return packages


def test_the_worker_lives_in_venv_path_and_sees_nothing_of_the_hosts(serve, tmp_path):
    environment = tmp_path / "environment"
    packages = new_environment(environment, sys.executable)
    shutil.copytree(library("cbor2"), packages / "cbor2")
    provider = serve(SURVEY, VENV_PATH=str(environment))
    told = provider.call("survey")
    assert told["prefix"] == str(environment)
    assert told["own"] == "mine"
    assert told["missing"] == HIDDEN
    with pytest.raises(BadRequest, match="typed arrays need numpy in the environment"):
        provider.call("square", np.zeros(2))


def other_python(version: str) -> str:
    """An interpreter of this version, or skip."""
    found = [shutil.which(f"python{version}")]
    found += map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    for candidate in filter(None, found):
        told = subprocess.run(
            [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        if told.stdout.decode().strip() == version:
            return candidate
    pytest.skip(f"there is no Python {version} on this machine")


@pytest.fixture(scope="session")
def other_environment(request):
    """Virtual environments of other Python versions with only cbor2 and neotasker, kept in
    pytest's cache from one session to the next."""

    def environment(version: str) -> Path:
        version_of_cbor2 = importlib.metadata.version("cbor2")
        name = f"python{version}-cbor2-{version_of_cbor2}"
        folder = Path(request.config.cache.mkdir("environments")) / name
        marker = folder / "complete"
        python = other_python(version)
        if marker.exists() and (folder / "bin" / "python").exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        packages = new_environment(folder, python)
        installed = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
                *("--python-version", version, "--only-binary", ":all:", "--no-deps"),
                *("--target", str(packages), f"cbor2=={version_of_cbor2}"),
            ],
            capture_output=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        if installed.returncode:
            last = installed.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            pytest.skip(f"cbor2 for Python {version} cannot be installed here: {last}")
        marker.touch()
        return folder

    return environment


@pytest.mark.parametrize(
    "version", ["3.10", *(pytest.param(each, marks=pytest.mark.long) for each in ("3.12", "3.13"))]
)
def test_the_worker_runs_on_another_python(serve, other_environment, version):
    environment = other_environment(version)
    provider = serve(SURVEY, VENV_PATH=str(environment))
    told = provider.call("survey")
    assert ".".join(map(str, told["version"])) == version
    assert told["prefix"] == str(environment)
    assert told["missing"] == HIDDEN
    assert provider.call("square", 2**100) == 2**200
    program = provider.folder / "dispatch.py"
    program.write_text(program.read_text().replace("arg * arg", "arg + arg"))
    assert provider.call("square", 2**100) == 2**101
    with pytest.raises(HandlerError) as caught:
        provider.call("square", {})
    assert caught.value.type == "TypeError"
    assert provider.wait_for("worker_ready")["python"].startswith(version)
