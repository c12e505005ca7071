"""Knobs: how they are written, where they are read from, and what is said when one is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from provider.errors import StartError
from provider.servers import MASK, mask_url
from provider.settings import (
    GROUPS,
    KNOBS,
    Settings,
    load,
    rows,
)

SECRET = "hunter2-correct-horse"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, so that nobody's .env is read."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


def wrong(environ: dict[str, str] | None = None, **flags: object) -> str:
    """The text of the error that these places lead to."""
    with pytest.raises(StartError) as raised:
        load(flags, environ=environ or {})
    assert raised.value.__context__ is None, "an error of a library would show the values"
    return str(raised.value)


def value(text: str, of: str) -> str:
    """The value in the row of a variable."""
    return {row.variable: row.value for row in rows(load(environ={of: text}))}[of]


# --- Server URLs ---------------------------------------------------------------------------------


def test_a_wrong_url_is_named_by_its_variable() -> None:
    text = wrong({"NATS_URL": f"nats://user:{SECRET}/x@host"})
    assert "NATS_URL\n  value     'nats://user:********@host'\n" in text
    assert "special characters of a password" in text


def test_the_servers_are_told_apart() -> None:
    settings = load(environ={"NATS_URL": "a, tls://b:4223"})
    assert settings.nats_servers == ("nats://a", "tls://b:4223")


@given(st.text("abc:,/@%#? ", min_size=1).map(lambda junk: f"{junk}{SECRET}{junk}"))
def test_a_password_in_a_url_is_never_shown(password: str) -> None:
    url = f"nats://user:{password}@host"
    assert SECRET not in mask_url(url)
    try:
        settings = load(environ={"NATS_URL": url}, env_file=False)
        shown = f"{settings!r} {settings} {rows(settings)}"
    except StartError as error:
        shown = str(error)
    assert SECRET not in shown


# --- Precedence ----------------------------------------------------------------------------------


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


def test_settings_built_by_hand_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_LATTICE", "outside")
    Path(".env").write_text("PROVIDER_KEY=file\n")
    settings = Settings(name="mine", call_timeout=2)
    assert (settings.lattice, settings.key, settings.name) == ("default", "python", "mine")
    assert settings.sources["name"] == "code"
    assert settings.sources["lattice"] == "default"
    assert settings.unknown == ()


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load(environ={}).lattice = "other"  # type: ignore[misc]  the point of the test


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


def test_every_field_can_be_given_by_its_variable(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    by_kind = {
        "duration": "5s",
        "size": "1MiB",
        "number": "7",
        "secret": "s",
        "URLs": "nats://h:1",
        "file": str(file),
        "on or off": "on",
        "public keys": "C" * 56,
    }
    environ = {
        knob.variable: by_kind.get(knob.kind.name, str(knob.default or "text"))
        for knob in KNOBS.values()
        if knob.field != "nats_context"
    }
    sources = load(environ=environ).sources
    assert {field for field, source in sources.items() if source == "default"} == {"nats_context"}


def test_public_keys_are_separated_by_commas_and_checked() -> None:
    keys = "C" * 56, "N" * 56
    settings = load(environ={"PROVIDER_CLUSTER_ISSUERS": f" {keys[0]} , {keys[1]},"})
    assert settings.cluster_issuers == keys
    with pytest.raises(StartError, match="expected  public keys separated by commas"):
        load(environ={"PROVIDER_CLUSTER_ISSUERS": "C1"})


# --- The .env file -------------------------------------------------------------------------------


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


# --- Secrets -------------------------------------------------------------------------------------


def test_secrets_are_in_no_text(tmp_path: Path) -> None:
    settings = load(
        environ={
            "NATS_PASSWORD": SECRET,
            "NATS_TOKEN": SECRET,
            "NATS_URL": f"nats://user:{SECRET}@host",
        }
    )
    shown = {row.variable: row.value for row in rows(settings)}
    assert shown["NATS_PASSWORD"] == shown["NATS_TOKEN"] == MASK
    assert shown["NATS_URL"] == f"nats://user:{MASK}@host"
    assert shown["NATS_USER"] == ""
    assert SECRET not in f"{settings!r} {settings} {rows(settings)}"
    assert settings.nats_servers == (f"nats://user:{SECRET}@host",)


def test_settings_built_by_hand_tell_no_secret_when_wrong() -> None:
    with pytest.raises(ValidationError) as raised:
        Settings(nats_url=f"nats://user:{SECRET}@host:port")
    assert SECRET not in str(raised.value)


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


# --- NATS contexts -------------------------------------------------------------------------------


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
            "inbox_prefix": 3,
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


# --- Wrong values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("PROVIDER_QUEUE_CALLS", "many", "a whole number, at least 1"),
        ("PROVIDER_QUEUE_CALLS", "0", "a whole number, at least 1"),
        ("PROVIDER_CONCURRENCY", "257", "a whole number, from 1 to 256"),
        ("PROVIDER_MAX_DEPTH", "401", "a whole number, from 1 to 400"),
        ("PROVIDER_EMBEDDED_PORT", "65536", "a whole number, from 0 to 65535"),
        ("PROVIDER_RELOAD", "maybe", "on or off (or true, false, yes, no, 1, 0)"),
        ("PROVIDER_LOG_LEVEL", "loud", "one of debug, info, warning, error"),
        ("PROVIDER_LOG_FORMAT", "xml", "one of auto, pretty, json"),
        (
            "PROVIDER_CALL_TIMEOUT",
            "soon",
            "a duration such as 500ms, 60s, 2m or 1h30m (a bare number is seconds)",
        ),
        (
            "PROVIDER_START_TIMEOUT",
            "0",
            "a duration such as 500ms, 60s, 2m or 1h30m (a bare number is seconds), more than 0",
        ),
        (
            "PROVIDER_MAX_STRING",
            "64M",
            "a size such as 64KiB, 1MiB or 10MB (a bare number is bytes)",
        ),
        ("NATS_CREDS", "/nowhere-at-all", "the path of a file that can be read"),
        ("NATS_CA", "/", "the path of a file that can be read"),
        ("PROVIDER_NAME", "a.b", "a name of the letters A-Z and a-z, digits, _ and -"),
        ("PROVIDER_NAME", "name\n", "a name of the letters A-Z and a-z, digits, _ and -"),
    ],
)
def test_an_error_names_variable_place_value_and_what_is_expected(
    variable: str, text: str, expected: str
) -> None:
    assert wrong({variable: text}) == (
        "1 setting is wrong:\n\n"
        f"{variable}\n"
        f"  value     {text!r}\n"
        f"  from      environment {variable}\n"
        f"  expected  {expected}"
    )


@pytest.mark.parametrize("variable", ["PROVIDER_LATTICE", "PROVIDER_KEY", "PROVIDER_LINK_NAME"])
@pytest.mark.parametrize("text", ["a.b", "a b", "*", "a>", "a\tb", "a\x00", "a\u2028b"])
def test_a_token_is_one_token(variable: str, text: str) -> None:
    assert "expected  one token of a NATS subject" in wrong({variable: text})


def test_a_flag_may_not_be_empty_where_a_token_is_needed() -> None:
    assert "value     ''\n  from      flag --lattice\n" in wrong(lattice="")


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


def test_a_long_wrong_value_is_cut() -> None:
    assert len(wrong({"PROVIDER_RELOAD": "x" * 100_000})) < 500


def test_a_wrong_value_cannot_write_lines_of_its_own() -> None:
    assert "\nNATS_URL" not in wrong({"PROVIDER_RELOAD": "x\nNATS_URL\x1b[2J"})


@pytest.mark.parametrize(
    ("text", "on"),
    [
        *(("on", True), ("true", True), ("1", True), ("YES", True)),
        *(("off", False), ("false", False), ("0", False), ("no", False)),
    ],
)
def test_switches(text: str, on: bool) -> None:
    assert load(environ={"PROVIDER_RELOAD": text}).reload is on
    assert value(text, of="PROVIDER_RELOAD") == ("on" if on else "off")


def test_choices_do_not_care_for_case() -> None:
    assert load(environ={"PROVIDER_LOG_LEVEL": "DEBUG"}).log_level == "debug"


def test_values_are_shown_as_they_are_written() -> None:
    assert value("5400", of="PROVIDER_CALL_TIMEOUT") == "1h30m"
    assert value("1048576", of="PROVIDER_QUEUE_BYTES") == "1MiB"
    assert value("~/a::b:", of="PYTHON_PATH") == "~/a:b"


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


# --- Unknown variables ---------------------------------------------------------------------------


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


# --- The table -----------------------------------------------------------------------------------


def test_every_knob_is_described() -> None:
    assert len({knob.variable for knob in KNOBS.values()}) == len(KNOBS)
    flags = [knob.flag for knob in KNOBS.values() if knob.flag]
    assert len(set(flags)) == len(flags)
    for knob in KNOBS.values():
        assert knob.group in GROUPS
        assert knob.help.endswith(".")
        assert "|" not in knob.help, "it stands in a table"
        assert (knob.flag is None) == knob.secret
