"""Handlers written for model-serving, served by the provider as they are.

    provider run --dispatch dispatch_examples/language/mounted.py --http 8000

The application is one raw operation: its routes, `/__ping` and `/__metrics` are where they were.
And what it serves can be called by name from anywhere on the NATS network.
"""

import serving_handler
import serving_handler_cached
from aylien_model_serving.app_factory import FlaskAppWrapper, InvalidRequest
from wsgi_bridge import answer

from provider.dispatch import OperationError, operation, startup


@startup
def add_routes():
    """Done when everything was loaded, so that a save that does not load changes no route."""
    serving_handler.run_app()
    serving_handler_cached.run_app()


@operation(http="* /{path:path}", http_raw=True)
def application(request: dict) -> dict:
    """The application, whole: a request of HTTP and its answer."""
    return answer(FlaskAppWrapper.app, request)


@operation
def predict(title: str | None = None, body: str | None = None, enrichments: dict | None = None):
    """The handler, without HTTP."""
    try:
        return serving_handler.predict(title, body, enrichments)
    except InvalidRequest as error:
        raise OperationError(str(error), code=400) from None
