"""The language example: which language a text is in, asked by name or over HTTP.

What a handler of model-serving does, as operations: the body is checked, the model is asked, the
answer is checked, and the same question is answered from memory for five minutes. `mounted.py` has
the other way, a handler of model-serving as it is.
"""

from typing import Any

import language_schema as schema
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from language_model import VERSION, predict_lang
from pydantic import BaseModel, Field

from provider.dispatch import OperationError, health, operation, startup

# --- checked by pydantic ---


class Value(BaseModel, extra="forbid"):
    """The text of an article."""

    body: str | None = None


class Enrichment(BaseModel, extra="forbid"):
    """Something found in an article."""

    value: Value | None = None


class Enrichments(BaseModel, extra="forbid"):
    """What was found."""

    extracted: Enrichment | None = None


class Prediction(BaseModel):
    """The answer."""

    language: str
    confidence: float = Field(ge=0, le=1)
    version: str = VERSION
    error: str | None = "Not an error"


@operation(http="POST /", cache=300)
def predict(
    title: str | None = None,
    body: str | None = None,
    enrichments: Enrichments | None = None,
    id: str | None = None,  # noqa: ARG001  a caller's own number for the article
) -> Prediction:
    """The language of an article, from its body or else from what was extracted."""
    extracted = enrichments.extracted if enrichments else None
    if body is None and extracted and extracted.value:
        body = extracted.value.body
    return Prediction(**asked(title, body))


# --- checked by protobuf ---


@operation(http="POST /protobuf", cache=300)
def predict_protobuf(request: dict[str, Any] | bytes) -> dict:
    """The same for a message `app.Request` of language.proto, as JSON or as its bytes."""
    message = read(request)
    body = message.body or message.enrichments.extracted.value.body
    response = schema.Response(
        error="Not an error", version=VERSION, **asked(message.title or None, body or None)
    )
    return json_format.MessageToDict(response, preserving_proto_field_name=True)


def read(request):
    """The message a caller sent."""
    message = schema.Request()
    try:
        if isinstance(request, bytes):
            message.ParseFromString(request)
        else:
            json_format.ParseDict(request, message)
    except (json_format.ParseError, DecodeError) as error:
        raise OperationError(str(error), code=422) from None
    return message


# --- the model ---


def asked(title, body):
    """What the model says to the two of them."""
    if title is None and body is None:
        raise OperationError("Missing text", code=400)
    language, confidence = predict_lang(f"{title or ''} {body or ''}")
    return {"language": language, "confidence": confidence}


@startup
def warm_up():
    """The first caller does not wait longer than the others."""
    predict_lang("")


@health
def knows_english():
    """Asked between calls."""
    return predict_lang("To be or not to be")[0] == "en"
