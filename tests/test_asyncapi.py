"""The AsyncAPI document of a provider: whole, and true."""

from __future__ import annotations

import json
import re

import pytest

from provider.asyncapi import document
from provider.wire.address import Address

ADDRESS = Address("lab", "python", "default", "sums")
KEY = re.compile(r"[A-Za-z0-9._-]+")


def told(name, doc="", **more):
    return {"name": name, "signature": "(a: int)", "doc": doc, **more}


def at(made, reference):
    assert reference.startswith("#/")
    for step in reference[2:].split("/"):
        made = made[step]
    return made


def references(part):
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for member in part.values():
            yield from references(member)
    elif isinstance(part, list):
        for member in part:
            yield from references(member)


SCHEMAS = {
    "add": {"argument": {"type": "integer"}, "result": {}},
    "shop.total": {
        "argument": {
            "type": "array",
            "items": {"$ref": "#/$defs/Item"},
            "$defs": {
                "Item": {
                    "type": "object",
                    "properties": {
                        "kids": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
                        "odd": {"$ref": "#/$defs/a[b]"},
                    },
                },
                "a[b]": {"type": "string"},
            },
        },
        "result": {"anyOf": [{"$ref": "#/$defs/Item"}, {"type": "null"}], "$defs": {"Item": {}}},
    },
}


def test_every_operation_has_a_channel_an_answer_and_its_errors():
    made = document(ADDRESS, [told("add", "Add.\n\nAnd no more."), told("shop.total")], SCHEMAS)
    assert made["asyncapi"] == "3.0.0"
    assert set(made["info"]) >= {"title", "version"}
    assert made["channels"]["add"]["address"] == "provider.lab.sums.add"
    assert made["channels"]["add.answer"]["address"] is None
    operation = made["operations"]["add"]
    assert operation["action"] == "receive"
    assert (operation["summary"], operation["description"]) == ("Add.", "And no more.")
    assert at(made, operation["channel"]["$ref"])["bindings"] == {"nats": {"queue": "q"}}
    (message,) = operation["messages"]
    payload = at(made, at(made, at(made, message["$ref"])["$ref"])["payload"]["$ref"])
    assert payload == {"type": "integer"}
    assert len(operation["reply"]["messages"]) == 2
    assert "summary" not in made["operations"]["shop.total"]


def test_every_reference_leads_somewhere_and_every_key_is_allowed():
    made = document(ADDRESS, [told("add"), told("shop.total")], SCHEMAS)
    found = list(references(made))
    assert len(found) > 20
    for reference in found:
        at(made, reference)
    for part in (made["channels"], made["operations"], *made["components"].values()):
        assert all(map(KEY.fullmatch, part))
    assert "$defs" not in json.dumps(made)


@pytest.mark.parametrize("name", ["no subject", "a..b", "x.*", ">"])
def test_what_cannot_be_called_by_subject_is_left_out(name):
    assert document(ADDRESS, [told(name)], {})["operations"] == {}


@pytest.mark.parametrize("names", [["a/b", "a_b"], ["x", "x.answer"], ["x.answer", "x"]])
def test_names_that_look_alike_are_kept_apart(names):
    made = document(ADDRESS, [told(name) for name in names], {})
    assert len(made["operations"]) == len(names)
    assert len(made["channels"]) == 2 * len(names)
    for name, key in zip(names, made["operations"], strict=True):
        assert made["channels"][key]["address"] == f"provider.lab.sums.{name}"
