"""docs/reliability.md: its commands work, its table is whole, and what it names exists."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest

from tests.conftest import PATIENCE
from tests.documents import ROOT, blocks, commands
from tests.faults.soak import all_scenarios

DOCUMENT = ROOT / "docs" / "reliability.md"
TEXT = DOCUMENT.read_text("utf-8")
COMMANDS = [
    # Scenarios that take long in `make soak` take long here, too.
    pytest.param(command, marks=pytest.mark.long if "--only" in command else ())
    for command, _ in commands(DOCUMENT)
]
# Not to be made again because a lock file is younger: what runs this is that environment.
# And it may be a make that runs this, of which the other one would tell.
MAKE = ["make", "--no-print-directory", "-o", ".venv/.installed-dev"]

made_by_make = pytest.mark.skipif(
    not (ROOT / ".venv" / ".installed").exists(), reason="this environment was not made by make"
)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    section = TEXT.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def made(*words: str) -> str:
    done = subprocess.run(
        [*MAKE, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@made_by_make
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_does_what_the_document_says(command):
    words = shlex.split(command)
    assert words[:2] == ["make", "soak"]
    if len(words) == 2:
        # All of it would take half an hour; what it would run is enough.
        assert "-m tests.faults.soak" in made("-n", *words[1:])
        return
    told = made("soak", re.sub(r"--seconds \d+", "--seconds 0", words[2]))
    if "--list" in words[2]:
        assert told.splitlines() == list(all_scenarios())
    else:
        assert "Seed 7" in told


def test_there_are_commands():
    assert len(COMMANDS) == 3


@made_by_make
def test_the_run_can_be_made_again():
    (command,) = (text for language, text in blocks(DOCUMENT) if language == "sh")
    words = shlex.split(command)
    told = re.search(r"^Seed (\d+), (\d+) s of load each", TEXT, re.MULTILINE)
    assert told is not None
    assert f"--seconds {told[2]} --seed {told[1]}" in words[2]
    assert str(DOCUMENT.relative_to(ROOT)) in made("-n", *words[1:])


def test_every_scenario_has_its_row_with_nothing_in_it_that_must_not_be():
    table = rows("## A run")
    assert [row[0] for row in table] == list(all_scenarios())
    for row in table:
        name, _, sent, results, _, unanswered, run_twice, _ = row
        assert int(sent) >= 20_000, name
        assert int(results) > 0, name
        assert int(unanswered.split()[0]) <= (1000 if all_scenarios()[name].cut else 0), name
        assert int(run_twice) == 0, name


def test_what_the_document_names_is_logged_or_counted_under_that_name():
    ours = "".join(path.read_text("utf-8") for path in (ROOT / "provider").rglob("*.py"))
    cells = " ".join(cell for row in rows("## What happens to a fault") for cell in row[1:])
    names = set(re.findall(r"`([a-z_]+)`", cells))
    assert {"worker_lost", "crash_loop", "overloaded"} <= names
    for name in names:
        # Prometheus names what is counted by the sum of its parts.
        assert f'"{name.removesuffix("_total")}"' in ours, name
