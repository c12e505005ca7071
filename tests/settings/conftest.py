"""A place where nobody's settings are, and the text of what is wrong with those of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provider.errors import StartError
from provider.settings import load

if TYPE_CHECKING:
    from pathlib import Path


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
