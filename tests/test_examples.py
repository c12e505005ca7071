"""The examples are found, and nothing else is."""

from __future__ import annotations

import pytest

from provider import examples
from provider.errors import StartError


def test_every_example_is_a_program_that_can_be_found():
    assert "factorial" in examples.names()
    for name in examples.names():
        program = examples.find(name)
        assert program.name == "dispatch.py"
        assert program.parent.name == name
        assert program.is_file()


@pytest.mark.parametrize("name", ["nothing", "", "..", "../factorial", "factorial/", "Factorial"])
def test_another_name_is_answered_with_those_there_are(name):
    with pytest.raises(StartError, match=r"there is no example .*; there are: .*factorial"):
        examples.find(name)
