"""The operations example does what its README shows, line by line."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from provider.cli import app
from provider.testing import in_process
from tests.documents import ROOT, commands

README = ROOT / "dispatch_examples" / "operations" / "README.md"


@pytest.fixture(scope="module")
def example(start_module_provider):
    provider = start_module_provider(None, "--example", "operations")
    assert Path(provider.wait_for("ready")["program"]).parent == README.parent
    return provider


def test_the_readme_shows_what_happens(example):
    shown = commands(README)
    assert shown.pop(0)[0] == "provider run --example operations --embedded-nats"
    # One after the other: the till remembers.
    for command, printed in shown:
        program, *arguments = shlex.split(command)
        assert program == "provider"
        done = CliRunner(env=example.environment).invoke(app, arguments)
        assert done.output.splitlines() == printed, command


def test_the_readme_calls_every_operation():
    words = [command.split() for command, _ in commands(README)]
    called = {word[2].rpartition(".")[2] for word in words if word[1] == "call"}
    with in_process.load(README.parent / "dispatch.py") as dispatch:
        assert called >= {name.rpartition(".")[2] for name in dispatch.operations}
