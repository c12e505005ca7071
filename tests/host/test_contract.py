"""The variables of the contract: every way to get them wrong, each named."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from provider.errors import StartError
from provider.host.contract import resolve
from provider.inspection import SECRETS
from provider.settings import KNOBS
from provider.wire.values import Limits

HANDLE = "def handle(command, arg): return arg\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to be in, with a dispatch program, a main file, and a main folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dispatch.py").write_text(HANDLE)
    (tmp_path / "main.py").write_text("def main(command, arg): pass\n")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("def main(command, arg): pass\n")
    (tmp_path / "app" / "inner.py").write_text(HANDLE)
    (tmp_path / "app" / "pack").mkdir()
    (tmp_path / "app" / "pack" / "__init__.py").write_text(HANDLE)
    (tmp_path / "bare").mkdir()
    (tmp_path / "notes.txt").write_text("no program")
    return tmp_path


def resolved(**given):
    return resolve(
        **{"venv": None, "main": None, "dispatch": None, "environ": {"PATH": "/bin"}, **given}
    )


def refusal(**given):
    with pytest.raises(StartError) as caught:
        resolved(**given)
    return str(caught.value)


def test_a_relative_dispatch_is_made_absolute(place):
    setup = resolved(dispatch="dispatch.py")
    assert setup.dispatch == str(place / "dispatch.py")
    assert setup.main is None
    assert setup.program == setup.dispatch
    assert setup.python == sys.executable


def test_a_folder_with_an_init_is_a_dispatch(place):
    assert resolved(dispatch="app/pack").dispatch == str(place / "app" / "pack")


@pytest.mark.parametrize("name", ["inner", "inner.py"])
def test_a_dispatch_may_be_a_name_inside_the_folder_of_main(place, name):
    setup = resolved(main=Path("app"), dispatch=name)
    assert setup.main == str(place / "app")
    assert setup.dispatch == str(place / "app" / "inner.py")


def test_a_package_may_be_named_inside_the_folder_of_main(place):
    assert resolved(main=Path("app"), dispatch="pack").dispatch == str(place / "app" / "pack")


@pytest.mark.parametrize("name", ["dispatch", "dispatch.py"])
def test_a_dispatch_may_be_a_name_beside_the_file_of_main(place, name):
    setup = resolved(main=Path("main.py"), dispatch=name)
    assert setup.dispatch == str(place / "dispatch.py")


def test_inside_main_comes_before_here_and_here_is_looked_at_too(place):
    (place / "app" / "dispatch.py").write_text(HANDLE)
    assert resolved(main=Path("app"), dispatch="dispatch.py").dispatch == str(
        place / "app" / "dispatch.py"
    )
    (place / "app" / "dispatch.py").unlink()
    assert resolved(main=Path("app"), dispatch="dispatch.py").dispatch == str(place / "dispatch.py")


def test_main_alone_is_enough(place):
    setup = resolved(main=Path("main.py"))
    assert setup.dispatch is None
    assert setup.program == str(place / "main.py")


def test_nothing_to_load_says_what_to_set_and_offers_the_example(place):
    text = refusal()
    assert text.startswith("PYTHON_DISPATCH is not set: name the file that contains handle(")
    assert "provider run --example factorial --embedded-nats" in text
    assert refusal(dispatch="") == text


def test_a_dispatch_that_does_not_exist_says_where_it_was_looked_for(place):
    assert refusal(dispatch="nothing.py") == (
        "PYTHON_DISPATCH names nothing.py, which does not exist "
        f"(looked for {place / 'nothing.py'})"
    )
    assert refusal(main=Path("app"), dispatch="nothing") == (
        "PYTHON_DISPATCH names nothing, which does not exist (looked for "
        f"{place / 'app' / 'nothing'}, {place / 'app' / 'nothing.py'}, {place / 'nothing'})"
    )


@pytest.mark.parametrize("name", ["notes.txt", "bare"])
def test_a_dispatch_that_is_no_program_is_refused(place, name):
    assert refusal(dispatch=name) == (
        f"PYTHON_DISPATCH names {name}, which is neither a .py file nor a folder with __init__.py"
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing.py", "which does not exist"),
        ("bare", "which has no __init__.py with main(command, arg)"),
        ("notes.txt", "a file must end in .py"),
    ],
)
def test_a_wrong_main_is_refused(place, name, reason):
    text = refusal(main=Path(name), dispatch="dispatch.py")
    assert text.startswith("PYTHON_MAIN names ")
    assert name in text
    assert text.endswith(reason)


def test_a_missing_environment_says_how_to_make_one(place):
    text = refusal(venv=Path("venv"), dispatch="dispatch.py")
    assert text.startswith("VENV_PATH names venv, which is not a folder; create it with\n")
    assert "python3 -m venv venv && venv/bin/pip install 'cbor2>=6.1,<7' neotasker" in text


def test_an_environment_without_an_interpreter_is_refused(place):
    assert refusal(venv=Path("bare"), dispatch="dispatch.py") == (
        "VENV_PATH names bare, which holds no bin/python; is it a virtual environment?"
    )


def test_an_environment_is_entered_as_activating_it_would(place):
    (place / "venv" / "bin").mkdir(parents=True)
    (place / "venv" / "bin" / "python").symlink_to(sys.executable)
    setup = resolved(
        venv=Path("venv"),
        dispatch="dispatch.py",
        environ={"PATH": "/usr/bin", "PYTHONHOME": "/elsewhere"},
    )
    # The link itself, not what it points to: its place is how Python finds the environment.
    assert setup.python == str(place / "venv" / "bin" / "python")
    assert setup.environment == {
        "PATH": f"{place / 'venv' / 'bin'}:/usr/bin",
        "VIRTUAL_ENV": str(place / "venv"),
    }


def test_further_folders_come_from_both_variables_in_order(place):
    setup = resolved(
        dispatch="dispatch.py",
        path=[Path("app"), place / "bare"],
        environ={"PYTHONPATH": os.pathsep.join(["lib", "", "/opt/lib"])},
    )
    assert setup.path == (
        str(place / "app"),
        str(place / "bare"),
        str(place / "lib"),
        "/opt/lib",
    )


def test_a_further_folder_that_is_none_is_refused(place):
    assert refusal(dispatch="dispatch.py", path=[Path("notes.txt")]) == (
        "PYTHON_PATH names notes.txt, which is not a folder"
    )


def test_the_worker_does_not_inherit_what_opens_our_connection(place):
    environ = {**dict.fromkeys(SECRETS, "secret"), "HOME": "/home/me", "LANG": "C"}
    setup = resolved(dispatch="dispatch.py", environ=environ)
    assert setup.environment == {"HOME": "/home/me", "LANG": "C"}


def test_every_secret_of_the_settings_is_kept_from_the_worker():
    """Whoever adds a setting that is a secret, or names a file with one, has to add it there."""
    names = {
        name
        for knob in KNOBS.values()
        if knob.file_variable
        or knob.variable.startswith("NATS_")
        or (knob.kind.name == "file" and knob.variable.endswith(("_KEY", "_SEED", "_SECRET")))
        for name in (knob.variable, knob.file_variable)
        if name
    }
    assert {"NATS_URL", "NATS_CREDS_FILE", "PROVIDER_HTTP_TOKEN", "PROVIDER_GRPC_KEY"} <= names
    # The two more are other programs' names for such things.
    assert names - SECRETS == set()
    assert SECRETS - names == {"NATS_SEED", "NOTIFY_SOCKET"}


def test_the_environment_of_the_process_is_the_default(place, monkeypatch):
    monkeypatch.setenv("NATS_TOKEN", "secret")
    monkeypatch.setenv("A_SETTING_OF_MINE", "kept")
    setup = resolve(venv=None, main=None, dispatch="dispatch.py")
    assert setup.environment["A_SETTING_OF_MINE"] == "kept"
    assert "NATS_TOKEN" not in setup.environment


def test_it_travels_as_plain_values(place):
    limits = Limits(depth=3)
    setup = resolved(dispatch="dispatch.py", limits=limits, concurrency=4)
    assert setup.as_map() == {
        "main": None,
        "dispatch": str(place / "dispatch.py"),
        "path": [],
        "limits": {
            "depth": 3,
            "items": limits.items,
            "string": limits.string,
            "integer_bits": limits.integer_bits,
            "decimal_exponent": limits.decimal_exponent,
        },
        "concurrency": 4,
    }


async def test_user_code_sees_none_of_the_secrets(house):
    await house.start(
        "import os\ndef handle(command, arg): return os.environ.get(arg)",
        environ={**os.environ, "NATS_TOKEN": "secret", "NATS_URL": "nats://u:p@h", "MINE": "yes"},
    )
    assert await house.call("get", "NATS_TOKEN") is None
    assert await house.call("get", "NATS_URL") is None
    assert await house.call("get", "MINE") == "yes"


async def test_user_code_imports_from_the_further_folders(house, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "first_lib.py").write_text("NAME = 'first'")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "second_lib.py").write_text("NAME = 'second'")
    await house.start(
        """
        import first_lib, second_lib
        def handle(command, arg): return [first_lib.NAME, second_lib.NAME]
        """,
        path=[tmp_path / "one"],
        environ={**os.environ, "PYTHONPATH": str(tmp_path / "two")},
    )
    assert await house.call("names") == ["first", "second"]


@pytest.mark.parametrize(
    "variable", ["PYTHON_MAIN", "PYTHON_DISPATCH", "PYTHON_PATH", "PYTHONPATH"]
)
def test_a_path_that_is_no_utf_8_is_named(tmp_path, variable):
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    program = tmp_path / "dispatch.py"
    for file in (program, odd / "dispatch.py"):
        file.write_text(
            "def handle(command, arg): return arg\ndef main(command, arg): return arg\n"
        )
    given = {
        "PYTHON_MAIN": {"main": odd / "dispatch.py", "dispatch": None},
        "PYTHON_DISPATCH": {"dispatch": str(odd / "dispatch.py")},
        "PYTHON_PATH": {"path": [odd]},
        "PYTHONPATH": {"environ": {"PYTHONPATH": str(odd)}},
    }[variable]
    with pytest.raises(StartError, match=rf"^{variable} names .*caf.*, which is not UTF-8"):
        resolve(**{"venv": None, "main": None, "dispatch": str(program), **given})
