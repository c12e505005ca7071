"""What docs/models.md shows and says of servable folders is so."""

from __future__ import annotations

import re
import shlex

import pytest

from provider.servables import config
from provider.settings import KNOBS
from provider.wire.servable import STATUSES
from tests import forked
from tests.conftest import PATIENCE, clean_environment
from tests.documents import ROOT, commands

DOCUMENT = ROOT / "docs" / "models.md"
SERVABLES = "dispatch_examples/models/config.json"


@pytest.fixture(scope="module")
def provider(start_module_provider):
    return start_module_provider(None, "--models", str(ROOT / SERVABLES))


SHOWN = [
    (command, printed)
    for command, printed in commands(DOCUMENT)
    if command.startswith(("provider call python_model", "provider operations", "provider check"))
]


@pytest.mark.parametrize(("command", "printed"), SHOWN)
def test_the_commands_print_what_is_shown(provider, command, printed):
    environment = clean_environment(NATS_URL=provider.url, **provider_names(provider))
    words = shlex.split(command)[1:]
    done = forked.run(words, environment, ROOT, timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stderr
    if printed:
        assert done.stdout.decode().splitlines() == printed


def provider_names(provider):
    return {name: provider.environment[name] for name in ("PROVIDER_LATTICE", "PROVIDER_NAME")}


def test_there_are_commands_and_the_folder_is_the_one_that_is_served():
    assert len(SHOWN) == 3
    assert any(
        command.startswith(f"provider run --models {SERVABLES}")
        for command, _ in commands(DOCUMENT)
    )


def test_the_table_of_errors_is_the_one_there_is():
    rows = re.findall(r"\| `(\w+)` \| (\d+) \| `(\w+)` \|$", DOCUMENT.read_text(), re.MULTILINE)
    told = {status: (kind, int(code)) for kind, code, status in rows}
    rest = {"MEDIAPIPE_DEFINITION_NAME_MISSING"}  # of the doors that know models
    assert told == {
        name: (row.kind, row.code) for name, row in STATUSES.items() if name not in rest
    }


def test_what_it_names_exists():
    text = DOCUMENT.read_text()
    settings = {knob.variable for knob in KNOBS.values()}
    assert set(re.findall(r"PROVIDER_[A-Z_]+", text)) <= settings
    for key in config._KEYS | config._ENTRY:
        assert f"`{key}`" in text
