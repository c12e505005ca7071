"""A WSGI application behind a raw operation is given what WSGI promises."""

from __future__ import annotations

import importlib
import wsgiref.validate

import pytest


@pytest.fixture
def answer():
    return importlib.import_module("wsgi_bridge").answer


def request(method="POST", path="/", query=(), headers=(), body=b""):
    return {
        "method": method,
        "path": path,
        "query": [list(pair) for pair in query],
        "headers": [list(pair) for pair in headers],
        "body": body,
    }


def echo(environ, start_response):
    """Answers with what it was given, a line each."""
    start_response("201 Made", [("Content-Type", "text/plain"), ("Set-Cookie", "a=1")])
    given = {name: value for name, value in environ.items() if name.isupper()}
    lines = [f"{name}={value}" for name, value in sorted(given.items())]
    length = int(environ["CONTENT_LENGTH"])
    return ["\n".join(lines).encode("latin-1"), b"\n\n", environ["wsgi.input"].read(length)]


def given_to(answer, app=echo, **parts):
    told, _, body = answer(app, request(**parts))["body"].partition(b"\n\n")
    return dict(line.split("=", 1) for line in told.decode("latin-1").split("\n")), body


def test_an_application_by_the_book_is_content(answer):
    app = wsgiref.validate.validator(echo)
    parts = {"headers": [("Content-Type", "text/x"), ("Host", "here:8000")], "body": b"x"}
    given, body = given_to(answer, app, query=[("a", "1")], **parts)
    assert body == b"x"
    assert (given["HTTP_HOST"], given["CONTENT_TYPE"]) == ("here:8000", "text/x")


def test_the_answer_is_whole(answer):
    said = answer(echo, request())
    assert (said["status"], said["headers"]) == (
        201,
        [["Content-Type", "text/plain"], ["Set-Cookie", "a=1"]],
    )


def test_paths_and_queries_are_bytes_in_disguise(answer):
    query = [("a b", "\u00e9&="), ("a b", ""), ("c", "+")]
    given, _ = given_to(answer, path="/\u00e9/%2F", query=query)
    assert given["PATH_INFO"].encode("latin-1").decode() == "/\u00e9/%2F"
    assert given["QUERY_STRING"] == "a+b=%C3%A9%26%3D&a+b=&c=%2B"


def test_headers_are_joined_and_none_is_forged(answer):
    given, body = given_to(
        answer,
        headers=[
            ("x-many", "1"),
            ("X-Many", "2"),
            ("x-accent", "\u00e9"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("x_many", "forged"),
            ("content-length", "1000"),
            ("transfer-encoding", "chunked"),
            ("proxy", "evil"),
        ],
        body=b"body",
    )
    assert (given["HTTP_X_MANY"], given["HTTP_COOKIE"]) == ("1,2", "a=1; b=2")
    assert given["HTTP_X_ACCENT"] == "\u00e9"
    assert (given["CONTENT_LENGTH"], body) == ("4", b"body")
    assert not {"HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"} & given.keys()


def test_what_is_written_comes_before_what_is_returned(answer):
    def old(environ, start_response):
        write = start_response("200 OK", [])
        write(b"first ")
        yield b"second"

    assert answer(old, request())["body"] == b"first second"


def test_an_answer_is_closed_also_when_it_breaks(answer):
    class Broken:
        closed = False

        def __iter__(self):
            yield b"x"
            raise OSError("broken")

        def close(self):
            self.closed = True

    broken = Broken()

    def app(environ, start_response):
        start_response("200 OK", [])
        return broken

    with pytest.raises(OSError, match="broken"):
        answer(app, request())
    assert broken.closed


def test_a_second_beginning_is_for_errors(answer):
    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            raise OSError
        except OSError as error:
            info = (type(error), error, error.__traceback__)
            start_response("500 Broken", [("X-Why", "it")], info)
        return []

    assert answer(app, request()) == {"status": 500, "headers": [["X-Why", "it"]], "body": b""}

    def twice(environ, start_response):
        start_response("200 OK", [])
        start_response("201 Made", [])
        return []

    with pytest.raises(RuntimeError, match="began a second answer"):
        answer(twice, request())
    with pytest.raises(RuntimeError, match="began no answer"):
        answer(lambda environ, start_response: [b"x"], request())
