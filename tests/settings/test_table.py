"""The table of settings: whole, frozen, and silent about secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from provider.servers import MASK
from provider.settings import GROUPS, KNOBS, Settings, load, rows

SECRET = "hunter2-correct-horse"


def test_every_knob_is_described() -> None:
    assert len({knob.variable for knob in KNOBS.values()}) == len(KNOBS)
    flags = [knob.flag for knob in KNOBS.values() if knob.flag]
    assert len(set(flags)) == len(flags)
    for knob in KNOBS.values():
        assert knob.group in GROUPS
        assert knob.help.endswith(".")
        assert "|" not in knob.help, "it stands in a table"
        assert (knob.flag is None) == knob.secret


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
        "file or its text": str(file),
        "files": f"{file}:{file}",
        "on or off": "on",
        "public keys": "C" * 56,
        "port or host:port": "8000",
        "origins": "https://example.org",
    }
    environ = {
        knob.variable: by_kind.get(knob.kind.name, str(knob.default or "text"))
        for knob in KNOBS.values()
        if knob.field != "nats_context"
    }
    sources = load(environ=environ).sources
    assert {field for field, source in sources.items() if source == "default"} == {"nats_context"}


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
