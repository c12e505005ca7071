"""Every command and every byte the documents show is tried.

A `console` block is run line by line against a real provider; lines that follow a command are what
it must print. A `python` block that can stand alone is run. A `hex` block must decode, and equal
the `json` block that follows it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import nats
import pytest

from provider.errors import BY_KIND, KINDS
from provider.host.life import picture
from provider.lattice import seed_file
from provider.lattice.nkeys import KeyPair, Kind
from provider.wasmbus_client import connect_wasmbus
from provider.wire.envelope import RequestReader
from provider.wire.values import Values
from tests import forked
from tests.conftest import PATIENCE
from tests.documents import DOCUMENTS, ROOT, blocks, commands

CLUSTER = KeyPair.from_raw(Kind.CLUSTER, b"\1" * 32)

TRIED_ELSEWHERE = {
    ROOT / "docs" / "dispatch.md",
    ROOT / "docs" / "grpc.md",
    ROOT / "docs" / "http.md",
    ROOT / "docs" / "models.md",
    ROOT / "docs" / "reliability.md",
    *(
        ROOT / "dispatch_examples" / name / "README.md"
        for name in ("operations", "language", "classifier", "tasks", "negative")
    ),
}
"""Documents whose commands call other functions than those of the factorial example."""

ALL_COMMANDS = [
    pytest.param(
        command,
        printed,
        id=f"{document.relative_to(ROOT)}: {command}",
        # Each is a load of seconds, and the README has another one.
        marks=pytest.mark.long if document == ROOT / "docs" / "bench.md" else (),
    )
    for document in DOCUMENTS
    if document not in TRIED_ELSEWHERE
    for command, printed in commands(document)
]


@pytest.fixture(scope="module")
def provider(start_module_provider):
    """A provider where the documents' commands expect it: default names, factorial example.

    The actor that follows from the key in cluster.nk is linked.
    """
    provider = start_module_provider(
        None,
        "--example",
        "factorial",
        PROVIDER_LATTICE="default",
        PROVIDER_NAME="python",
        PROVIDER_CLUSTER_ISSUERS=CLUSTER.public,
    )

    async def link():
        async with connect_wasmbus(provider.url, cluster=CLUSTER) as wasmbus:
            await wasmbus.link()

    asyncio.run(link())
    provider.wait_for("link_put")
    return provider


@pytest.fixture
def folder(tmp_path):
    """A working directory with what the documents say the reader has there."""
    dispatch = next(
        text
        for language, text in blocks(ROOT / "README.md")
        if language == "python" and "shop.price" in text
    )
    (tmp_path / "dispatch.py").write_text(dispatch)
    (tmp_path / "argument.json").write_text("5")
    return tmp_path


@pytest.mark.parametrize(("command", "printed"), ALL_COMMANDS)
def test_a_command_does_what_the_document_shows(command, printed, provider, folder):
    words = shlex.split(command)
    words[0] = words[0].removeprefix(".venv/bin/")
    if "--cluster-seed" in words:
        seed_file.write(folder / "cluster.nk", CLUSTER)
    if words[:2] == ["provider", "run"]:
        serves(words, provider, folder)
        return
    if words[0] == "nats" and shutil.which("nats") is None:
        out = asyncio.run(as_the_nats_command(words[1:], provider.url))
    elif words[0] == "provider":
        done = forked.run(words[1:], provider.environment, folder, timeout=2 * PATIENCE)
        assert done.returncode == 0, done.stderr
        out = done.stdout.decode()
    else:
        if words[0] == "python":
            words = [sys.executable, str(ROOT / words[1]), *words[2:]]
        done = subprocess.run(
            words,
            env=provider.environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        out = done.stdout
    if printed:
        assert out.splitlines() == printed


def serves(words: list[str], provider, folder) -> None:
    """A command that serves until it is stopped."""
    environment = {**provider.environment, "PROVIDER_LATTICE": "documents"}
    if "--embedded-nats" in words:
        environment.pop("NATS_URL")
        words = [*words, "--embedded-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "provider", *words[1:]],
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr:
        said = []
        for line in process.stderr:
            said.append(line)
            if '"event": "ready"' in line:
                break
        process.send_signal(signal.SIGTERM)
        said.append(process.stderr.read())
        assert process.wait(PATIENCE) == 0, "".join(said)


async def as_the_nats_command(words: list[str], url: str) -> str:
    """What these subcommands of the `nats` command do, for machines without it."""
    client = await nats.connect(url)
    try:
        if words[0] == "request":
            options = words[3:]
            headers = dict(
                options[index + 1].split(":", 1)
                for index, option in enumerate(options)
                if option == "-H"
            )
            answer = await client.request(words[1], words[2].encode(), headers=headers)
            assert not answer.headers, answer.headers
            return answer.data.decode()
        verb = {"list": "INFO", "info": "INFO", "stats": "STATS"}[words[1]]
        answer = await client.request(".".join(["$SRV", verb, *words[2:3]]), b"")
        return json.loads(answer.data)["name"]
    finally:
        await client.close()


CLIENT_PROGRAMS = [
    pytest.param(text, id=f"{document.relative_to(ROOT)} program {index}")
    for document in DOCUMENTS
    for index, (language, text) in enumerate(blocks(document))
    if language == "python" and "provider.client" in text
]


@pytest.mark.parametrize("program", CLIENT_PROGRAMS)
def test_a_program_calls_the_provider(program, provider, tmp_path):
    program = program.replace("nats://127.0.0.1:4222", provider.url)
    seed_file.write(tmp_path / "cluster.nk", CLUSTER)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout == "3628800\n", done.stderr


def test_there_are_programs_and_commands():
    assert len(CLIENT_PROGRAMS) >= 2
    assert len(ALL_COMMANDS) >= 15


def hex_examples() -> list:
    """Bytes, and the value that must be in them or None."""
    found = []
    listed = blocks(ROOT / "docs" / "protocol.md")
    for index, (language, text) in enumerate(listed):
        if language == "hex":
            data = bytes.fromhex("".join(line.partition("#")[0] for line in text.splitlines()))
            following = listed[index + 1 : index + 2]
            meaning = following[0][1] if following and following[0][0] == "json" else None
            found.append(pytest.param(data, meaning, id=data.hex()[:24]))
    return found


@pytest.mark.parametrize(("data", "meaning"), hex_examples())
def test_the_bytes_mean_what_stands_beside_them(data, meaning):
    value = Values().decode(data)
    if meaning is None:
        assert value.tolist() == [[1, 2], [3, 4]]
        return
    assert value == json.loads(meaning)
    if "operation" in value:
        assert RequestReader(Values()).read(data).operation == value["operation"]


def test_the_error_table_is_the_code_table():
    text = (ROOT / "docs" / "protocol.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \| (\w+) \|", text, re.MULTILINE)
    assert {kind: (int(code), fault) for kind, code, fault in rows} == {
        kind: (meaning.code, meaning.fault.value) for kind, meaning in KINDS.items()
    }
    assert set(BY_KIND) == set(KINDS)


def test_links_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.skipif(
    not (ROOT / ".venv" / ".installed").exists(), reason="this environment was not made by make"
)
def test_make_run_serves_the_example_until_ctrl_c(provider, nats_server):
    environment = {**provider.environment, "NATS_URL": nats_server.url}
    process = subprocess.Popen(
        ["make", "run"],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    with process.stderr:
        said = []
        for line in process.stderr:
            said.append(line)
            if '"event": "ready"' in line:
                break
        call = subprocess.run(
            [sys.executable, "-m", "provider", "call", "py.factorial", "10"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert call.stdout == "3628800\n", call.stderr + "".join(said)
        # As a terminal does it: to make, the provider and whatever else is in the group.
        os.killpg(process.pid, signal.SIGINT)
        assert "drained" in process.stderr.read()
        process.wait(PATIENCE)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_the_picture_of_a_workers_life_is_drawn_from_the_table():
    drawn = [
        text for language, text in blocks(ROOT / "docs/architecture.md") if language == "mermaid"
    ]
    assert drawn == [picture()]
