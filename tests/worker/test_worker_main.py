"""The first file of the worker: in the user's environment, of whatever version, and in no other."""

from __future__ import annotations

import functools
import os
import shutil
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

import aiosched
import cbor2
import neotasker
import pytest

from provider.errors import BadRequest, HandlerError

THIS = "{}.{}".format(*sys.version_info[:2])
OTHERS = [version for version in ("3.10", "3.11", "3.12", "3.13") if version != THIS]
OLDEST_AND_OTHERS = [
    OTHERS[0],
    *(pytest.param(each, marks=pytest.mark.long) for each in OTHERS[1:]),
]
"""For tests that are worth the while of `make test` with one other version."""
TOO_OLD = ["3.7", "3.8", "3.9"]


@functools.cache
def interpreter(version):
    """The path of a Python of this version, None when this machine has none."""
    folders = [Path(folder) for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)]
    candidates = [folder / f"python{version}" for folder in folders]
    candidates += sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    for candidate in candidates:
        if not os.access(candidate, os.X_OK):
            continue
        says = subprocess.run(
            [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            check=False,
        )
        # What a version manager puts into PATH may be there and refuse to run.
        if says.returncode == 0 and says.stdout.decode().strip() == version:
            return str(candidate)
    return None


class Environment:
    """A virtual environment that holds what the test puts into it, and nothing else."""

    def __init__(self, folder: Path, python: str) -> None:
        subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
        self.folder = folder
        self.python = str(folder / "bin" / "python")
        self.packages = next((folder / "lib").glob("python*/site-packages"))

    def copy(self, *modules) -> None:
        """Packages of our own environment, which must not be compiled for another version."""
        for module in modules:
            source = Path(module.__file__).parent
            shutil.copytree(
                source, self.packages / source.name, ignore=shutil.ignore_patterns("__pycache__")
            )

    def install(self, requirement: str) -> None:
        """A package for the version of this environment, by pip."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet"),
                *(
                    "--disable-pip-version-check",
                    "--no-deps",
                    "--only-binary",
                    ":all:",
                    requirement,
                ),
            ],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"pip cannot install {requirement} here: {done.stderr.decode()[-300:]}")


@pytest.fixture(scope="session", params=OLDEST_AND_OTHERS)
def other(request, tmp_path_factory):
    """An environment of another Python version, as VENV_PATH may name one."""
    python = interpreter(request.param)
    if python is None:
        pytest.skip(f"no Python {request.param} in PATH or in ~/.pyenv/versions")
    environment = Environment(tmp_path_factory.mktemp("environment") / "venv", python)
    environment.install("cbor2>=6.1,<7")
    environment.copy(neotasker, aiosched)
    (environment.packages / "only_there.py").write_text("VALUE = 'there'\n")
    environment.version = request.param
    return environment


@pytest.fixture
def bare(tmp_path):
    """An empty environment of our own version."""
    return Environment(tmp_path / "venv", sys.executable)


def test_the_worker_runs_the_version_of_the_environment(start, code, other):
    worker = start(other.python)
    worker.load(
        code.write("dispatch.py", "import sys\ndef handle(c, a): return sys.version_info[:2]")
    )
    assert worker.hello["python"].startswith(other.version + ".")
    assert os.path.samefile(worker.hello["prefix"], other.folder)
    assert worker.ask("x") == list(map(int, other.version.split(".")))
    assert worker.bye() == 0
    assert worker.printed("stderr") == b""


def test_the_worker_sees_libraries_of_the_environment_and_not_the_hosts(start, code, other):
    worker = start(other.python)
    worker.load(
        code.write(
            "dispatch.py",
            """
            import importlib.util, only_there
            def handle(command, names):
                return [only_there.VALUE, [n for n in names if importlib.util.find_spec(n)]]
            """,
        )
    )
    hosts = ["structlog", "nats", "typer", "pydantic", "numpy", "pytest", "coverage"]
    ours = ["cbor2", "neotasker", "provider.dispatch"]
    assert worker.ask("x", [*hosts, *ours]) == ["there", ours]


def test_calls_errors_and_reloads_are_the_same_in_every_version(start, code, other):
    worker = start(other.python)
    code.write(
        "dispatch.py",
        """
            from provider.dispatch import OperationError
            import helper
            def handle(command, arg):
                if command == "refuse":
                    raise OperationError("no", code=404, details=[1])
                if command == "group":
                    raise ValueError("why") from KeyError("cause")
                print(command)
                return [helper.VALUE, arg]
            """,
    )
    code.write("helper.py", "VALUE = 1")
    value = {"big": 1 << 100, "list": [1.5, None, True], "bytes": b"\x00"}
    worker.load(code.path("dispatch.py"))
    assert worker.ask("x", value) == [1, value]
    with pytest.raises(HandlerError) as caught:
        worker.ask("refuse")
    assert (caught.value.code, caught.value.details) == (404, [1])
    with pytest.raises(HandlerError) as caught:
        worker.ask("group")
    assert "KeyError: 'cause'" in caught.value.traceback
    assert "provider/worker" not in caught.value.traceback
    with pytest.raises(BadRequest, match="pip install numpy"):
        worker.ask("x", payload=b"\xd8\x40\x41\x00")
    code.write("helper.py", "VALUE = 2")
    assert worker.reload()["modules"] == ["dispatch", "helper"]
    assert worker.ask("x", 1) == [2, 1]
    assert not (code.folder / "__pycache__").exists()
    assert b"\x1e1 x\n" in worker.wait_for_print(b"\x1e1 x\n")


def test_calls_overlap_in_every_version(start, code, other):
    worker = start(other.python)
    text = (
        "import threading\nb = threading.Barrier(2, timeout=40)\nhandle = lambda c, a: b.wait() * 0"
    )
    worker.load(code.write("dispatch.py", text), concurrency=2)
    worker.send(worker.call_bytes("x"), worker.call_bytes("x"))
    assert [worker.answer()[1] for _ in range(2)] == [0, 0]
    assert worker.bye() == 0


# --- an environment that lacks something ----------------------------------------------------------


def refused(worker):
    """The worker's last words, when it could not even say hello."""
    with pytest.raises(EOFError):
        worker.next_frame()
    assert worker.exit_code() == 3
    return worker.printed("stderr").decode()


def fix(environment):
    return f"run: {environment.python} -m pip install 'cbor2>=6.1,<7' 'neotasker>=0.0.41'\n"


def test_without_cbor2_the_command_that_fixes_it_is_named(start, bare):
    words = refused(start(bare.python))
    assert words == f"the environment {bare.folder} has no usable cbor2; {fix(bare)}"


def test_an_old_cbor2_is_named_with_the_command_that_fixes_it(start, bare):
    bare.install("cbor2<6")
    bare.copy(neotasker, aiosched)
    words = refused(start(bare.python))
    assert "no usable cbor2 (version 6.1 or newer; an older one is there)" in words
    assert fix(bare) in words


@pytest.mark.parametrize("there", [[], [neotasker]], ids=["neotasker", "what neotasker needs"])
def test_without_neotasker_the_command_that_fixes_it_is_named(start, bare, there):
    bare.copy(cbor2, *there)
    for extension in Path(cbor2.__file__).parent.parent.glob("_cbor2*"):
        shutil.copy(extension, bare.packages)
    words = refused(start(bare.python))
    missing = "aiosched" if there else "neotasker"
    assert f"no usable neotasker (No module named '{missing}')" in words
    assert fix(bare) in words


@pytest.mark.parametrize("version", TOO_OLD)
def test_a_python_that_is_too_old_is_told_apart(start, version):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} in PATH or in ~/.pyenv/versions")
    words = refused(start(python))
    assert words == (
        f"Python {version} is too old for the worker; make VENV_PATH an environment of Python "
        "3.10 or newer\n"
    )


