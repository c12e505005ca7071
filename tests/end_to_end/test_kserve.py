"""The quickstart of OpenVINO Model Server's Python nodes, to the letter, and clients around it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, clean_environment

EXAMPLE = Path(__file__).parents[2] / "dispatch_examples" / "models"
PRINTED = {
    "config.json": "cb6e04831ea7a1aa9f3962624a66b9a22a6060a5aa3502c784f641c5394bca72",
    "python_model/graph.pbtxt": "b2598a003b09dc69c359908ec62ba22b136d35bc7ccefb638034055d70624c46",
    "python_model/model.py": "0aaa8ff36918e84b535cb9e0b62fa932de0f89604f435b2df1c2d48ee1dedf7e",
    "client.py": "6e2b19d8e9f0927e2a5dc711f338488379fb8b0bf1898d1ef8fb504db011d618",
}
"""SHA-256 of the files as the commands of the quickstart write them."""


@pytest.mark.parametrize("name", PRINTED)
def test_the_files_are_those_that_are_printed_there(name):
    assert hashlib.sha256((EXAMPLE / name).read_bytes()).hexdigest() == PRINTED[name]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """The folder the quickstart has its reader make."""
    made = tmp_path_factory.mktemp("workspace")
    shutil.copytree(EXAMPLE, made / "models", ignore=shutil.ignore_patterns("client.py"))
    return made


@pytest.fixture(scope="module")
def provider(workspace, start_module_provider):
    flags = ("--models", "models/config.json", "--grpc", "0", "--http", "0")
    return start_module_provider(None, *flags, folder=workspace)


def test_the_client_of_the_quickstart_prints_its_text_in_upper_case(provider, workspace):
    port = provider.wait_for("ready")["grpc"].rpartition(":")[2]
    # What is printed there asks the port of a container.
    text = (EXAMPLE / "client.py").read_text().replace("localhost:9000", f"localhost:{port}")
    (workspace / "client.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "client.py"],
        cwd=workspace,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("MAKE THIS TEXT UPPERCASE.\n", 0), done.stderr
