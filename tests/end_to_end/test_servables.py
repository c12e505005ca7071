"""Servable folders as they are used: started by the command, called over NATS, edited meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from provider.wire.servable import TIMESTAMP

EXAMPLE = Path(__file__).parents[2] / "dispatch_examples" / "models"


def tensor(name, data, datatype="BYTES", shape=None):
    """An input of a request."""
    shape = [len(data)] if shape is None else shape
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


@pytest.fixture(scope="module")
def quickstart(start_module_provider):
    return start_module_provider(None, "--models", str(EXAMPLE / "config.json"))


def test_the_text_of_the_quickstart_comes_back_in_upper_case(quickstart):
    given = {"inputs": [tensor("text", b"Make this text uppercase.")]}
    result = quickstart.call("python_model", given)
    assert result["parameters"].pop(TIMESTAMP) > 1_700_000_000_000_000
    assert result == {
        "outputs": [tensor("uppercase", b"MAKE THIS TEXT UPPERCASE.", "UINT8")],
        "parameters": {},
    }
