"""The OpenAPI document: whole, and what its readers can use."""

from __future__ import annotations

import json

import pytest

from provider.openapi import API_KEY, BEARER, document

INTEGER = {"type": "integer"}


def told(name, *routes, doc="", streams=False):
    return {
        "name": name,
        "signature": "(a: int)",
        "doc": doc,
        "streams": streams,
        "http": list(routes),
    }


def route(path, method="GET", *, parameters=(), kinds=("integer",), **more):
    kind = {"types": list(kinds)}
    return {
        "method": method,
        "path": path,
        "status": 200,
        "raw": False,
        "whole": False,
        "parameters": dict.fromkeys(parameters, kind),
        **more,
    }


def several(*needed, **properties):
    made = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, "required": list(needed)} if needed else made


def references(part):
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for member in part.values():
            yield from references(member)
    elif isinstance(part, list):
        for member in part:
            yield from references(member)


def body(operation):
    return operation["requestBody"]["content"]["application/json"]["schema"]


def test_an_empty_program_makes_a_document():
    made = document([], {})
    assert made["openapi"].startswith("3.1.")
    assert made["paths"] == {}
    assert "security" not in made


def test_every_operation_is_called_by_its_name():
    operations = [told("add", doc="Add.\n\nTwo numbers."), told("shop.größe/x"), told("none")]
    schemas = {
        "add": {"argument": several("a", a=INTEGER), "result": INTEGER},
        "none": {"argument": {"type": "null"}, "result": {}},
    }
    made = document(operations, schemas)
    assert list(made["paths"]) == ["/call/add", "/call/shop.gr%C3%B6%C3%9Fe%2Fx", "/call/none"]
    add = made["paths"]["/call/add"]["post"]
    assert (add["summary"], add["description"]) == ("Add.", "Two numbers.")
    assert add["requestBody"]["required"] is True
    assert body(add) == {"$ref": "#/components/schemas/add.argument"}
    assert made["components"]["schemas"]["add.argument"] == schemas["add"]["argument"]
    assert set(add["responses"]) == {"200", "default"}
    assert "requestBody" not in made["paths"]["/call/none"]["post"]


@pytest.mark.parametrize(
    ("argument", "needed"),
    [
        (INTEGER, True),
        ({**INTEGER, "default": 1}, False),
        (several("a", a=INTEGER), True),
        (several(a={**INTEGER, "default": 1}), False),
        ({}, False),
    ],
)
def test_a_body_is_needed_where_the_argument_is(argument, needed):
    made = document([told("f")], {"f": {"argument": argument}})
    assert made["paths"]["/call/f"]["post"]["requestBody"]["required"] is needed


def test_a_route_has_its_variables_its_query_and_its_body():
    argument = several("id", "title", id=INTEGER, title={"type": "string"}, flag={"default": 0})
    schemas = {"put": {"argument": argument, "result": {}}}
    names = ("id", "title", "flag")
    operation = told(
        "put",
        route("/t/{id}", "PUT", parameters=names, status=201),
        route("/t/{id}", "DELETE", parameters=names, status=204),
    )
    made = document([operation], schemas)["paths"]["/t/{id}"]
    assert made["put"]["parameters"] == [
        {"name": "id", "in": "path", "required": True, "schema": INTEGER}
    ]
    assert body(made["put"]) == {
        "type": "object",
        "properties": {"title": {"type": "string"}, "flag": {"default": 0}},
        "required": ["title"],
        "additionalProperties": False,
    }
    assert made["put"]["requestBody"]["required"] is True
    assert list(made["put"]["responses"]) == ["201", "default"]
    assert [(p["name"], p["in"], p["required"]) for p in made["delete"]["parameters"]] == [
        ("id", "path", True),
        ("title", "query", True),
        ("flag", "query", False),
    ]
    assert "content" not in made["delete"]["responses"]["204"]
    assert "requestBody" not in made["delete"]


def test_all_in_the_path_leaves_no_body():
    argument = several("a", "b", a=INTEGER, b=INTEGER)
    operation = told("f", route("/{a}/{b}", "POST", parameters=("a", "b")))
    made = document([operation], {"f": {"argument": argument}})
    assert "requestBody" not in made["paths"]["/{a}/{b}"]["post"]


