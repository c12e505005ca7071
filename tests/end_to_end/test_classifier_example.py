"""The classifier example classifies, refuses what is no number, and trusts no file."""

from __future__ import annotations

import json
import math
import os
import pickle
import shlex
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from provider.errors import InvalidArgument
from provider.testing import in_process
from provider.worker.loader import LoadError
from tests.conftest import PATIENCE, clean_environment, write
from tests.documents import ROOT
from tests.shown import curl, try_commands

FOLDER = ROOT / "dispatch_examples" / "classifier"
PROGRAM = FOLDER / "dispatch.py"


@pytest.fixture(scope="module")
def classifier():
    with in_process.load(PROGRAM) as dispatch:
        yield dispatch


# --- in one process -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x1", "x2", "prediction"),
    [
        ("61.1", "17.3", 2),
        (61.1, 17.3, 2),
        (80, 90, 0),
        (0, 0, 1),
        (" 8e1 ", 90.0, 0),
        (1e308, -1e308, 2),
    ],
)
def test_points_have_their_classes(classifier, x1, x2, prediction):
    answer = classifier.call("predict", {"X1": x1, "X2": x2})
    assert answer == {"prediction": prediction}
    assert type(answer["prediction"]) is int


@pytest.mark.parametrize(
    "value",
    [
        "abc",
        "",
        "nan",
        "inf",
        "-Infinity",
        "1e999",
        math.nan,
        math.inf,
        10**400,
        None,
        True,
        [1],
        {},
    ],
)
def test_what_is_no_number_is_refused_with_the_reason(classifier, value):
    reason = "X2: Input should be a finite number, or the text of one"
    with pytest.raises(InvalidArgument, match=reason) as raised:
        classifier.call("predict", {"X1": 1, "X2": value})
    assert raised.value.code == 422


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ({}, "lacks X1, X2"),
        ({"X1": 1}, "lacks X2"),
        ({"X1": 1, "X2": 2, "X3": 3}, "has 'X3'"),
        ([1, 2], "the argument is a list"),
        (None, "lacks X1, X2"),
    ],
)
def test_both_features_and_nothing_else_must_be_there(classifier, argument, reason):
    with pytest.raises(InvalidArgument, match=reason):
        classifier.call("predict", argument)


def test_both_reasons_are_told(classifier):
    with pytest.raises(InvalidArgument, match=r"X1: .*; X2: "):
        classifier.call("predict", {"X1": "a", "X2": "b"})


@pytest.mark.long
def test_the_script_makes_the_model_again(tmp_path):
    import skops.io  # takes a second, which only those pay who use it

    made = tmp_path / "model.skops"
    subprocess.run(
        [sys.executable, str(FOLDER / "train.py"), str(made)],
        env=clean_environment(),
        check=True,
        timeout=2 * PATIENCE,
    )
    kept = FOLDER / "model.skops"
    assert kept.stat().st_size < 10_000
    model, again = (skops.io.load(path, trusted=[]) for path in (kept, made))
    grid = np.mgrid[-50:150:41j, -50:150:41j].reshape(2, -1).T
    assert np.allclose(model.predict_proba(grid), again.predict_proba(grid), atol=1e-6)
    assert set(model.predict(grid)) == {0, 1, 2}


# --- files that are no model ----------------------------------------------------------------------


class Strange:
    """Of a type that no model of ours has in it."""

    def __init__(self):
        self.inside = 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("nothing", "FileNotFoundError"),
        ("pickle", "BadZipFile"),
        ("strange", r"is not read, for it has .*Strange in it"),
        ("other", "ValueError|AttributeError"),
    ],
)
def test_a_file_that_is_no_model_ends_the_load(tmp_path, monkeypatch, content, reason):
    import skops.io  # takes a second, which only those pay who use it

    path = tmp_path / "model.skops"
    match content:
        case "pickle":
            path.write_bytes(pickle.dumps(Strange()))
        case "strange":
            skops.io.dump(Strange(), path)
        case "other":
            skops.io.dump({"no": "model"}, path)
    monkeypatch.setenv("CLASSIFIER_MODEL", str(path))
    with pytest.raises(LoadError, match=reason), in_process.load(PROGRAM):
        pass


