"""The documents made from the settings are complete and current."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from provider import settings_docs
from provider.settings import KNOBS, load
from provider.settings_docs import configuration, env_example

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parent.parent


def test_defaults_pass_their_own_checks(tmp_path: Path) -> None:
    by_default = load(environ={}, env_file=False)
    example = env_example()
    uncommented = "\n".join(line.removeprefix("#") for line in example.splitlines())
    (tmp_path / ".env").write_text(
        "\n".join(line for line in uncommented.splitlines() if not line.startswith(" "))
    )
    from_example = load(environ={}, env_file=tmp_path / ".env")
    assert from_example.model_dump() == by_default.model_dump()
    given_ = {field for field, source in from_example.sources.items() if source != "default"}
    assert given_ == {knob.field for knob in KNOBS.values() if knob.default}
    assert from_example.unknown == ()


def test_the_generated_files_are_current(tmp_path: Path) -> None:
    written = [tmp_path / "example", tmp_path / "configuration"]
    assert settings_docs.main([str(path) for path in written]) == 0
    committed = [ROOT / ".env.example", ROOT / "docs" / "configuration.md"]
    for path, kept in zip(written, committed, strict=True):
        assert path.read_text() == kept.read_text(), f"run `make docs`: {kept.name} is stale"
    assert [path.read_text() for path in written] == [env_example(), configuration()]


def test_every_knob_is_in_the_generated_files() -> None:
    for knob in KNOBS.values():
        assert f"\n#{knob.variable}={knob.default}\n" in env_example()
        assert f"| `{knob.variable}`" in configuration()


def test_writing_needs_two_paths(capsys: pytest.CaptureFixture[str]) -> None:
    assert settings_docs.main(["one"]) == 2
    assert "usage:" in capsys.readouterr().err


def test_it_runs_as_a_module_and_imports_no_nats(tmp_path: Path) -> None:
    paths = [str(tmp_path / "example"), str(tmp_path / "configuration")]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "provider.settings_docs", *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(paths[0]).read_text() == env_example()
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "pydantic" in imported
    assert not {name for name in imported if name.partition(".")[0] in {"nats", "structlog"}}
