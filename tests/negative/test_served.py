"""The negative example is served as its README says."""

from __future__ import annotations

import base64
import pickle
import shlex
import subprocess
import sys

import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from provider.cli import app
from provider.errors import HandlerError
from tests.conftest import PATIENCE
from tests.documents import ROOT, commands
from tests.negative.conftest import FOLDER, NAME, opened

README = FOLDER / "README.md"


@pytest.fixture(scope="module")
def provider(start_module_provider):
    return start_module_provider(None, "--example", "negative")


@pytest.fixture
def tower(tmp_path):
    """A picture of the size the original's has, in a folder of its own."""
    picture = Image.linear_gradient("L").resize((640, 359)).convert("RGB")
    picture.paste((200, 30, 10), (100, 100, 300, 200))
    picture.save(tmp_path / "tower.jpg", quality=95)
    return tmp_path / "tower.jpg"


def near(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures are the same but for what JPEG loses."""
    assert (one.mode, one.size) == (other.mode, other.size)
    pairs = zip(one.tobytes(), other.tobytes(), strict=True)
    return sum(abs(a - b) for a, b in pairs) / len(one.tobytes()) < 4


def negative_of(path) -> Image.Image:
    picture = Image.open(path).resize((320, 180), Image.Resampling.BICUBIC)
    return ImageOps.invert(picture)


def test_the_readme_shows_what_happens(provider, tower):
    shown = commands(README)
    # The provider is there; that with gRPC is of the other file.
    runs = [command for command, _ in shown if command.startswith("provider run")]
    assert "provider run --example negative --embedded-nats" in runs
    for command, printed in shown:
        words = shlex.split(command)
        if command in runs:
            continue
        if words[0] == "provider":
            done = CliRunner(env=provider.environment).invoke(app, words[1:])
            said = done.output
        else:
            assert words[0] == "python"
            program = ROOT / words[1]
            said = subprocess.run(
                [sys.executable, str(program), *words[2:]],
                env=provider.environment,
                cwd=tower.parent,
                capture_output=True,
                text=True,
                timeout=2 * PATIENCE,
                check=True,
            ).stdout
        assert said.splitlines() == printed, command
    made = Image.open(tower.with_name("tower-negative.jpg"))
    assert made.format == "JPEG"
    assert near(made, negative_of(tower))


def test_the_pickle_of_the_original_is_answered_over_nats(provider, tower):
    picture = Image.open(tower).copy()
    question = {"image": pickle.dumps(picture), "width": 320, "height": 180}
    answer = pickle.loads(provider.call(NAME, question)["image"])
    assert answer.tobytes() == negative_of(tower).tobytes()


def test_callers_who_write_json_send_base64(provider, tower):
    text = base64.b64encode(tower.read_bytes()).decode()
    question = {"image": text, "width": 20, "height": 10}
    assert opened(provider.call(NAME, question)["image"]).size == (20, 10)


def test_a_hostile_pickle_leaves_the_worker_as_it_was(provider):
    before = provider.worker_pid
    with pytest.raises(HandlerError, match="names 'os system'") as raised:
        attack = b"\x80\x02cos\nsystem\nX\4\0\0\0true\x85R."
        provider.call(NAME, {"image": attack, "width": 1, "height": 1})
    assert raised.value.code == 422
    with pytest.raises(HandlerError, match="at most 65535") as raised:
        provider.call(NAME, {"image": b"", "width": 2**31 - 1, "height": 1})
    assert raised.value.code == 413
    assert provider.worker_pid == before


def test_the_environment_of_the_example_is_that_of_the_tests():
    """What requirements.txt asks for is what is tried here."""
    import importlib.metadata

    for line in (FOLDER / "requirements.txt").read_text().splitlines():
        name = line.partition(">")[0]
        low, high = line.removeprefix(f"{name}>=").split(",<")
        version = importlib.metadata.version(name)
        numbers = [int(part) for part in version.split(".")[:3]]
        assert [int(part) for part in low.split(".")] <= numbers
        assert numbers < [int(part) for part in high.split(".")]
