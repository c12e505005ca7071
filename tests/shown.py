"""The commands a README shows, run one after the other as its reader would.

The rule of this file: what is printed must be what the README says, but for the numbers of requests
and the places where the provider and the NATS server are found, which are others each time.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from provider.cli import app
from tests.conftest import PATIENCE
from tests.documents import ROOT, commands

if TYPE_CHECKING:
    from pathlib import Path

HERE = re.compile(r"http://localhost:\d+")
NUMBER = re.compile(r'"request_id":"[\w-]+"')


def curl(words: list[str], url: str) -> str:
    """What curl prints.

    Args:
        words: of its command; localhost with any port stands for the provider.
        url: of the provider.
    """
    done = subprocess.run(
        [
            *("curl", "--silent", "--show-error", "--noproxy", "*"),
            *("--max-time", str(PATIENCE), *(HERE.sub(url, word) for word in words[1:])),
        ],
        capture_output=True,
        check=True,
        timeout=2 * PATIENCE,
    )
    return done.stdout.decode()


def try_commands(readme: Path, start, **environment: str) -> list:
    """Run the commands of a README; the providers it had started, of which the last one serves.

    Args:
        readme: with `provider run` as its first command.
        start: the fixture `start_provider` or one like it.
        environment: of the providers.
    """
    started: list = []
    for command, printed in commands(readme):
        words = shlex.split(command)
        if words[:2] == ["provider", "run"]:
            if started:
                started[-1].close()
            started.append(start(None, *_flags(words[2:]), **environment))
            assert printed == []
        elif words[0] == "curl":
            ready = started[-1].events("ready")[-1]
            said = NUMBER.sub("", curl(words, ready["http"]))
            assert said.splitlines() == [NUMBER.sub("", line) for line in printed], command
        else:
            assert words[0] == "provider", command
            done = CliRunner(env=started[-1].environment).invoke(app, words[1:])
            assert done.output.splitlines() == printed, command
    return started


def _flags(words: list[str]) -> list[str]:
    """Those of `provider run`, on any free port and the NATS server of the tests."""
    words = ["0" if before == "--http" else word for before, word in zip(["", *words], words)]  # noqa: B905  one is longer
    words = [word for word in words if word != "--embedded-nats"]
    return [str(ROOT / word) if word.startswith("dispatch_examples/") else word for word in words]
