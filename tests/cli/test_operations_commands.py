"""What can be called, asked for from the shell: operations, schema."""

from __future__ import annotations

import json

import pytest

PROGRAM = """
    from provider.dispatch import operation

    @operation(cache=60)
    def add(a: int, b: int = 2) -> int:
        "Add two numbers.\\n\\nAnd no more."
        return a + b

    @operation(batch=8)
    def many(numbers: list[int]) -> list[int]:
        return numbers

    @operation(name="py.parts")
    def parts(n: int):
        yield n
"""


@pytest.fixture(scope="module")
def house(start_module_provider):
    return start_module_provider(PROGRAM)


@pytest.fixture
def to_house(provider_command, house):
    def run(*arguments, **more):
        names = {"NATS_URL", "PROVIDER_LATTICE", "PROVIDER_NAME"}
        found = {name: house.environment[name] for name in names}
        done = provider_command(*arguments, **{**found, **more})
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


def test_operations_for_people(to_house):
    listed = (
        "add(a: int, b: int = 2) -> int  [cached 60 s]\n"
        "    Add two numbers.\n"
        "many(numbers: list[int]) -> list[int]  [batches of 8]\n"
        "py.parts(n: int)  [streams]\n"
    )
    assert to_house("operations") == (0, listed, "")


def test_operations_for_programs(to_house):
    code, out, err = to_house("operations", "--json")
    assert (code, err) == (0, "")
    assert [entry["name"] for entry in json.loads(out)] == ["add", "many", "py.parts"]


def test_a_plain_handle_declares_none(start_provider, provider_command):
    provider = start_provider("def handle(command, arg): return arg")
    names = {"NATS_URL", "PROVIDER_LATTICE", "PROVIDER_NAME"}
    done = provider_command("operations", **{n: provider.environment[n] for n in names})
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.startswith(b"no operations are declared")


def test_schema(to_house):
    code, out, err = to_house("schema", "py.add")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "add": {
            "argument": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 2}},
                "required": ["a"],
                "additionalProperties": False,
            },
            "result": {"type": "integer"},
        }
    }
    assert set(json.loads(to_house("schema")[1])) == {"add", "many", "py.parts"}
    code, out, err = to_house("schema", "other")
    assert (code, out) == (1, "")
    assert err == "error: unknown_operation: no operation 'other' is declared\n"


def test_asyncapi(to_house, house):
    code, out, _ = to_house("schema", "--asyncapi")
    made = json.loads(out)
    assert (code, made["asyncapi"]) == (0, "3.0.0")
    assert set(made["operations"]) == {"add", "many", "py.parts"}
    lattice, name = house.address["lattice"], house.address["name"]
    assert made["channels"]["py.parts"]["address"] == f"provider.{lattice}.{name}.py.parts"
    one = json.loads(to_house("schema", "add", "--asyncapi")[1])
    assert set(one["operations"]) == {"add"}


@pytest.mark.parametrize("command", ["operations", "schema"])
def test_where_nobody_is_the_commands_say_so(to_house, command):
    code, out, err = to_house(command, PROVIDER_NAME="nobody")
    assert (code, out) == (4, "")
    assert "no provider listens on provider.describe." in err
