"""What docs/http.md shows and says of statuses and settings is so."""

from __future__ import annotations

import re

from provider.settings import GROUPS, KNOBS
from tests.documents import ROOT
from tests.shown import try_commands

DOCUMENT = ROOT / "docs" / "http.md"


def test_the_commands_print_what_is_shown(start_provider, tmp_path, monkeypatch):
    (tmp_path / "argument.json").write_text("5")
    monkeypatch.chdir(tmp_path)
    (provider,) = try_commands(DOCUMENT, start_provider)
    assert provider.stop() == 0


def test_the_settings_it_names_exist_and_its_group_is_described():
    text = DOCUMENT.read_text()
    variables = {knob.variable for knob in KNOBS.values()}
    variables |= {knob.file_variable for knob in KNOBS.values() if knob.file_variable}
    assert set(re.findall(r"PROVIDER_[A-Z_]+", text)) <= variables
    assert "HTTP" in GROUPS
