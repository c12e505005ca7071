"""Servable folders as they are used: started by the command, called over NATS, edited meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from provider.errors import HandlerError, InvalidArgument, Unavailable, UnknownOperation
from provider.wire.servable import TIMESTAMP
from tests.conftest import PATIENCE
from tests.servables.making import (
    DOUBLE,
    GENERATE,
    INPUT,
    LITERAL,
    LOOPING,
    UPPER,
    array,
    asked,
    folder,
    graph,
    handler_of,
    node,
    save,
    tensor,
)

EXAMPLE = Path(__file__).parents[2] / "dispatch_examples" / "models"
PLAIN = graph(node("model.py"))


@pytest.fixture(scope="module")
def quickstart(start_module_provider):
    config = str(EXAMPLE / "config.json")
    return start_module_provider(None, "--models", config, "--grpc", "0")


def test_the_text_of_the_quickstart_comes_back_in_upper_case(quickstart):
    given = asked(tensor("text", b"Make this text uppercase."))
    result = quickstart.call("python_model", given)
    assert result["parameters"].pop(TIMESTAMP) > 1_700_000_000_000_000
    assert result == {
        "outputs": [tensor("uppercase", b"MAKE THIS TEXT UPPERCASE.", "UINT8")],
        "parameters": {},
    }


def test_the_client_of_the_quickstart_prints_what_it_should(quickstart):
    address = quickstart.events("ready")[0]["grpc"]
    text = (EXAMPLE / "client.py").read_text()
    assert "localhost:9000" in text
    ran = subprocess.run(
        [sys.executable, "-c", text.replace("localhost:9000", address)],
        stdout=subprocess.PIPE,
        check=True,
        timeout=2 * PATIENCE,
    )
    assert ran.stdout == b"MAKE THIS TEXT UPPERCASE.\n"


def test_its_paths_are_found_beside_the_config(quickstart):
    assert [
        line["note"].split(" does not exist")[0] for line in quickstart.events("servables_note")
    ] == [
        "/models/python_model/graph.pbtxt",
        "python_model: /models/python_model/model.py",
    ]
    assert quickstart.events("ready")[0]["program"] == str(EXAMPLE / "config.json")


MODEL = """
from pyovms import Tensor

class OvmsPythonModel:

    def execute(self, inputs: list):
        input_data = inputs[0]
        text = bytes(input_data).decode()
        output_data = text.upper().encode()
        return [Tensor("uppercase", output_data)]