# --- and nothing else on the path -----------------------------------------------------------------


def test_neither_pythonpath_nor_the_working_folder_can_replace_our_libraries(start, code):
    for name in ("cbor2", "neotasker", "provider", "json"):
        code.write(f"{name}.py", "raise SystemExit('mine')")
    environment = {**os.environ, "PYTHONPATH": str(code.folder), "PYTHONSTARTUP": "nonsense"}
    here = os.getcwd()
    try:
        os.chdir(code.folder)
        worker = start(environment=environment)
    finally:
        os.chdir(here)
    worker.load(code.write("app/dispatch.py", "def handle(c, a): return a"))
    assert worker.ask("x", 1) == 1


def test_libraries_in_the_dispatch_folder_stay_hidden_and_are_named(start, code):
    names = ["cbor2", "json", "neotasker", "provider"]
    for name in names:
        code.write(f"{name}.py", "raise SystemExit('mine')")
    text = "import cbor2, json, neotasker, provider\ndef handle(c, a): return cbor2.__file__"
    worker = start()
    ready = worker.load(code.write("dispatch.py", text))
    assert ready["hidden"] == [code.path(f"{name}.py") for name in names]
    assert worker.ask("x") == cbor2.__file__


def test_only_what_the_environment_has_is_on_the_path(start, code):
    worker = start()
    worker.load(code.write("dispatch.py", "import sys\ndef handle(c, a): return sys.path"))
    path = worker.ask("x")
    assert path[-1] == str(code.folder)
    assert sysconfig.get_path("stdlib") in path
    assert set(path[:-1]) <= set(sys.path)
    assert site.getusersitepackages() not in path


def test_garbage_is_collected_while_the_users_code_runs(start, code):
    worker = start()
    worker.load(
        code.write(
            "dispatch.py",
            "import gc\nAT_LOAD = gc.isenabled()\n"
            "def handle(command, arg): return [AT_LOAD, gc.isenabled()]",
        )
    )
    assert worker.ask("x") == [True, True]
