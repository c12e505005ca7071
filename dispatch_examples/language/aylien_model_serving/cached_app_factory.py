"""The pipeline with a memory: the same body is answered again without the handler.

The rule of this file: an answer is remembered for what was asked, and only if it was one. What is
asked is the method, the URL, the handler, the schema, and the JSON of the body however it was
written; errors are not remembered. The rest is Flask-Caching, with its settings.
"""

import hashlib
import json

from flask import request
from flask_caching import Cache
from werkzeug.exceptions import BadRequest

from aylien_model_serving.app_factory import FlaskAppWrapper, add_routes
from aylien_model_serving.kept import once


class CachedFlaskAppWrapper:
    """The application of the process, with a cache that can be configured.

    Attributes:
        cache: of Flask-Caching. A backend that keeps files reads them with pickle: give it a folder
            that nobody else can write to.
    """

    cache = once("cache", Cache)

    @staticmethod
    def process_json(callable_handler, schema=None):
        """As `FlaskAppWrapper.process_json`, or what it answered before."""
        key = _key(callable_handler, schema)
        if key is None:
            return FlaskAppWrapper.process_json(callable_handler, schema)
        return _remembered(key, callable_handler, schema)

    @staticmethod
    def create_app(routes=None, cache_config=None):
        """As `FlaskAppWrapper.create_app`, with an empty cache.

        Args:
            routes: as there; an object without a name is called through the cache.
            cache_config: settings of Flask-Caching; the memory of this process when left out.
        """
        app = add_routes(routes or [], CachedFlaskAppWrapper.process_json)
        if cache_config is None:
            cache_config = {"CACHE_TYPE": "SimpleCache", "CACHE_THRESHOLD": 100000}
        CachedFlaskAppWrapper.cache.init_app(app, cache_config)
        return app


@CachedFlaskAppWrapper.cache.cached(
    make_cache_key=lambda key, _handler, _schema: key,
    response_filter=lambda response: response.status_code == 200,
)
def _remembered(_key, handler, schema):
    return FlaskAppWrapper.process_json(handler, schema)


def _key(handler, schema):
    """What stands for the request and its handler, None for a body that is no JSON."""
    try:
        body = request.get_json(force=True)
    except BadRequest:
        return None
    asked = [
        request.method,
        request.full_path,
        _name(handler),
        None if schema is None else _name(schema),
        body,
    ]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _name(thing):
    if not hasattr(thing, "__name__"):
        thing = type(thing)
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', thing.__name__)}"
