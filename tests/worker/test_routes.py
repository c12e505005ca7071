"""HTTP routes of operations: what ends a load, and what the host is told."""

from __future__ import annotations

import enum
import itertools
import types
from dataclasses import dataclass
from typing import Literal

import pytest

from provider.dispatch import ROUTED, Context, operation
from provider.worker.operations import DeclarationError, collect


class Colour(enum.IntEnum):
    RED = 1


@dataclass
class Line:
    item: str


class Odd:
    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        from pydantic_core import core_schema

        return core_schema.any_schema()

    @classmethod
    def __get_pydantic_json_schema__(cls, schema, handler):
        return {"anyOf": 5}


def module(**names):
    made = types.ModuleType("dispatch")
    vars(made).update(names)
    return made


def executed(text):
    made = types.ModuleType("dispatch")
    exec(compile(text, "dispatch.py", "exec"), vars(made))
    return made


NUMBERS = itertools.count()


def declared(*routes, function=None, **more):
    function = function or (lambda key: key)
    return operation(name=f"op{next(NUMBERS)}", http=list(routes), **more)(function)


def test_the_host_is_told_routes_and_what_their_texts_may_be():
    def put(
        key: int,
        ratio: float = 1.0,
        *,
        done: bool | None = None,
        tags: list[str] | None = None,
        sizes: list[int | None] = (),
        colour: Colour = Colour.RED,
        kind: Literal[1, "a"] = 1,
        line: Line | None = None,
        free=None,
        call: Context = None,
    ):
        return key

    put = operation(http=["PUT /tasks/{key}", "PUT /tasks/{key}/"], status=202)(put)
    (told,) = [entry.described() for entry in collect(module(put=put)).all]
    first, second = told["http"]
    assert first["parameters"] == {
        "key": {"types": ["integer"]},
        "ratio": {"types": ["number"]},
        "done": {"types": ["boolean", "null"]},
        "tags": {"types": ["array", "null"], "items": ["string"]},
        "sizes": {"types": ["array"], "items": ["integer", "null"]},
        "colour": {"types": ["integer"]},
        "kind": {"types": ["integer", "string"]},
        "line": {"types": ["null", "object"]},
        "free": {"types": []},
    }
    del first["parameters"], second["parameters"]
    assert first == {
        "method": "PUT",
        "path": "/tasks/{key}",
        "status": 202,
        "raw": False,
        "whole": False,
    }
    assert second == {**first, "path": "/tasks/{key}/"}


def test_an_operation_without_routes_tells_of_none():
    (told,) = [entry.described() for entry in collect(module(f=operation(lambda: 1))).all]
    assert told["http"] == []