def test_the_model_has_no_code_in_it():
    import skops.io  # takes a second, which only those pay who use it

    with zipfile.ZipFile(FOLDER / "model.skops") as archive:
        assert not [name for name in archive.namelist() if not name.endswith((".npy", ".json"))]
    assert skops.io.get_untrusted_types(file=FOLDER / "model.skops") == []


# --- over HTTP ------------------------------------------------------------------------------------

URL = "http://localhost:5000/predict"
TYPE = '-H "Content-Type: application/json"'


@pytest.fixture(scope="module")
def served(start_module_provider, tmp_path_factory):
    """A provider; what it said of itself before and after it had loaded the model is in `said`."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    folder = tmp_path_factory.mktemp("classifier")
    gate = folder / "gate"
    os.mkfifo(gate)
    program = f"open({str(gate)!r}).read()\n{PROGRAM.read_text()}"
    provider = start_module_provider(
        *(None, "--http", "0"),
        ready=False,
        PYTHON_DISPATCH=str(write(folder / "dispatch.py", program)),
        CLASSIFIER_MODEL=str(FOLDER / "model.skops"),
    )
    url = provider.wait_for("http_open")["url"]
    ready = ["curl", "-i", f"{url}/health/ready"]
    provider.said = [curl(ready, url)]
    gate.write_text("")
    provider.wait_for("ready")
    provider.said.append(curl(ready, url))
    return provider


def ask(served, command):
    """Run a command of curl's with -i; status and body of the answer."""
    said = curl(shlex.split(command), served.events("ready")[-1]["http"])
    head, _, body = said.rpartition("\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        # The command of the article.
        ('{"X1":"61.1", "X2":"17.3"}', 200, {"prediction": 2}),
        ('{"X1":80, "X2":90}', 200, {"prediction": 0}),
        ('{"X1":"61.1"}', 422, "lacks X2"),
        ("{}", 422, "lacks X1, X2"),
        ('{"X1":"abc", "X2":"17.3"}', 422, "X1: Input should be a finite number"),
        ('{"X1":"nan", "X2":"1e999"}', 422, "X2: Input should be a finite number"),
        ('{"X1":null, "X2":[]}', 422, "X1: Input should be a finite number"),
        ('{"X1":1e999, "X2":1}', None, ""),
        ('{"X1":NaN, "X2":1}', None, ""),
        ('{"X1":1', 400, ""),
        ("[1,2]", 422, "list"),
    ],
)
def test_the_command_of_the_article_and_others(served, body, status, said):
    answered, answer = ask(served, f"curl -i {TYPE} -X POST -d '{body}' {URL}")
    assert answered in ((400, 422) if status is None else (status,))
    if status == 200:
        assert answer == said
    else:
        assert said in answer["detail"]


def test_other_methods_and_types_are_refused(served):
    assert ask(served, f"curl -i {URL}")[0] == 405
    assert ask(served, f"curl -i -d X1=1 {URL}")[0] == 415


@pytest.mark.long
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_readme_shows_what_happens(start_provider):
    try_commands(FOLDER / "README.md", start_provider)


def test_it_is_ready_when_the_model_is_loaded(served):
    assert [said.split()[1] for said in served.said] == ["503", "200"]


@pytest.mark.long
def test_a_provider_without_its_model_does_not_start(start_provider, tmp_path):
    nowhere = str(tmp_path / "no.skops")
    provider = start_provider(
        None, "--example", "classifier", ready=False, CLASSIFIER_MODEL=nowhere
    )
    assert provider.process.wait(PATIENCE) == 3
    assert any("no.skops" in str(line) for line in provider.lines)
