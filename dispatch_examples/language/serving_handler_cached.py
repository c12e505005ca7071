"""The same handler behind a cache: what was asked before is answered without it."""

import language_schema as schema
from aylien_model_serving.cached_app_factory import CachedFlaskAppWrapper
from serving_handler import predict


def process_request_cached():
    """The view. Its name stands in the metrics."""
    return CachedFlaskAppWrapper.process_json(predict, schema=schema)


def run_app():
    """The application."""
    return CachedFlaskAppWrapper.create_app(
        [{"endpoint": "/cached", "callable": process_request_cached, "methods": ["POST"]}]
    )
