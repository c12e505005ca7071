"""Routes of handlers: named, told apart, and replaced when a handler is loaded again."""

from __future__ import annotations

import functools
import string
import wsgiref.util
import wsgiref.validate

import pytest
import werkzeug.routing


def test_there_is_one_application(factory, cached_factory, client):
    first = factory.FlaskAppWrapper()
    assert first is not factory.FlaskAppWrapper()
    apps = [factory.FlaskAppWrapper.create_app() for _ in range(3)]
    apps += [client.application, cached_factory.CachedFlaskAppWrapper.create_app()]
    assert all(app is first.app for app in apps)
    assert client.post("/", json={"body": "x"}).status_code == 200


def test_the_application_is_one_of_wsgi(client):
    said = []
    environ = client.get("/").request.environ
    environ = {name: value for name, value in environ.items() if "." not in name}
    wsgiref.util.setup_testing_defaults(environ)
    environ.update(REQUEST_METHOD="GET", PATH_INFO="/__ping")
    app = wsgiref.validate.validator(client.application)
    body = app(environ, lambda status, headers, exc_info=None: said.append(status))
    assert b"".join(body) == b"Success"
    body.close()
    assert said == ["200 OK"]


def test_an_object_can_be_a_route(cached_factory, client, serve):
    class Classifier:
        calls = 0

        def __call__(self, text):
            self.calls += 1
            return {"length": len(text)}

    classifier = Classifier()
    serve("/classify", classifier)
    assert client.post("/classify", json={"text": "four"}).json == {"length": 4}
    assert 'endpoint="Classifier"' in client.get("/__metrics").text
    cached_factory.CachedFlaskAppWrapper.create_app(
        [{"endpoint": "/kept", "callable": functools.partial(classifier), "methods": ["POST"]}]
    )
    assert client.post("/kept", json={"text": "four"}).json == {"length": 4}
    assert client.post("/kept", json={"text": "four"}).json == {"length": 4}
    assert classifier.calls == 2


def view_called(name, module, answer):
    def view():
        return answer

    view.__name__, view.__qualname__, view.__module__ = name, name, module
    return view


def test_two_functions_of_one_name_are_told_apart(factory, client):
    here = view_called("twice", "here", "here")
    there = view_called("twice", "there", "there")
    routes = [
        {"endpoint": "/here", "callable": here, "methods": ["GET"]},
        {"endpoint": "/again", "callable": here, "methods": ["GET"]},
    ]
    also = {"endpoint": "/there", "callable": there, "methods": ["GET"]}
    with pytest.raises(AssertionError, match="two routes have functions called 'twice'"):
        factory.FlaskAppWrapper.create_app([*routes, also])
    assert client.get("/here").status_code == 404
    factory.FlaskAppWrapper.create_app(routes)
    with pytest.raises(AssertionError, match="there is a route with a function called 'twice'"):
        factory.FlaskAppWrapper.create_app([also])
    assert [client.get(path).text for path in ("/here", "/again")] == ["here", "here"]


def test_a_route_declared_twice_is_refused(factory, client):
    one, two = view_called("one", "here", "one"), view_called("two", "here", "two")
    routes = [
        {"endpoint": "/once", "callable": one, "methods": ["GET"]},
        {"endpoint": "/once", "callable": two, "methods": ["POST", "get"]},
    ]
    with pytest.raises(AssertionError, match="the route '/once' is declared twice"):
        factory.FlaskAppWrapper.create_app(routes)
    routes[1]["methods"] = ["POST"]
    factory.FlaskAppWrapper.create_app(routes)
    assert (client.get("/once").text, client.post("/once").text) == ("one", "two")


def test_a_handler_that_was_loaded_again_takes_over(client, serve):
    serve("/old", view_called("reloaded", "handler", "old"), ["GET"])
    assert client.get("/old").text == "old"
    serve("/new", view_called("reloaded", "handler", "new"), ["GET"])
    assert client.get("/new").text == "new"
    assert client.get("/old").status_code == 404
    # What the rules of others know of OPTIONS is not lost.
    assert set(client.options("/__metrics").allow) == {"GET", "HEAD", "OPTIONS"}


def test_a_route_may_have_variables_of_its_own_kind(client, serve):
    class Letter(werkzeug.routing.BaseConverter):
        regex = f"[{string.ascii_letters}]"

    def letter(found):
        return found

    client.application.url_map.converters["letter"] = Letter
    for _ in range(2):
        serve("/letters/<letter:found>", letter, ["GET"])
    assert client.get("/letters/x").text == "x"
    assert client.get("/letters/5").status_code == 404
