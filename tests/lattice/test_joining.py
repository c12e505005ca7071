"""Joining the lattice of a host: what it decides, what we decide, and what it cannot be to us."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provider.connection import NatsOptions
from provider.errors import StartError
from provider.lattice.host_data import HostData, Login
from provider.lattice.joining import Joining, check_program, join, nats_options
from provider.lattice.nkeys import KeyPair, Kind
from provider.settings import Settings, load
from provider.wire.wasmbus import LinkDefinition

USER = KeyPair.from_raw(Kind.USER, b"\5" * 32)
ISSUER = KeyPair.generate(Kind.CLUSTER).public
LINK = LinkDefinition(
    actor_id="MACTOR", values={"config_json": '{"venv_path": "/link", "python_main": "/link"}'}
)
DATA: dict[str, Any] = {
    "host_id": "NHOST",
    "lattice_rpc_prefix": "prod",
    "link_name": "link",
    "lattice_rpc_url": "127.0.0.1:4223",
    "provider_key": "VPROV",
    "cluster_issuers": frozenset({ISSUER}),
    "link_definitions": (LINK,),
    "config_json": json.dumps({"python_dispatch": "/host.py", "PROVIDER_CONCURRENCY": 4}),
}


def joined(environ: dict[str, str] | None = None, **data: Any) -> Joining:
    return join(HostData(**{**DATA, **data}), environ or {})


def settled(
    environ: dict[str, str] | None = None,
    env_file: Path | None = None,
    flags: dict[str, object] | None = None,
    **data: Any,
) -> Settings:
    launch = joined(environ, **data).launch
    return load(flags, environ=environ or {}, env_file=env_file, launch=launch)


def seen(settings: Settings, *fields: str) -> dict[str, tuple[Any, str]]:
    return {field: (getattr(settings, field), settings.sources[field]) for field in fields}


# --- Settings ------------------------------------------------------------------------------------


def test_a_host_says_who_we_are_whatever_the_environment_says(tmp_path):
    file = tmp_path / "its.env"
    file.write_text("PROVIDER_LATTICE=file\nPROVIDER_KEY=file\n")
    environ = {
        "NATS_URL": "nats://environment",
        "PROVIDER_LATTICE": "environment",
        "PROVIDER_KEY": "environment",
        "PROVIDER_LINK_NAME": "environment",
        "PROVIDER_CLUSTER_ISSUERS": "C" * 56,
        "PROVIDER_LOG_LEVEL": "error",
        "PROVIDER_LOG_FORMAT": "pretty",
        "RUST_LOG": "trace",
    }
    config = json.dumps(dict.fromkeys(environ, "x") | {"PROVIDER_LOG_LEVEL": "info"})
    settings = settled(environ, file, config_json=config, log_level="warn", structured_logging=True)
    assert seen(settings, "nats_url", "lattice", "key", "link_name", "cluster_issuers") == {
        "nats_url": ("127.0.0.1:4223", "host data lattice_rpc_url"),
        "lattice": ("prod", "host data lattice_rpc_prefix"),
        "key": ("VPROV", "host data provider_key"),
        "link_name": ("link", "host data link_name"),
        "cluster_issuers": ((ISSUER,), "host data cluster_issuers"),
    }
    assert seen(settings, "log_level", "log_format") == {
        "log_level": ("warning", "host data log_level"),
        "log_format": ("json", "host data structured_logging"),
    }
    assert settings.nats_servers == ("nats://127.0.0.1:4223",)


def test_a_flag_goes_before_a_host():
    settings = settled(flags={"lattice": "mine", "log_level": "error"}, log_level="info")
    assert seen(settings, "lattice", "log_level") == {
        "lattice": ("mine", "flag --lattice"),
        "log_level": ("error", "flag --log-level"),
    }


def test_a_host_without_a_url_means_the_usual_one_on_this_machine():
    for url in ("", " \n"):
        settings = settled({"NATS_URL": "nats://environment"}, lattice_rpc_url=url)
        assert seen(settings, "nats_url") == {
            "nats_url": ("nats://127.0.0.1:4222", "host data lattice_rpc_url")
        }
        assert settings.nats_url_given, "or a server of our own would be started"


def test_what_is_served_is_said_by_environment_then_host_then_links_then_file(tmp_path):
    file = tmp_path / "archive.env"
    file.write_text(
        "PYTHON_DISPATCH=/file.py\nPYTHON_MAIN=/file\nVENV_PATH=/file\nPYTHON_PATH=/file\n"
        "PROVIDER_CONCURRENCY=9\nPROVIDER_WAIT=on\n"
    )
    four = ("python_dispatch", "venv_path", "python_main", "python_path", "concurrency", "wait")
    environ = {"VENV_PATH": "/environment", "PYTHON_DISPATCH": ""}
    assert seen(settled(environ, file), *four) == {
        "venv_path": (Path("/environment"), "environment VENV_PATH"),
        "python_dispatch": ("/host.py", "host data config_json"),
        "concurrency": (4, "host data config_json"),
        "python_main": (Path("/link"), "host data config_json of the link with MACTOR"),
        "python_path": ((Path("/file"),), f"{file} PYTHON_PATH"),
        "wait": (True, f"{file} PROVIDER_WAIT"),
    }
    assert settled({"PROVIDER_CONCURRENCY": "2"}).concurrency == 2


def test_the_env_file_of_somebodys_folder_is_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("PROVIDER_NAME=stranger\n")
    assert load(environ={}).name == "stranger"
    assert settled().name == "python"


def test_all_that_is_wrong_is_said_together():
    with pytest.raises(StartError) as raised:
        settled(
            {"PROVIDER_QUEUE_CALLS": "0"},
            lattice_rpc_prefix="",
            provider_key="a b",
            link_name="*",
            lattice_rpc_url="http://me:s3cret@host",
            config_json='{"PROVIDER_CONCURRENCY": "many"}',
        )
    text = str(raised.value)
    assert text.startswith("6 settings are wrong:")
    for source in (
        "environment PROVIDER_QUEUE_CALLS",
        "host data lattice_rpc_prefix",
        "host data provider_key",
        "host data link_name",
        "host data lattice_rpc_url",
        "host data config_json",
    ):
        assert f"  from      {source}\n" in text
    assert "s3cret" not in text


def test_a_setting_of_the_host_that_nobody_knows():
    assert settled(config_json='{"PROVIDER_LATICE": "x"}').unknown == (
        "PROVIDER_LATICE (nearest is PROVIDER_LATTICE)",
    )


def test_a_launched_provider_does_not_wait_for_nats_unless_told():
    assert seen(settled(), "wait") == {"wait": (False, "launched by a host")}
    assert settled({"PROVIDER_WAIT": "on"}).wait
    assert settled(config_json='{"PROVIDER_WAIT": true}').wait


@pytest.mark.parametrize(
    ("host", "ours", "hint", "level"),
    [
        ("debug", "error", "trace", ("debug", "host data log_level")),
        ("async_nats=trace", "error", "trace", ("error", "environment PROVIDER_LOG_LEVEL")),
        (None, "error", "trace", ("error", "environment PROVIDER_LOG_LEVEL")),
        (None, "", "async_nats=trace,warn", ("warning", "environment RUST_LOG")),
        ("", "", "loud", ("info", "default")),
        (None, "", "", ("info", "default")),
    ],
)
def test_the_level_of_logs(host, ours, hint, level):
    environ = {"PROVIDER_LOG_LEVEL": ours, "RUST_LOG": hint}
    assert seen(settled(environ, log_level=host), "log_level") == {"log_level": level}


def test_rust_log_means_nothing_to_a_provider_without_a_host():
    assert load(environ={"RUST_LOG": "trace"}, env_file=False).log_level == "info"


def test_the_format_of_logs_is_ours_unless_the_host_wants_json():
    assert settled(structured_logging=False).log_format == "auto"
    assert settled({"PROVIDER_LOG_FORMAT": "pretty"}).log_format == "pretty"


def test_what_does_not_count_is_noted():
    joining = joined(config_json='{"max_threads": 12}')
    (note,) = joining.notes
    assert note.startswith("max_threads and min_threads of config_json do not count")


# --- Login ---------------------------------------------------------------------------------------

LOGIN = {"lattice_rpc_user_jwt": "a.b.c", "lattice_rpc_user_seed": USER.seed}


def options_of(joining: Joining, settings: Settings) -> NatsOptions:
    ours = NatsOptions(settings.nats_servers, user=settings.nats_user, ca=settings.nats_ca)
    return nats_options(ours, settings, joining)


def test_a_login_of_the_host_stands_in_place_of_all_others(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    environ = {
        "NATS_USER": "me",
        "NATS_PASSWORD": "s3cret",
        "NATS_TOKEN": "s3cret",
        "NATS_CREDS": str(file),
        "NATS_NKEY": str(file),
        "NATS_CA": str(file),
    }
    joining = joined(**LOGIN)
    settings = load(environ=environ, launch=joining.launch)
    assert settings.nats_password is settings.nats_token is settings.nats_nkey is None
    options = options_of(joining, settings)
    assert options == NatsOptions(
        ("nats://127.0.0.1:4223",), ca=file, login=Login("a.b.c", USER), by_host=True
    )
    assert USER.seed not in f"{joining!r}{options!r}{settings!r}"
    assert "a.b.c" not in f"{joining!r}{options!r}{settings!r}"


def test_a_login_by_flag_stands_in_place_of_the_hosts():
    joining = joined(**LOGIN)
    settings = load({"nats_user": "me"}, environ={"NATS_TOKEN": "t"}, launch=joining.launch)
    assert settings.nats_token is None
    options = options_of(joining, settings)
    assert (options.user, options.login) == ("me", None)


def test_a_host_that_logs_in_anonymously_leaves_the_login_to_us():
    joining = joined()
    settings = load(environ={"NATS_USER": "me"}, launch=joining.launch)
    options = options_of(joining, settings)
    assert (options.user, options.login, options.by_host) == ("me", None, True)


def test_a_seed_that_is_none_stops_the_start():
    with pytest.raises(StartError, match="lattice_rpc_user_seed of the host data: Checksum"):
        joined(**{**LOGIN, "lattice_rpc_user_seed": USER.seed[:-2] + "AA"})


# --- What stops the start ------------------------------------------------------------------------


def test_a_host_of_the_next_generation_is_turned_down():
    with pytest.raises(StartError, match=r"speaks the wasmbus protocol of hosts up to 0\.82"):
        joined(speaks_wrpc=True)


def test_config_json_that_cannot_be_read():
    with pytest.raises(StartError, match="corrupt config_json: not JSON"):
        joined(config_json="{")


def test_a_provider_with_nothing_to_serve_names_config_json():
    with pytest.raises(StartError, match="config_json"):
        check_program(settled(config_json=None, link_definitions=()), None)
    check_program(settled(config_json=None, link_definitions=()), "program.py")
    check_program(settled(config_json=None), None)
    check_program(settled(link_definitions=()), None)
    models = {"PROVIDER_MODELS": "models/config.json"}
    check_program(settled(models, config_json=None, link_definitions=()), None)
