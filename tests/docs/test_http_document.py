"""What docs/http.md shows and says of statuses and settings is so."""

from __future__ import annotations

import re

from provider.settings import GROUPS, KNOBS
from tests.conftest import write
from tests.documents import ROOT, blocks
from tests.shown import curl, try_commands

DOCUMENT = ROOT / "docs" / "http.md"


def test_the_commands_print_what_is_shown(start_provider, tmp_path, monkeypatch):
    (tmp_path / "argument.json").write_text("5")
    monkeypatch.chdir(tmp_path)
    (program,) = [text for language, text in blocks(DOCUMENT) if language == "python"]
    write(tmp_path / "dispatch.py", program)
    *_, provider = try_commands(DOCUMENT, start_provider)
    assert provider.stop() == 0


def test_the_metrics_it_names_are_there(start_provider):
    text = DOCUMENT.read_text()
    named = set(re.findall(r"provider_[a-z_]+", text.partition("## Metrics")[2]))
    provider = start_provider("def handle(command, arg):\n    return arg\n", "--http", "0")
    url = provider.wait_for("ready")["http"]
    # What has no value yet is told of as well.
    for path in ("/metrics", "/metrics"):
        told = curl(["curl", f"{url}{path}"], url)
    told_of = set(re.findall(r"^# HELP (provider_[a-z_]+)", told, re.MULTILINE))
    assert named == told_of


def test_the_settings_it_names_exist_and_its_group_is_described():
    text = DOCUMENT.read_text()
    variables = {knob.variable for knob in KNOBS.values()}
    variables |= {knob.file_variable for knob in KNOBS.values() if knob.file_variable}
    assert set(re.findall(r"PROVIDER_[A-Z_]+", text)) <= variables
    assert "HTTP" in GROUPS
