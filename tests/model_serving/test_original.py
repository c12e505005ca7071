"""The tests and examples of model-serving itself, run on the adapter."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile

import pytest

from tests.conftest import clean_environment
from tests.model_serving.conftest import INSIDE, LANGUAGE, OK, python

SDIST = "model-serving==2.0.6"
SHA256 = "88f67e4b5e0c5bd5e61d07ea82a0790198f7d39bbd429abc87604dd41a428974"


def fetch(kept, wanted):
    """Have pip fetch the source distribution from wherever it is told to; skip where it cannot."""
    wanted.write_text(f"{SDIST} --hash=sha256:{SHA256}\n")
    try:
        done = python(
            [
                *("-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
                *("--no-deps", "--require-hashes", "--no-binary", ":all:"),
                *("--retries", "0", "--timeout", "10", "-d", str(kept), "-r", str(wanted)),
            ],
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{SDIST} cannot be had: pip takes too long")
    if done.returncode:
        pytest.skip(f"{SDIST} cannot be had: {done.stderr.strip()[-300:]}")


@pytest.fixture(scope="module")
def original(request, tmp_path_factory):
    """A folder with `test` and `examples` of the source distribution, and nothing else of it.

    Their `example_schema_pb2.py` was made by a protoc whose code protobuf has refused since 4.
    Where it cannot be imported, our module with the same messages takes its place.
    """
    kept = request.config.cache.mkdir("model-serving")
    archive = kept / "model-serving-2.0.6.tar.gz"
    if not archive.exists():
        fetch(kept, tmp_path_factory.mktemp("wanted") / "requirements.txt")
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256
    folder = tmp_path_factory.mktemp("original")
    with tarfile.open(archive) as unpacked:
        unpacked.extractall(folder, filter="data")
    (whole,) = folder.iterdir()
    for name in ("test", "examples"):
        (whole / name).rename(folder / name)
        schema = folder / name / "example_schema_pb2.py"
        imported = python(["-c", f"import {name}.example_schema_pb2"], folder=folder, check=False)
        if imported.returncode:
            schema.write_text((LANGUAGE / "language_schema.py").read_text())
    return folder


@pytest.mark.parametrize("order", [1, pytest.param(-1, marks=pytest.mark.long)])
def test_the_ten_tests_of_the_original_pass(original, order):
    done = python(
        [
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio"),
            *("-p", "no:hypothesispytest", "-p", "no:schemathesis"),
            *["test/test_app_factory.py", "test/test_cached_app_factory.py"][::order],
        ],
        clean_environment(PYTHONPATH=str(LANGUAGE)),
        original,
        check=False,
    )
    assert "10 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("handler", ["", "_cached", "_cached_with_custom_config"])
def test_the_examples_of_the_original_are_served(original, handler, tmp_path):
    program = f"""
import aylien_model_serving, examples.example_serving_handler{handler} as handler
assert "dispatch_examples" in aylien_model_serving.__file__
client = handler.run_app().test_client()
for body in (b'{{"title":"T","body":"hello world"}}', b'{INSIDE.decode() % "null"}') * 2:
    response = client.post("/", data=body)
    print(response.status_code, response.text, end="")
"""
    done = python(
        ["-c", program], clean_environment(PYTHONPATH=f"{LANGUAGE}:{original}"), folder=tmp_path
    )
    assert done.stdout == 2 * f'200 {OK.decode()}400 {{"error":"Missing text"}}\n'
