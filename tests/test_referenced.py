"""Schemas kept in one place of a document, and references that lead there."""

from __future__ import annotations

from provider.referenced import free_key, keep

SCHEMA = {
    "type": "array",
    "items": {"$ref": "#/$defs/a.Item<int>"},
    "$defs": {
        "a.Item<int>": {
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/a.Item<int>"}, {"type": "null"}]}}
        }
    },
}


def test_what_is_inside_a_schema_is_kept_beside_it():
    shared = {}
    assert keep(shared, "f.argument", SCHEMA) == {"$ref": "#/components/schemas/f.argument"}
    inner = {"$ref": "#/components/schemas/f.argument.a.Item_int_"}
    assert shared == {
        "f.argument": {"type": "array", "items": inner},
        "f.argument.a.Item_int_": {
            "properties": {"next": {"anyOf": [inner, {"type": "null"}]}},
        },
    }
    assert "$defs" in SCHEMA


def test_two_names_never_have_one_key():
    taken = set()
    for name, key in (("a b", "a_b"), ("a/b", "a_b_2"), ("a.b-c", "a.b-c"), ("a?b", "a_b_3")):
        assert free_key(name, taken.__contains__) == key
        taken.add(key)
