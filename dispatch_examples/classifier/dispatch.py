"""The classifier example: a model of scikit-learn, asked over HTTP or by name.

The model is read once, before the first call. Its file is one of skops, which runs no code when it
is read; one with anything in it but the types of scikit-learn and numpy is refused. The variable
CLASSIFIER_MODEL says where it is; without it, model.skops beside this program, made by train.py.
"""

import math
import os
from pathlib import Path
from typing import Annotated, TypedDict

import numpy as np
import skops.io
from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from provider.dispatch import health, operation


def finite(value):
    """A number that came as one, or as its text."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise PydanticCustomError("feature", "Input should be a finite number, or the text of one")
    return number


IN_JSON = WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]})
Feature = Annotated[float, BeforeValidator(finite), IN_JSON]


class Prediction(TypedDict):
    """The answer."""

    prediction: int


class Classifier:
    """Made once, when this program is loaded. If that fails, the provider does not start."""

    def __init__(self):
        path = Path(os.environ.get("CLASSIFIER_MODEL", Path(__file__).with_name("model.skops")))
        strange = skops.io.get_untrusted_types(file=path)
        if strange:
            raise ValueError(f"{path} is not read, for it has {', '.join(strange)} in it")
        self.model = skops.io.load(path, trusted=[])
        # The first prediction takes longer than the others; and a model of other features has none.
        self.classify(0.0, 0.0)

    def classify(self, *features):
        """The class of one point."""
        return self.model.predict(np.array([features]))[0]

    @operation(http="POST /predict")
    def predict(self, X1: Feature, X2: Feature) -> Prediction:
        """The class of a point with these two features."""
        return {"prediction": self.classify(X1, X2)}

    @health
    def predicts(self):
        """Asked between calls; an exception says that something is wrong."""
        return self.classify(0.0, 0.0) in self.model.classes_