def test_one_parameter_takes_the_body_whole():
    schemas = {"f": {"argument": {"type": "array", "items": INTEGER}}}
    operation = told(
        "f",
        route("/f", "POST", parameters=("x",), whole=True),
        route("/f", parameters=("x",), whole=True, kinds=["array"]),
        route("/f/{x}", "PUT", parameters=("x",), whole=True),
    )
    made = document([operation], schemas)
    assert body(made["paths"]["/f"]["post"]) == {"$ref": "#/components/schemas/f.argument"}
    (query,) = made["paths"]["/f"]["get"]["parameters"]
    assert (query["name"], query["in"], query["required"]) == ("x", "query", True)
    assert "requestBody" not in made["paths"]["/f/{x}"]["put"]


def test_what_no_query_can_say_is_not_asked_of_one():
    argument = several(a={"type": "object"}, b=INTEGER)
    entry = route("/f", parameters=("b",))
    entry["parameters"]["a"] = {"types": ["null", "object"]}
    made = document([told("f", entry)], {"f": {"argument": argument}})
    assert [p["name"] for p in made["paths"]["/f"]["get"]["parameters"]] == ["b"]


def test_templates_of_one_shape_are_one_path():
    argument = {"argument": several("a", a=INTEGER)}
    operations = [
        told("one", route("/{a}", parameters=("a",))),
        told("two", route("/{b}", "PUT", parameters=("b",))),
    ]
    schemas = {"one": argument, "two": {"argument": several("b", b={"type": "string"})}}
    made = document(operations, schemas)["paths"]
    assert list(made["/{a}"]) == ["get", "put"]
    assert made["/{a}"]["put"]["parameters"][0]["name"] == "a"
    assert made["/{a}"]["put"]["parameters"][0]["schema"] == {"type": "string"}


def test_raw_routes_say_what_is_known():
    operation = told("f", route("/x/{rest:path}", "*", raw=True, whole=True))
    other = told("g", route("/x/{rest:path}", "HEAD", raw=True, whole=True))
    made = document([operation, other], {})["paths"]["/x/{rest}"]
    assert list(made) == ["get", "post", "put", "patch", "delete", "head"]
    assert made["get"]["parameters"][0]["name"] == "rest"
    assert list(made["get"]["responses"]) == ["default"]
    assert "requestBody" not in made["get"]
    assert "*/*" in made["post"]["requestBody"]["content"]


def test_streams_have_more_forms():
    made = document([told("f", streams=True)], {})
    content = made["paths"]["/call/f"]["post"]["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/event-stream", "application/x-ndjson"}


def test_references_lead_somewhere():
    inner = {"Item": {"properties": {"kids": {"items": {"$ref": "#/$defs/Item"}}}}, "a[b]": {}}
    argument = {"$ref": "#/$defs/Item", "anyOf": [{"$ref": "#/$defs/a[b]"}], "$defs": inner}
    schemas = {name: {"argument": argument, "result": argument} for name in ("f", "g.h", "g/h")}
    made = document([told(name) for name in schemas], schemas)
    found = list(references(made))
    assert len(found) > 12
    for reference in found:
        place = made
        for step in reference[2:].split("/"):
            place = place[step]
    assert json.loads(json.dumps(made)) == made


def test_ids_and_schemas_of_names_alike_stay_apart():
    names = ["a b", "a_b", "a/b"]
    routes = [told(name, route(f"/{n}", status=200)) for n, name in enumerate(names)]
    schemas = {name: {"argument": {"const": name}} for name in names}
    made = document(routes, schemas)
    ids = [op["operationId"] for item in made["paths"].values() for op in item.values()]
    assert len(set(ids)) == len(ids) == 6
    said = [body(made["paths"][f"/call/{q}"]["post"])["$ref"] for q in ("a%20b", "a_b", "a%2Fb")]
    assert len(set(said)) == 3


def test_who_has_to_say_who_he_is_is_told_how():
    made = document([], {}, security=[BEARER, API_KEY])
    assert made["security"] == [{"bearer": []}, {"api_key": []}]
    assert made["components"]["securitySchemes"]["api_key"]["name"] == "X-API-Key"


def test_what_an_older_provider_says_is_enough():
    operation = told("f")
    del operation["http"]
    assert list(document([operation], {})["paths"]) == ["/call/f"]
