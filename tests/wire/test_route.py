"""Templates of routes: what they say, and what makes none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.wire.route import LONGEST, Route, read_route, read_template


def test_a_template_has_segments_names_and_maybe_a_rest():
    template = read_template("/shops/{shop}/tasks/{id}")
    assert template.fixed == ("shops", None, "tasks", None)
    assert template.names == ("shop", "id")
    assert not template.rest
    assert read_template("/files/{name:path}").rest
    assert read_template("/").fixed == ("",)
    assert read_template("/tasks/").fixed == ("tasks", "")
    assert read_template("/größe/a.b-c_d~e").fixed == ("größe", "a.b-c_d~e")


def test_templates_of_one_shape_fit_the_same_paths():
    def shape(path):
        return read_template(path).shape

    assert shape("/a/{x}") == shape("/a/{y}")
    assert shape("/a/{x}") != shape("/a/{x}/")
    assert shape("/a/{x}") != shape("/a/x")
    assert shape("/a/{x}") != shape("/a/{x:path}")


def test_a_route_reads_back_as_it_was_written():
    route = read_route("PUT /tasks/{id}", status=201)
    assert route == Route("PUT", "/tasks/{id}", 201, raw=False)
    assert str(route) == "PUT /tasks/{id}"
    assert route.as_map() == {"method": "PUT", "path": "/tasks/{id}", "status": 201, "raw": False}
    assert read_route("* /{path:path}", raw=True).method == "*"
    assert read_route("HEAD /x", raw=True).method == "HEAD"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/tasks", "does not begin with a method"),
        ("get /tasks", "methods are GET, POST, PUT, PATCH, DELETE$"),
        ("FETCH /tasks", "does not begin with a method"),
        ("GET", "does not begin with /"),
        ("GET  /tasks", "does not begin with /"),
        ("GET tasks", "does not begin with /"),
        ("HEAD /tasks", "HEAD is answered by the provider"),
        ("OPTIONS /tasks", "OPTIONS is answered by the provider"),
        ("* /tasks", r"the method \* is for routes with http_raw"),
        ("GET /a//b", "a segment is empty"),
        ("GET //", "a segment is empty"),
        ("GET /a/../b", r"the segment \.\. never"),
        ("GET /.", r"the segment \. never"),
        ("GET /a b", "stand for something else"),
        ("GET /a%20b", "stand for something else"),
        ("GET /a?x=1", "stand for something else"),
        ("GET /a#x", "stand for something else"),
        ("GET /a\\b", "stand for something else"),
        ("GET /a\r\nX-Header: 1", "stand for something else"),
        ("GET /{id}.json", "a variable is a whole segment"),
        ("GET /{id", "a variable is a whole segment"),
        ("GET /id}", "a variable is a whole segment"),
        ("GET /{}", "no name of a parameter"),
        ("GET /{1d}", "no name of a parameter"),
        ("GET /{a b}", "no name of a parameter"),
        ("GET /{id}/{id}", r"\{id\} stands there twice"),
        ("GET /{id:int}", "only {name} and {name:path} are known"),
        ("GET /{p:path}/x", "nothing can follow it"),
        ("GET /{p:path}", "is for routes with http_raw"),
        ("GET /call", "the provider answers /call itself"),
        ("POST /call/{x}", "the provider answers /call itself"),
        ("GET /health/live", "the provider answers /health itself"),
        ("GET /metrics", "the provider answers /metrics itself"),
        ("GET /openapi.json", "the provider answers /openapi.json itself"),
        ("GET /docs/", "the provider answers /docs itself"),
        ("GET /" + "x" * LONGEST, "more than 512"),
        (5, "is no text"),
    ],
)
def test_what_makes_no_route_is_told_why(text, reason):
    with pytest.raises(ValueError, match=reason):
        read_route(text)


def test_raw_routes_may_not_have_everything_either():
    with pytest.raises(ValueError, match=r"HEAD, OPTIONS, \*$"):
        read_route("TRACE /x", raw=True)
    with pytest.raises(ValueError, match="the provider answers"):
        read_route("* /call/{x:path}", raw=True)


@given(st.text(max_size=40))
def test_any_text_is_a_template_or_told_why(text):
    try:
        template = read_template("/" + text)
    except ValueError as error:
        assert str(error)  # noqa: PT017  either will do
    else:
        assert len(template.fixed) == text.count("/") + 1
