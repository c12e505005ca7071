"""The two containers of the negative example, as far as that can be seen without an engine.

Nothing is built here: what is checked is that every file and folder they name is there, that they
fit each other, and (in test_over_grpc.py) that their commands do what they should.
"""

from __future__ import annotations

import json
import re
import shlex

import pytest
import yaml

from tests.documents import ROOT

FOLDER = ROOT / "deploy" / "negative"


def stages() -> dict[str, list[list[str]]]:
    """By their names, the stages of the Dockerfile: instruction and the words after it."""
    text = (FOLDER / "Dockerfile").read_text().replace("\\\n", " ")
    found: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            found[rest.split(" AS ")[1]] = stage = []
        stage.append([instruction, *listed(rest)])
    return found


def listed(rest: str) -> list[str]:
    before, bracket, words = rest.partition("[")
    return [*before.split(), *json.loads(bracket + words)] if bracket else shlex.split(rest)


def of(stage: str, instruction: str) -> list[list[str]]:
    return [words[1:] for words in stages()[stage] if words[0] == instruction]


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]


@pytest.mark.parametrize("stage", ["server", "client"])
def test_what_is_copied_is_there_and_is_not_left_out(stage):
    kept = re.findall(r"^!(.+)$", (FOLDER / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert all((ROOT / name).exists() for name in kept)
    copied = [source for words in of(stage, "COPY") for source in words[:-1]]
    assert len(copied) > 1
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(source == name or source.startswith(f"{name}/") for name in kept), source


def test_the_server_has_what_its_command_names():
    [command] = of("server", "CMD")
    assert command[:4] == ["provider", "run", "--example", "negative"]
    proto = command[command.index("--proto") + 1]
    assert any(proto.startswith(f"{words[-1]}/") for words in of("server", "COPY"))
    assert (ROOT / proto).is_file()
    [[user]] = of("server", "USER")
    assert user != "root"
    assert any(user in words for words in of("server", "RUN"))


def test_the_services_are_the_stages_of_the_file(services):
    assert list(services) == list(stages())
    for name, service in services.items():
        build = service["build"]
        context = (FOLDER / build["context"]).resolve()
        assert context == ROOT
        assert (context / build["dockerfile"]) == FOLDER / "Dockerfile"
        assert build["target"] == name


def test_the_containers_find_each_other(services):
    [command] = of("server", "CMD")
    port = command[command.index("--grpc") + 1].rpartition(":")[2]
    assert of("server", "EXPOSE") == [[port]]
    assert services["server"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f'"server:{port}"' in (FOLDER / "client.py").read_text()
    assert "PROVIDER_GRPC_MAX_MESSAGE" in (ROOT / ".env.example").read_text()
    assert services["server"]["environment"] == {"PROVIDER_GRPC_MAX_MESSAGE": "64MiB"}
    assert "MOST_BYTES = 64 * 1024 * 1024" in (FOLDER / "client.py").read_text()
    # The client waits for the health of the server, so that has to be looked at.
    assert services["client"]["depends_on"] == {"server": {"condition": "service_healthy"}}
    [health] = of("server", "HEALTHCHECK")
    assert health[-2:] == ["provider", "probe"]


def test_what_the_client_is_given_is_there(services):
    for volume in services["client"]["volumes"]:
        source, target, *_ = volume.split(":")
        assert (FOLDER / source).exists(), source
        assert target.startswith("/usr/app/")
    [command] = of("client", "CMD")
    assert command == ["python3", "/usr/app/client.py"]
    assert of("client", "WORKDIR") == [["/usr/app"]]
