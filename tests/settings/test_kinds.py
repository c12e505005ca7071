"""Kinds of values: how each is written, and what is said when one is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.errors import StartError
from provider.servers import MASK, mask_url
from provider.settings import load, rows
from tests.settings.conftest import wrong

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2-correct-horse"


def value(text: str, of: str) -> str:
    """The value in the row of a variable."""
    return {row.variable: row.value for row in rows(load(environ={of: text}))}[of]


# --- Server URLs ----------------------------------------------------------------------------------


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


# --- Others ---------------------------------------------------------------------------------------


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
        (
            "NATS_CREDS",
            "/nowhere",
            "the path of a file that can be read, or what would stand in it",
        ),
        ("NATS_CERT", "/nowhere-at-all", "the path of a file that can be read"),
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


@pytest.mark.parametrize("text", ["a", "prod.eu", "a.b.c"])
def test_a_lattice_may_have_dots(text: str) -> None:
    assert load(environ={"PROVIDER_LATTICE": text}).lattice == text


@pytest.mark.parametrize("text", [".a", "a.", "a..b", "a b.c", "*", "a.>", "a\n"])
def test_a_lattice_makes_a_subject(text: str) -> None:
    assert "expected  tokens of a NATS subject" in wrong({"PROVIDER_LATTICE": text})


@pytest.mark.parametrize("variable", ["PROVIDER_KEY", "PROVIDER_LINK_NAME"])
@pytest.mark.parametrize("text", ["a.b", "a b", "*", "a>", "a\tb", "a\x00", "a\u2028b"])
def test_a_token_is_one_token(variable: str, text: str) -> None:
    assert "expected  one token of a NATS subject" in wrong({variable: text})


def test_a_flag_may_not_be_empty_where_a_token_is_needed() -> None:
    assert "value     ''\n  from      flag --lattice\n" in wrong(lattice="")


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


def test_public_keys_are_separated_by_commas_and_checked() -> None:
    keys = "C" * 56, "N" * 56
    settings = load(environ={"PROVIDER_CLUSTER_ISSUERS": f" {keys[0]} , {keys[1]},"})
    assert settings.cluster_issuers == keys
    with pytest.raises(StartError, match="expected  public keys separated by commas"):
        load(environ={"PROVIDER_CLUSTER_ISSUERS": "C1"})


# --- Where HTTP listens, and who may call ---------------------------------------------------------


@pytest.mark.parametrize("text", ["0", "8000", "127.0.0.1:8000", "[::1]:8000", "my-host:65535"])
def test_places_to_listen(text: str) -> None:
    assert value(text, "PROVIDER_HTTP") == text


@pytest.mark.parametrize("text", ["65536", "host", "host:", ":8000", "::1:80", "a b:1", "-1", "٣"])
def test_no_places_to_listen(text: str) -> None:
    assert "a port such as 8000, or host:port" in wrong({"PROVIDER_HTTP": text})


def test_origins_are_separated_by_commas() -> None:
    settings = load(environ={"PROVIDER_HTTP_ORIGINS": "https://a.org, http://localhost:3000"})
    assert settings.http_origins == ("https://a.org", "http://localhost:3000")
    assert load(environ={"PROVIDER_HTTP_ORIGINS": "*"}).http_origins == ("*",)


@pytest.mark.parametrize("text", ["a.org", "https://a.org/", "https://a org"])
def test_no_origins(text: str) -> None:
    assert "origins of web pages" in wrong({"PROVIDER_HTTP_ORIGINS": text})


SEED = "SU" + "A7" * 28
CREDS = f"-----BEGIN NATS USER JWT-----\neyJ0.eyJ1.c2ln\n-----BEGIN USER NKEY SEED-----\n{SEED}\n"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("NATS_NKEY", SEED),
        ("NATS_NKEY", f" {SEED}\n"),
        ("NATS_CREDS", CREDS),
        ("NATS_JWT", "eyJ0eXAi.eyJqdGki.c2ln_-A"),
    ],
)
def test_a_credential_may_be_given_itself(variable: str, text: str) -> None:
    settings = load(environ={variable: text})
    value = getattr(settings, variable.lower())
    assert value.get_secret_value() == text.strip()
    (row,) = (row for row in rows(settings) if row.variable == variable)
    assert row.value == MASK
    assert text.strip() not in repr(settings)


def test_the_file_of_a_credential_is_read_when_it_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "me.creds"
    file.write_text(CREDS)
    for environ in ({"NATS_CREDS": str(file)}, {"NATS_CREDS_FILE": str(file)}):
        settings = load(environ=environ)
        assert settings.nats_creds == file
        assert str(file) in repr(settings)
    home = load(environ={"HOME": str(tmp_path), "NATS_CREDS_FILE": "~/me.creds"})
    assert home.nats_creds == file
    assert "only one of NATS_CREDS and NATS_CREDS_FILE" in wrong(
        {"NATS_CREDS": CREDS, "NATS_CREDS_FILE": str(file)}
    )


@pytest.mark.parametrize(
    "mistyped", [SEED[:-1], SEED + "A", SEED.lower(), "hunter2-correct-horse", CREDS[1:], "eyJ0.e"]
)
def test_a_credential_that_is_mistyped_is_not_shown(mistyped: str) -> None:
    text = wrong({"NATS_NKEY": mistyped})
    assert f"  value     {MASK}\n" in text
    assert mistyped not in text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nats_url", "nats://me:pass@host"),
        ("nats_url", "h1,token@h2"),
        ("nats_nkey", SEED),
        ("nats_creds", CREDS),
        ("nats_jwt", "eyJ0eXAi.eyJqdGki.c2ln_-A"),
    ],
)
def test_a_secret_in_a_flag_is_refused(field: str, value: str) -> None:
    with pytest.raises(StartError, match="no secret in a flag") as raised:
        load({field: value}, environ={})
    assert f"give it in the environment, as {field.upper()}" in str(raised.value)
    for secret in ("pass", "token", SEED, "c2ln"):
        assert secret not in str(raised.value)
