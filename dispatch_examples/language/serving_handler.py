"""A handler as model-serving has them: it knows that package and nothing of the provider.

Where the package is, the real one or the adapter, `run_app()` makes the application, for gunicorn
(`gunicorn 'serving_handler:run_app()'`) as for Flask's test client.
"""

import language_schema as schema
from aylien_model_serving.app_factory import FlaskAppWrapper, InvalidRequest
from language_model import VERSION, predict_lang


def predict(title=None, body=None, enrichments=None):
    """Called with the members of the JSON object."""
    if body is None:
        body = enrichments["extracted"]["value"]["body"]
    if title is None and body is None:
        raise InvalidRequest("Missing text")
    language, confidence = predict_lang(f"{title} {body}")
    return {
        "language": language,
        "confidence": confidence,
        "error": "Not an error",
        "version": VERSION,
    }


def process_request():
    """The view. Its name stands in the metrics."""
    return FlaskAppWrapper.process_json(predict, schema=schema)


def run_app():
    """The application."""
    return FlaskAppWrapper.create_app(
        [{"endpoint": "/", "callable": process_request, "methods": ["POST"]}]
    )
