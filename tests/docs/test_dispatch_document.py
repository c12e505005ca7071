"""Every example of docs/dispatch.md is run, and prints what stands there.

A block of Python that is followed by a `console` block is saved as the dispatch program of one
running provider, under which it is reloaded like any save. Blocks with tests are run by pytest.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from provider.cli import app
from tests.conftest import OTHER_PLUGINS_OFF, PATIENCE, clean_environment, write
from tests.documents import ROOT, blocks, commands_of

LISTED = blocks(ROOT / "docs" / "dispatch.md")
EXAMPLES = [
    (text, LISTED[index + 1][1])
    for index, (language, text) in enumerate(LISTED[:-1])
    if language == "python" and LISTED[index + 1][0] == "console"
]
SUITES = [text for language, text in LISTED if language == "python" and "def test_" in text]


@pytest.fixture(scope="module")
def house(start_module_provider):
    """A provider whose program is each example in turn."""
    return start_module_provider("def handle(command, arg):\n    return None\n")


def first_operation(example: str) -> str:
    return example.partition("def ")[2].partition("(")[0]


@pytest.mark.parametrize(
    ("program", "shown"), EXAMPLES, ids=[first_operation(e[0]) for e in EXAMPLES]
)
def test_an_example_prints_what_stands_there(house, start_provider, program, shown):
    if "cache=" in program:
        # Until a save is looked at, which may be twice, nothing is answered from memory.
        house = start_provider(program)
    else:
        write(Path(house.environment["PYTHON_DISPATCH"]), program)
    for command, printed in commands_of(shown):
        name, *arguments = shlex.split(command)
        assert name == "provider"
        done = CliRunner(env=house.environment).invoke(app, arguments)
        assert done.output.splitlines() == printed, command
    assert house.events("reload_failed") == []


def test_every_program_has_commands():
    programs = [text for language, text in LISTED if language == "python"]
    assert len(EXAMPLES) + len(SUITES) == len(programs)
    assert len(EXAMPLES) >= 9


def test_the_example_tests_pass(tmp_path):
    shop = next(text for text, _ in EXAMPLES if "there is no {item}" in text)
    write(tmp_path / "dispatch.py", shop)
    write(tmp_path / "pytest.ini", next(text for language, text in LISTED if language == "ini"))
    for number, suite in enumerate(SUITES):
        write(tmp_path / f"test_{number}.py", suite)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-W", "error"),
            *OTHER_PLUGINS_OFF,
        ],
        env=clean_environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{sum(suite.count('def test_') for suite in SUITES)} passed" in done.stdout