"""


def test_the_files_of_the_quickstart_are_as_they_are_printed():
    assert json.loads((EXAMPLE / "config.json").read_text()) == {
        "model_config_list": [],
        "mediapipe_config_list": [
            {"name": "python_model", "graph_path": "/models/python_model/graph.pbtxt"}
        ],
    }
    assert (EXAMPLE / "python_model" / "model.py").read_text() == MODEL
    assert "[type.googleapis.com / mediapipe." in (EXAMPLE / "python_model/graph.pbtxt").read_text()
    assert 'data = "Make this text uppercase.".encode()\n' in (EXAMPLE / "client.py").read_text()


@pytest.fixture(scope="module")
def mixed(start_module_provider, tmp_path_factory):
    """Servables of every kind, one of which is not there."""
    root = tmp_path_factory.mktemp("mixed")
    config = folder(
        root,
        {
            "upper/model.py": UPPER,
            "parts/model.py": GENERATE,
            "fails/model.py": handler_of("raise ValueError('for the log')"),
            "broken/model.py": "raise RuntimeError('while loading')",
        },
        upper=PLAIN,
        parts=graph(node("model.py", more=LOOPING)),
        fails=PLAIN,
        broken=PLAIN,
    )
    provider = start_module_provider(None, PROVIDER_MODELS=str(config))
    provider.root = root
    return provider


def streamed(provider, *arguments):
    async def work():
        async with provider.connect() as python:
            return [item async for item in python.stream(*arguments)]

    return asyncio.run(work())


def test_a_result_in_parts_is_a_stream(mixed):
    given = asked(tensor("input", np.array([3.5], np.float32)), parameters={TIMESTAMP: 7})
    parts = streamed(mixed, "parts", given)
    assert [array(*part["outputs"]).item() for part in parts] == [4.5, 5.5, 6.5]
    assert [part["parameters"][TIMESTAMP] for part in parts] == [7, 8, 9]


def test_a_stream_whose_request_is_none_is_refused_by_name(mixed):
    with pytest.raises(InvalidArgument, match="foo is unexpected") as caught:
        streamed(mixed, "parts", asked(tensor("foo", b"")))
    assert caught.value.details == {"status": "INVALID_UNEXPECTED_INPUT"}


def test_what_a_handler_raises_is_for_the_log(mixed):
    with pytest.raises(HandlerError) as caught:
        mixed.call("fails", asked(INPUT))
    assert (caught.value.message, caught.value.traceback) == (LITERAL, None)
    logged = mixed.wait_for("call_failed", operation="fails")
    assert "ValueError: for the log" in logged["exception"]


def test_a_graph_that_does_not_load_leaves_the_others_alone(mixed):
    with pytest.raises(Unavailable, match=r"^Mediapipe is not loaded yet - ") as caught:
        mixed.call("broken", asked(INPUT))
    assert "while loading" not in caught.value.message
    assert "RuntimeError: while loading" in mixed.text
    assert mixed.call("upper", asked(INPUT))["outputs"][0]["data"] == b"HELLO"


def test_who_asks_is_told_what_there_is(mixed, provider_command):
    listed = provider_command("operations", NATS_URL=mixed.url, **named(mixed)).stdout.decode()
    assert "Servable: inputs input; outputs output" in listed
    assert "Not loaded: PYTHON_NODE_FILE_STATE_INITIALIZATION_FAILED" in listed


def test_from_the_shell_it_is_json(mixed, provider_command):
    given = {"inputs": [{"name": "input", "datatype": "BYTES", "shape": [2], "data": "aGk="}]}
    ran = provider_command("call", "upper", json.dumps(given), NATS_URL=mixed.url, **named(mixed))
    assert json.loads(ran.stdout)["outputs"][0] == {
        "name": "output",
        "datatype": "UINT8",
        "shape": [2],
        "data": "SEk=",
    }


def named(provider):
    return {
        name: value
        for name, value in provider.environment.items()
        if name in ("PROVIDER_LATTICE", "PROVIDER_NAME")
    }


def test_saves(start_provider, tmp_path):
    said = UPPER + '\n        def finalize(self):\n            print("the old one goes")\n'
    files = {"m/model.py": said, "other/model.py": UPPER}
    config = folder(tmp_path / "models", files, m=PLAIN, other=PLAIN)
    provider = start_provider(None, "--models", str(config))
    model = config.parent / "m" / "model.py"

    def told(name="m"):
        return provider.call(name, asked(INPUT))["outputs"][0]["data"]

    assert told() == b"HELLO"
    # A handler: the next call runs it, and the old one goes.
    save(model, DOUBLE)
    assert told() == b"hellohello"
    assert provider.wait_for("printed", text="the old one goes")
    # One that does not load.
    save(model, "1 / 0")
    assert told() == b"hellohello"
    failed = provider.wait_for("reload_failed")
    assert "ZeroDivisionError" in failed["error"]
    assert told("other") == b"HELLO"
    save(model, UPPER)
    assert told() == b"HELLO"
    # The config: another servable, and one less.
    config.write_text(json.dumps({"model_config_list": [{"config": {"name": "m"}}]}))
    provider.wait_for("reloaded", 3)
    with pytest.raises(UnknownOperation):
        told("other")
    assert told() == b"HELLO"
    kept = config.read_text()
    config.write_text("{")
    assert "is no JSON" in provider.wait_for("servables_note")["note"]
    assert told() == b"HELLO"
    # The graph.
    config.write_text(kept)
    last = '\n        def finalize(self):\n            print("the last one goes")\n'
    save(config.parent / "m" / "twice.py", DOUBLE + last)
    save(config.parent / "m" / "graph.pbtxt", graph(node("twice.py")))
    provider.wait_for("reloaded", 4)
    assert told() == b"hellohello"
    assert provider.stop() == 0
    assert provider.events("printed", text="the last one goes")


def test_callers_are_told_what_handlers_raise_when_that_is_enabled(start_provider, tmp_path):
    handler = handler_of("raise ValueError('for all to see')")
    config = folder(tmp_path / "models", {"m/model.py": handler}, m=PLAIN)
    provider = start_provider(None, "--models", str(config), "--tracebacks")
    with pytest.raises(HandlerError) as caught:
        provider.call("m", asked(INPUT))
    assert caught.value.message == f"{LITERAL}: execute raised ValueError: for all to see"
    assert "ValueError: for all to see" in caught.value.traceback


class TestCheck:
    def test_all_is_well(self, provider_command):
        ran = provider_command("check", "--models", str(EXAMPLE / "config.json"))
        assert ran.returncode == 0
        assert ran.stdout.startswith(f"ok: {EXAMPLE / 'config.json'} (Python ".encode())

    def test_it_names_what_does_not_load(self, mixed, provider_command):
        ran = provider_command("check", "--models", str(mixed.root / "config.json"))
        assert ran.returncode == 1
        said = ran.stderr.decode()
        assert "error: broken: PYTHON_NODE_FILE_STATE_INITIALIZATION_FAILED: " in said
        assert "RuntimeError: while loading" in said
        assert "error: upper" not in said

    @pytest.mark.parametrize(
        ("arguments", "code", "says"),
        [
            (("--models", "missing.json"), 1, "missing.json cannot be read: No such file"),
            (("--models", "x.json", "dispatch.py"), 2, "give a program or --models, not both"),
            (("--models", "x.json", "--dispatch", "x.py"), 2, "give a program or --models"),
        ],
    )
    def test_what_cannot_be(self, provider_command, arguments, code, says):
        ran = provider_command("check", *arguments)
        assert ran.returncode == code
        assert says in ran.stderr.decode()

    def test_nothing_is_left_behind(self, provider_command, tmp_path):
        places = {"TMPDIR": str(tmp_path)}
        ran = provider_command("check", "--models", str(EXAMPLE / "config.json"), **places)
        assert ran.returncode == 0
        assert os.listdir(tmp_path) == []