def test_a_schema_of_the_authors_own_that_is_none_leaves_texts_alone():
    def take(x: Odd):
        return x

    (told,) = [e.described() for e in collect(module(f=declared("GET /x", function=take))).all]
    assert told["http"][0]["parameters"] == {"x": {"types": []}}
    assert told["http"][0]["whole"] is True


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"http": "GET tasks"}, "does not begin with /"),
        ({"http": ["GET /a", "BREW /b"]}, "methods are GET"),
        ({"http": "GET /metrics"}, "the provider answers /metrics itself"),
        ({"http": "GET /a", "status": 404}, "not between 200 and 299"),
        ({"http": "GET /a", "status": "200"}, "not between 200 and 299"),
        ({"http": "GET /a", "status": True}, "not between 200 and 299"),
        ({"status": 201}, "only with http"),
        ({"http_raw": True}, "only with http"),
        ({"http": "GET /a", "http_raw": True, "status": 201}, "leave out status"),
    ],
)
def test_declarations_that_make_no_sense_are_refused_at_once(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        operation(**arguments)(lambda: 1)


def test_a_variable_has_to_be_a_parameter():
    @operation(http="GET /tasks/{number}")
    def get(key: int, call: Context):
        return key

    with pytest.raises(
        DeclarationError,
        match=r"get: the route GET /tasks/\{number\} has \{number\}, "
        r"which is no parameter of get\(key: int\)",
    ):
        collect(module(get=get))

    @operation(http="GET /tasks/{call}")
    def context(call: Context):
        return 1

    with pytest.raises(DeclarationError, match="is no parameter"):
        collect(module(get=context))

    @operation(http="GET /tasks/{number}")
    def anything(**rest):
        return rest

    assert collect(module(get=anything))


def test_the_same_route_twice_names_both_functions():
    one, two = declared("GET /a/{key}"), declared("GET /a/{key}")
    with pytest.raises(
        DeclarationError,
        match=r"op\d+ \(line \d+\) and op\d+ \(line \d+\) both declare the route GET /a/\{key\}; ",
    ):
        collect(module(one=one, two=two))


def test_templates_of_one_shape_clash():
    one, two = declared("GET /a/{key}"), declared("GET /a/{x}", function=lambda x: x)
    with pytest.raises(DeclarationError, match=r"GET /a/\{key\} and GET /a/\{x\}, which every"):
        collect(module(one=one, two=two))
    with pytest.raises(DeclarationError, match="declares both GET /a and GET /a; "):
        collect(module(one=declared("GET /a", "GET /a")))


def test_other_methods_slashes_and_texts_do_not_clash():
    assert collect(
        module(
            a=declared("GET /a/{key}", "PUT /a/{key}", "GET /a/{key}/", "GET /a/b"),
            b=declared("DELETE /a/{key}", "GET /{key}/b", "GET /a/{key}/c"),
            c=declared("* /a/{key}", "GET /a/{key:path}", http_raw=True),
        )
    )


def test_raw_functions_take_one_request():
    for function in (lambda: 1, lambda a, b: 1, lambda **rest: 1):
        with pytest.raises(DeclarationError, match="with http_raw=True it needs one parameter"):
            collect(module(f=declared("GET /x/{y}", function=function, http_raw=True)))

    def parts(request):
        yield 1

    with pytest.raises(DeclarationError, match="cannot be a generator"):
        collect(module(f=declared("GET /x", function=parts, http_raw=True)))


HIDDEN = """
from provider.dispatch import operation

@operation(http="GET /a")
def view(): return "a"

@operation({second})
def view(): return "b"
"""


@pytest.mark.parametrize(
    ("second", "said"), [('http="GET /b"', "that of GET /b"), ('name="b"', "operation b")]
)
def test_a_function_that_hides_one_with_a_route_is_told_of(second, said):
    with pytest.raises(
        DeclarationError,
        match=f"two functions are called view: that of GET /a and {said}; the second hides",
    ):
        collect(executed(HIDDEN.format(second=second)))


def test_a_method_that_hides_one_with_a_route_is_told_of():
    text = HIDDEN.format(second='http="GET /b"').replace("def view()", "def view(self)")
    head, _, body = text.partition("\n@")
    indented = "\n    @" + body.replace("\n", "\n    ")
    with pytest.raises(DeclarationError, match=r"two functions are called Views\.view"):
        collect(executed(f"{head}\nclass Views:{indented}"))


def test_both_serve_where_the_first_has_another_name_too():
    text = HIDDEN.format(second='name="b", http="GET /b"')
    kept = text.replace("\n@operation(name", "\nfirst = view\n\n@operation(name")
    assert len(collect(executed(kept)).all) == 2


def test_a_function_without_routes_may_be_defined_again_as_before():
    text = HIDDEN.format(second="").replace('(http="GET /a")', '(name="a")')
    assert [found.declaration.name for found in collect(executed(text)).all] == ["view"]


def test_functions_made_by_another_one_share_its_name():
    text = """
from provider.dispatch import operation

def make(path):
    @operation(name=path[1:], http="GET " + path)
    def view(): return path
    return view

make("/unused")
a, b = make("/a"), make("/b")
"""
    assert len(collect(executed(text)).all) == 2


def test_callables_that_are_no_functions_have_routes_too():
    class Double:
        def __call__(self, n: int):
            return 2 * n

    double = operation(name="double", http="GET /double/{n}")(Double())
    assert ROUTED not in vars(double)
    assert collect(module(double=double)).call("double", 4, True) == 8
