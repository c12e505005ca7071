"""The command that begins a project: what it writes runs, and nothing is written over."""

from __future__ import annotations

import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from provider.cli import app
from tests.conftest import OTHER_PLUGINS_OFF, PATIENCE, Provider, clean_environment

TEMPLATES = ["operations", "handle"]


@pytest.fixture(scope="module", params=TEMPLATES)
def project(request, tmp_path_factory):
    """A project of each template, as the command made it."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(app, ["new", "tea-shop", "--template", request.param])
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "provider run" in done.stderr
    return folder / "tea-shop"


both_by_make_long = pytest.mark.parametrize(
    "project", [TEMPLATES[0], pytest.param(TEMPLATES[1], marks=pytest.mark.long)], indirect=True
)


@pytest.fixture
def new(tmp_path, monkeypatch):
    """Runs the command in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["new", *arguments])


def test_the_project_has_these_files_and_its_name_in_them(project):
    assert {path.name for path in project.iterdir()} == {
        ".env",
        ".gitignore",
        "README.md",
        "dispatch.py",
        "pytest.ini",
        "test_dispatch.py",
    }
    for path in project.iterdir():
        assert not stat.S_IMODE(path.stat().st_mode) & stat.S_IXUSR
    for name in ("README.md", "dispatch.py", "test_dispatch.py"):
        assert "tea-shop" in (project / name).read_text("utf-8")
    assert "$" not in (project / "dispatch.py").read_text("utf-8")


def test_the_project_is_formatted_and_has_nothing_to_complain_of(project):
    for check in (["check", "--select", "E,F,I,B,UP,SIM"], ["format", "--check"]):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "ruff", check[0], "--isolated", "--no-cache"),
                *("--line-length", "100", *check[1:]),
            ],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.long
@both_by_make_long
def test_the_two_commands_of_its_readme_work_as_they_stand(project):
    readme = (project / "README.md").read_text("utf-8")
    shown = [block.split("```")[0] for block in readme.split("```console\n")[1:]]
    serve, (call, result), test = shown[0], shown[1].strip().splitlines(), shown[2]
    assert (serve, test) == ("$ provider run\n", "$ pytest\n")
    # The port of the file would be the one that everybody's first server listens on.
    environment = clean_environment(PROVIDER_EMBEDDED_PORT="0", PROVIDER_LOG_FORMAT="json")
    provider = Provider([sys.executable, "-m", "provider", "run"], environment, project)
    try:
        url = provider.wait_for("ready")["servers"]
        assert provider.wait_for("embedded_nats_ready")["url"] == url
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(call.removeprefix("$ "))],
            env=clean_environment(NATS_URL=url),
            cwd=project,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.stdout.strip() == result, done.stderr
    finally:
        provider.close()


@pytest.mark.long
@both_by_make_long
def test_its_tests_pass(project):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-W", "error"),
            *OTHER_PLUGINS_OFF,
        ],
        env=clean_environment(),
        cwd=project,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed in " in done.stdout


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../shop", "a/b", "/shop", "9lives", "-shop", "a b", "a.b", "käse", "a" * 65],
)
def test_what_makes_no_name_is_refused(new, tmp_path, name):
    done = new("--", name)
    assert done.exit_code == 2
    assert "makes no name of a project" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_longest_name_is_taken(new, tmp_path):
    assert new("a" * 64).exit_code == 0
    assert (tmp_path / ("a" * 64) / "dispatch.py").is_file()


def test_what_is_there_is_never_written_over(new, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "file", "link"):
        done = new(name)
        assert done.exit_code == 1
        assert f"{name} is there already" in done.stderr
    assert list((tmp_path / "folder").iterdir()) == []
    assert (tmp_path / "file").read_text() == "mine"
    assert not Path(tmp_path / "nowhere").exists()


def test_where_nothing_can_be_written_it_says_so(new, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    done = new("shop")
    assert done.exit_code == 1
    assert done.stderr == "error: cannot write shop: No such file or directory\n"
