"""The adapter for handlers of model-serving, and what it serves in these tests."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, clean_environment

LANGUAGE = Path(__file__).parents[2] / "dispatch_examples" / "language"
OK = b'{"confidence":0.71,"error":"Not an error","language":"en","version":"0.0.1"}\n'
MALFORMED = (
    b'{"error":"400 Bad Request: The browser (or proxy) sent a request that this server could not '
    b'understand."}\n'
)
INSIDE = b'{"enrichments":{"extracted":{"value":{"body":%s}}}}'


NO_BYTECODE = {"PYTHONDONTWRITEBYTECODE": "1"}
"""What is in the folders of examples, goes into the wheel."""


@pytest.fixture(scope="module", autouse=True)
def importable():
    """The adapter and its handlers can be imported; as a library, the adapter stays."""
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(LANGUAGE))
    yield
    sys.path.remove(str(LANGUAGE))
    sys.dont_write_bytecode = written
    for name in ("serving_handler", "serving_handler_cached", "language_schema", "language_model"):
        sys.modules.pop(name, None)


@pytest.fixture
def factory():
    return importlib.import_module("aylien_model_serving.app_factory")


@pytest.fixture
def cached_factory():
    return importlib.import_module("aylien_model_serving.cached_app_factory")


@pytest.fixture
def client():
    return importlib.import_module("serving_handler").run_app().test_client()


@pytest.fixture
def honest(factory):
    factory.FlaskAppWrapper.app.config["HONEST_STATUS"] = True
    yield
    factory.FlaskAppWrapper.app.config["HONEST_STATUS"] = False


@pytest.fixture
def serve(factory):
    """Adds a route to the application."""

    def add(endpoint, view, methods=("POST",)):
        routes = [{"endpoint": endpoint, "callable": view, "methods": list(methods)}]
        return factory.FlaskAppWrapper.create_app(routes)

    return add


@pytest.fixture
def process(factory):
    """Makes a view of a name that calls a handler."""

    def view_of(name, handler, schema=None):
        def view():
            return factory.FlaskAppWrapper.process_json(handler, schema)

        view.__name__ = view.__qualname__ = name
        return view

    return view_of


def python(arguments, environment=None, folder=None, *, check=True):
    """Run this interpreter."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**(environment or clean_environment()), **NO_BYTECODE},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=check,
    )
