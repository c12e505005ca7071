"""What docs/models.md shows and says of KServe's protocol is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest

from provider.kserve.faults import ROWS
from provider.kserve.schema import METHODS
from tests.conftest import PATIENCE, clean_environment, write
from tests.documents import ROOT, commands_of
from tests.shown import curl

DOCUMENT = ROOT / "docs" / "models.md"
TEXT = DOCUMENT.read_text().partition("\n## KServe\n")[2]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
CONSOLE = [text for language, text in BLOCKS if language == "console"]
STATUSES = re.findall(
    r"^\|[^|]+\| `([^`]+)` \| (?:`(\w+)` )?\| (\d+) \|$", TEXT, flags=re.MULTILINE
)


@pytest.mark.parametrize("shown", CONSOLE, ids=["servables", "operations"])
def test_the_commands_print_what_is_shown(shown, start_provider, tmp_path):
    files = {"python": "dispatch.py", "py": "client.py"}
    for language, text in BLOCKS:
        if language in files:
            write(tmp_path / files[language], text)
    (first, nothing), *rest = commands_of(shown)
    words = shlex.split(first)
    assert words[:2] == ["provider", "run"]
    assert nothing == []
    assert words[-4:] == ["--grpc", "9000", "--http", "8000"]
    words = [str(ROOT / word) if word.startswith("dispatch_examples/") else word for word in words]
    ready = start_provider(None, *words[2:-4], "--grpc", "0", "--http", "0").wait_for("ready")
    for command, printed in rest:
        asked = shlex.split(command)
        if asked[0] == "curl":
            assert curl(asked, ready["http"]).splitlines() == printed
        else:
            script = asked[1] if (tmp_path / asked[1]).exists() else ROOT / asked[1]
            assert run(tmp_path / script, ready["grpc"]).splitlines() == printed


def run(script, address):
    """What a client prints, with the port of the provider for the one that is shown."""
    text = script.read_text()
    assert "localhost:9000" in text
    port = address.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-c", text.replace("localhost:9000", f"localhost:{port}")],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_table_of_statuses_is_the_one_there_is():
    told = {text: (grpc, int(http)) for text, grpc, http in STATUSES}
    assert len(told) == len(STATUSES)
    left_out = {"INVALID_REQUEST"}  # of arguments that do not come from here
    known = {row.text: row for name, row in ROWS.items() if name not in left_out}
    assert told.keys() == known.keys()
    for text, (grpc, http) in told.items():
        assert http == known[text].code
        assert grpc in ("", known[text].grpc)


def test_every_method_is_told_of():
    for method in METHODS:
        assert f"`{method.name}`" in TEXT
