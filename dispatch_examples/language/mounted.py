"""Handlers written for model-serving, served by the provider as they are.

    provider run --dispatch dispatch_examples/language/mounted.py --http 8000

The application is one raw operation: its routes, `/__ping` and `/__metrics` are where they were.
And what it serves can be called by name from anywhere on the NATS network.
"""

import sys
from pathlib import Path

from provider.dispatch import OperationError, operation

# Beside the handlers and not among them: what stands on sys.path is a library, loaded once.
ADAPTER = str(Path(__file__).parent / "adapter")
if ADAPTER not in sys.path:
    sys.path.append(ADAPTER)

import serving_handler  # noqa: E402  which imports the adapter
import serving_handler_cached  # noqa: E402
from aylien_model_serving.app_factory import InvalidRequest  # noqa: E402
from wsgi_bridge import answer  # noqa: E402

serving_handler.run_app()
app = serving_handler_cached.run_app()  # there is one application


@operation(http="* /{path:path}", http_raw=True)
def application(request: dict) -> dict:
    """The application, whole: a request of HTTP and its answer."""
    return answer(app, request)


@operation
def predict(title: str | None = None, body: str | None = None, enrichments: dict | None = None):
    """The handler, without HTTP."""
    try:
        return serving_handler.predict(title, body, enrichments)
    except InvalidRequest as error:
        raise OperationError(str(error), code=400) from None
