"""What docs/grpc.md shows and says of statuses and settings is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

from provider.errors import BY_KIND, CHOSEN_GRPC, HandlerError
from provider.settings import GROUPS, KNOBS
from tests.conftest import PATIENCE, clean_environment
from tests.documents import ROOT, blocks, commands

DOCUMENT = ROOT / "docs" / "grpc.md"


def test_the_commands_print_what_is_shown(start_provider, tmp_path):
    shown = blocks(DOCUMENT)
    (proto,) = [text for language, text in shown if language == "proto"]
    program, client = [text for language, text in shown if language == "python"]
    (tmp_path / "cafe.proto").write_text(proto)
    (tmp_path / "cafe.py").write_text(program)
    started = []

    def here(text: str) -> str:
        return text.replace("localhost:13000", started[-1].wait_for("ready")["grpc"])

    for command, printed in commands(DOCUMENT):
        words = shlex.split(command)
        if words[:2] == ["provider", "run"]:
            flags = [word for word in words[2:] if word != "--embedded-nats"]
            flags[flags.index("13000")] = "localhost:0"
            for provider in started:
                assert provider.stop() == 0
            started.append(start_provider(None, *flags))
            continue
        if words[0] == "python":
            (tmp_path / "client.py").write_text(here(client))
            words = [sys.executable, *map(here, words[1:])]
        done = subprocess.run(
            words,
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == printed, command
    assert started[-1].stop() == 0


def rows(text: str, heading: str) -> dict[str, str]:
    """The first two columns of the table after this line, quotation marks left out."""
    table = text.partition(heading)[2].strip().partition("\n\n")[0]
    cells = [line.replace("`", "").split("|")[1:3] for line in table.splitlines()[1:]]
    return {key.strip(): value.strip() for keys, value in cells for key in keys.split(",")}


def test_the_statuses_are_those_of_the_table():
    text = DOCUMENT.read_text()
    told = rows(text, "| kind of error | status |\n")
    assert {kind: told[kind].partition(",")[0] for kind in BY_KIND} == {
        kind: error().grpc for kind, error in BY_KIND.items()
    }
    chosen = rows(text, "| code | status |\n")
    assert chosen.pop("any other") == HandlerError(code=418).grpc
    assert {int(code): status for code, status in chosen.items()} == CHOSEN_GRPC


def test_the_settings_it_names_exist_with_their_defaults():
    text = DOCUMENT.read_text()
    knobs = {knob.variable: knob for knob in KNOBS.values()}
    named = set(re.findall(r"PROVIDER_[A-Z_]+", text))
    assert named <= set(knobs)
    assert {name for name, knob in knobs.items() if knob.group == "gRPC"} - named <= {
        "PROVIDER_GRPC",
        "PROVIDER_PROTO",
        "PROVIDER_GRPC_CERT",
        "PROVIDER_GRPC_KEY",
        "PROVIDER_GRPC_CLIENT_CA",
    }
    for name, default in rows(text, "| setting | default | beyond it |\n").items():
        if name.startswith("PROVIDER_"):
            assert knobs[name].default.replace("MiB", " MiB") == default
    assert "gRPC" in GROUPS
