"""Where settings are read from, which place goes before which, and what is said of wrong ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from provider.errors import StartError
from provider.servers import MASK
from provider.settings import Settings, load
from provider.settings.load import Launch
from tests.settings.conftest import wrong

SECRET = "hunter2-correct-horse"


# --- Precedence -----------------------------------------------------------------------------------


def write_context(folder: Path, name: str, content: object) -> None:
    path = folder / "nats" / "context" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_each_place_goes_before_the_next(tmp_path: Path) -> None:
    write_context(tmp_path, "ctx", {"url": "nats://context"})
    Path(".env").write_text("NATS_URL=nats://file\n")
    environ = {
        "XDG_CONFIG_HOME": str(tmp_path),
        "NATS_CONTEXT": "ctx",
        "NATS_URL": "nats://environment",
    }

    def seen(settings: Settings) -> tuple[str, str, bool]:
        return settings.nats_url, settings.sources["nats_url"], settings.nats_url_given

    flags = {"nats_url": "nats://flag"}
    assert seen(load(flags, environ=environ)) == ("nats://flag", "flag --nats-url", True)
    assert seen(load({"nats_url": None}, environ=environ)) == (
        "nats://environment",
        "environment NATS_URL",
        True,
    )
    # An empty variable is what a compose file makes of one that is not set.
    environ["NATS_URL"] = ""
    assert seen(load(environ=environ)) == ("nats://file", ".env NATS_URL", True)
    assert seen(load(environ=environ, env_file=False)) == ("nats://context", "context ctx", True)
    del environ["NATS_CONTEXT"]
    assert seen(load(environ=environ, env_file=False)) == (
        "nats://127.0.0.1:4222",
        "default",
        False,
    )


def test_the_process_environment_is_the_default_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_LATTICE", "outside")
    assert load().lattice == "outside"
    assert load(environ={}).lattice == "default"


def test_flags_are_named_as_they_were_typed() -> None:
    settings = load(
        {"wait": False, "reload": True, "lattice": "l", "python_path": [], "nats_token": "t"},
        environ={},
    )
    assert settings.sources["wait"] == "flag --no-wait"
    assert settings.sources["reload"] == "flag --reload"
    assert settings.sources["lattice"] == "flag --lattice"
    assert settings.sources["nats_token"] == "flag nats_token"
    assert settings.sources["python_path"] == "default"


def test_a_flag_that_is_no_setting_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="no setting 'latice'"):
        load({"latice": "x"}, environ={})


# --- The .env file --------------------------------------------------------------------------------


def test_lines_of_an_env_file() -> None:
    Path(".env").write_text(
        "# a comment\n"
        "\n"
        "export PROVIDER_LATTICE=plain   # why\n"
        "PROVIDER_KEY='single'\n"
        'PROVIDER_NAME="double"\n'
        "NATS_PASSWORD='pa$$ ${HOME} # \"it\" \\'s'\n"
        "PROVIDER_LINK_NAME=first\n"
        "PROVIDER_LINK_NAME=second\n"
        "SOMEBODY_ELSES=1\n"
        "PROVIDER_QUEUE_CALLS=\n"
        "PROVIDER_ADMIN\n"
    )
    settings = load(environ={"HOME": "/home/x"})
    assert settings.lattice == "plain"
    assert settings.key == "single"
    assert settings.name == "double"
    assert settings.link_name == "second"
    assert settings.queue_calls == 1024
    assert settings.nats_password is not None
    assert settings.nats_password.get_secret_value() == 'pa$$ ${HOME} # "it" \'s'
    assert settings.sources["nats_password"] == ".env NATS_PASSWORD"
    assert "SOMEBODY_ELSES" not in os.environ
    assert settings.unknown == ()


def test_an_env_file_of_another_name(tmp_path: Path) -> None:
    Path(".env").write_text("PROVIDER_LATTICE=no\n")
    other = tmp_path / "prod.env"
    other.write_text("PROVIDER_KEY=yes\n")
    settings = load(environ={}, env_file=other)
    assert (settings.lattice, settings.key) == ("default", "yes")
    assert settings.sources["key"] == f"{other} PROVIDER_KEY"


def test_an_env_file_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"a file that can be read [(]No such file"):
        load(environ={}, env_file=tmp_path / "absent")


def test_a_folder_called_env_is_no_env_file() -> None:
    Path(".env").mkdir()
    assert load(environ={}).lattice == "default"


def test_an_env_file_in_another_encoding() -> None:
    Path(".env").write_bytes(f"NATS_TOKEN={SECRET}\xe9\n".encode("latin-1"))
    text = wrong()
    assert ".env\n  expected  a text file in UTF-8" in text
    assert SECRET not in text


def test_a_broken_line_is_named_and_not_shown() -> None:
    Path(".env").write_text(f"PROVIDER_KEY=k\n\n\nNATS_TOKEN='{SECRET}\nPROVIDER_NAME=n\n")
    text = wrong()
    assert (
        text
        == "1 setting is wrong:\n\n.env, line 4\n  expected  NAME=value, with its quotes closed"
    )


# --- Secrets --------------------------------------------------------------------------------------


def test_a_wrong_secret_is_masked_in_the_error() -> None:
    text = wrong(nats_token=[SECRET])
    assert f"NATS_TOKEN\n  value     {MASK}\n  from      flag nats_token\n" in text
    assert SECRET not in text


@pytest.mark.parametrize("variable", ["NATS_PASSWORD", "NATS_TOKEN"])
def test_a_secret_from_a_file(variable: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"  {SECRET}\n")
    settings = load(environ={f"{variable}_FILE": str(file)})
    field = variable.lower()
    assert getattr(settings, field).get_secret_value() == SECRET
    assert settings.sources[field] == f"environment {variable}_FILE"
    assert settings.unknown == ()


def test_a_secret_both_plain_and_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("in the file")
    text = wrong({"NATS_TOKEN": SECRET, "NATS_TOKEN_FILE": str(file)})
    assert "from      environment NATS_TOKEN\n" in text
    assert "expected  only one of NATS_TOKEN and NATS_TOKEN_FILE" in text
    assert SECRET not in text


def test_a_secret_in_the_environment_goes_before_a_file_named_in_env_file(tmp_path: Path) -> None:
    Path(".env").write_text("NATS_TOKEN_FILE=/nowhere-at-all\n")
    assert "NATS_TOKEN_FILE\n  value     '/nowhere-at-all'\n  from      .env" in wrong()
    file = tmp_path / "secret"
    file.write_text("in the file")
    Path(".env").write_text(f"NATS_TOKEN_FILE={file}\n")
    settings = load(environ={"NATS_TOKEN": "plain"})
    assert settings.sources["nats_token"] == "environment NATS_TOKEN"


def test_a_secret_file_that_cannot_be_used(tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text(" \n")
    binary.write_bytes(b"\xff\xfe")
    absent = tmp_path / "absent"
    for path, expected in (
        (empty, "a file that is not empty"),
        (binary, "a text file in UTF-8"),
        (absent, "a file that can be read (No such file or directory)"),
        (tmp_path, "a file that can be read (Is a directory)"),
    ):
        text = wrong({"NATS_PASSWORD_FILE": str(path)})
        assert text == (
            "1 setting is wrong:\n\n"
            "NATS_PASSWORD_FILE\n"
            f"  value     '{path}'\n"
            "  from      environment NATS_PASSWORD_FILE\n"
            f"  expected  {expected}"
        )


# --- NATS contexts --------------------------------------------------------------------------------


def test_a_context_fills_in_what_is_given_nowhere_else(tmp_path: Path) -> None:
    files = {}
    for key in ("creds", "nkey", "cert", "key", "ca"):
        path = tmp_path / f"{key}.pem"
        path.write_text("x")
        files[key] = str(path)
    write_context(
        tmp_path / ".config",
        "prod",
        {
            "description": "of no interest",
            "url": "nats://a,nats://b",
            "user": "context-user",
            "password": SECRET,
            "token": "",
            "jetstream_domain": 3,
            "inbox_prefix": "_INBOX.me",
            "user_jwt": "eyJ0eXAi.eyJqdGki.c2ln",
            **files,
            "creds": "~/creds.pem",
        },
    )
    settings = load(
        {"nats_user": "flag-user"}, environ={"HOME": str(tmp_path), "NATS_CONTEXT": "prod"}
    )
    assert settings.nats_servers == ("nats://a", "nats://b")
    assert settings.nats_user == "flag-user"
    assert settings.nats_password is not None
    assert settings.nats_password.get_secret_value() == SECRET
    assert settings.nats_token is None
    assert settings.nats_creds == tmp_path / "creds.pem"
    assert settings.nats_nkey == Path(files["nkey"])
    assert settings.nats_inbox_prefix == "_INBOX.me"
    assert settings.nats_jwt is not None
    assert settings.nats_cert == Path(files["cert"])
    assert settings.nats_key == Path(files["key"])
    assert settings.nats_ca == Path(files["ca"])
    assert settings.sources["nats_password"] == "context prod"
    assert settings.sources["nats_token"] == "default"
    assert SECRET not in repr(settings)


def test_a_context_may_be_chosen_by_flag_and_by_env_file(tmp_path: Path) -> None:
    write_context(tmp_path, "one", {"url": "nats://one"})
    write_context(tmp_path, "two", {"url": "nats://two"})
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    Path(".env").write_text("NATS_CONTEXT=one\n")
    assert load(environ=environ).nats_url == "nats://one"
    assert load({"nats_context": "two"}, environ=environ).nats_url == "nats://two"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f'{{"password": "{SECRET}"', "JSON in "),
        (f'["{SECRET}"]', "a JSON object in "),
        ("[" * 100_000, "JSON in "),
        ({"token": [SECRET]}, "text as 'token' in "),
        (None, "a file that can be read (No such file or directory) at "),
    ],
)
def test_a_context_that_cannot_be_used(tmp_path: Path, content: object, expected: str) -> None:
    if content is not None:
        write_context(tmp_path, "ctx", content)
    text = wrong({"XDG_CONFIG_HOME": str(tmp_path), "NATS_CONTEXT": "ctx"})
    assert text == (
        "1 setting is wrong:\n\n"
        "NATS_CONTEXT\n"
        "  value     'ctx'\n"
        "  from      environment NATS_CONTEXT\n"
        f"  expected  {expected}{tmp_path}/nats/context/ctx.json"
    )


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "a\\b", ".hidden", "two words"])
def test_a_context_name_is_no_path(tmp_path: Path, name: str) -> None:
    text = wrong({"XDG_CONFIG_HOME": str(tmp_path), "NATS_CONTEXT": name})
    assert "expected  the name of a context" in text


def test_contexts_need_a_home() -> None:
    assert "expected  XDG_CONFIG_HOME or HOME" in wrong({"NATS_CONTEXT": "ctx"})


def test_a_wrong_value_in_a_context_is_said_to_be_there(tmp_path: Path) -> None:
    write_context(tmp_path, "ctx", {"url": f"http://u:{SECRET}@h"})
    text = wrong({"XDG_CONFIG_HOME": str(tmp_path), "NATS_CONTEXT": "ctx"})
    assert "NATS_URL\n" in text
    assert "  from      context ctx\n" in text
    assert SECRET not in text


# --- Wrong values ---------------------------------------------------------------------------------


def test_all_that_is_wrong_is_said_at_once() -> None:
    Path(".env").write_text("PROVIDER_KEY=a.b\nNATS_PASSWORD_FILE=/nowhere-at-all\n")
    text = wrong({"PROVIDER_QUEUE_CALLS": "0"}, lattice="*", log_level=5)
    assert text.startswith("5 settings are wrong:\n")
    for line in (
        "  from      .env PROVIDER_KEY",
        "  from      .env NATS_PASSWORD_FILE",
        "  from      environment PROVIDER_QUEUE_CALLS",
        "  from      flag --lattice",
        "  from      flag --log-level",
    ):
        assert line in text.splitlines()


def test_paths_begin_at_home() -> None:
    environ = {
        "HOME": "/home/x",
        "PYTHON_PATH": "~/lib:/opt/lib:~/more",
        "VENV_PATH": "~/venv",
        "PYTHON_DISPATCH": "~/dispatch.py",
        "PYTHON_MAIN": "a~/main.py",
        "NATS_USER": "~/no-path",
    }
    settings = load(environ=environ)
    assert settings.python_path == (
        Path("/home/x/lib"),
        Path("/opt/lib"),
        Path("/home/x/more"),
    )
    assert settings.venv_path == Path("/home/x/venv")
    assert settings.python_dispatch == "/home/x/dispatch.py"
    assert settings.python_main == Path("a~/main.py")
    assert settings.nats_user == "~/no-path"


def test_folders_of_a_flag_given_several_times() -> None:
    settings = load({"python_path": ["a", Path("b")]}, environ={})
    assert settings.python_path == (Path("a"), Path("b"))


# --- Unknown variables ----------------------------------------------------------------------------


def test_unknown_variables_are_listed_with_the_nearest_name() -> None:
    Path(".env").write_text("PROVIDER_LATICE=x\nOTHER=1\n")
    settings = load(environ={"PROVIDER_QUEU_CALLS": "9", "PROVIDER_": "", "PROVIDER_ZZZZZZZZ": ""})
    assert settings.unknown == (
        "PROVIDER_",
        "PROVIDER_LATICE (nearest is PROVIDER_LATTICE)",
        "PROVIDER_QUEU_CALLS (nearest is PROVIDER_QUEUE_CALLS)",
        "PROVIDER_ZZZZZZZZ",
    )
    assert settings.queue_calls == 1024


# --- Launched by a host --------------------------------------------------------------------------


def test_what_a_host_says_lies_between_the_other_places(tmp_path: Path) -> None:
    write_context(tmp_path, "ctx", {"user": "context", "creds": "/absent"})
    file = tmp_path / "its.env"
    file.write_text("PROVIDER_LATTICE=file\nPROVIDER_NAME=file\nPROVIDER_LINK_NAME=file\n")
    environ = {
        "XDG_CONFIG_HOME": str(tmp_path),
        "NATS_CONTEXT": "ctx",
        "PROVIDER_LATTICE": "environment",
        "PROVIDER_NAME": "environment",
    }
    launch = Launch(
        place={"lattice": ("place", "of the host"), "key": ("place", "of the host")},
        config={
            "PROVIDER_LATTICE": ("config", "config of the host"),
            "PROVIDER_NAME": ("config", "config of the host"),
            "PROVIDER_LINK_NAME": ("config", "config of the host"),
            "PROVIDER_LINK": ("config", "config of the host"),
        },
        rest={"wait": (False, "rest"), "nats_user": ("rest", "rest"), "key": ("rest", "rest")},
        settled=frozenset({"nats_creds"}),
    )
    flags = {"key": "flag"}
    settings = load(flags, environ=environ, env_file=file, launch=launch)
    fields = ("lattice", "key", "name", "link_name", "nats_user", "wait", "nats_creds")
    assert {field: (getattr(settings, field), settings.sources[field]) for field in fields} == {
        "lattice": ("place", "of the host"),
        "key": ("flag", "flag --key"),
        "name": ("environment", "environment PROVIDER_NAME"),
        "link_name": ("config", "config of the host"),
        "nats_user": ("context", "context ctx"),
        "wait": (False, "rest"),
        "nats_creds": (None, "default"),
    }
    assert settings.unknown == ("PROVIDER_LINK (nearest is PROVIDER_LINK_NAME)",)
    # What is settled counts from a flag all the same.
    assert load({"nats_creds": file}, environ={}, launch=launch).nats_creds == file


def test_the_folder_a_host_starts_us_in_is_none_of_ours() -> None:
    Path(".env").write_text("PROVIDER_LATTICE=stranger\n")
    assert load(environ={}, launch=Launch()).lattice == "default"
    assert load(environ={}, launch=Launch(), env_file=Path(".env")).lattice == "stranger"


def test_a_wrong_value_of_a_host_is_said_to_be_there() -> None:
    launch = Launch(place={"lattice": ("", "host data lattice_rpc_prefix")})
    with pytest.raises(StartError, match="value     ''\n  from      host data lattice_rpc_prefix"):
        load(environ={}, launch=launch)
