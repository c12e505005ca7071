"""Trains the model of the classifier example and stores it in model.skops.

    python dispatch_examples/classifier/train.py

The data are made up: three groups of points with two features, X1 and X2. Always the same ones, so
every run makes the same model.
"""

import sys
import zipfile
from pathlib import Path

import numpy as np
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

CENTRES = {0: (75.0, 80.0), 1: (20.0, 30.0), 2: (65.0, 20.0)}
"""By class, where its group is."""
EACH, SPREAD, SEED = 100, 12.0, 1
MODEL = Path(__file__).with_name("model.skops")


def data():
    """The points, a row each, and their classes."""
    numbers = np.random.default_rng(SEED)
    points = [numbers.normal(centre, SPREAD, (EACH, 2)) for centre in CENTRES.values()]
    return np.concatenate(points), np.repeat(list(CENTRES), EACH)


def train():
    """The model."""
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(*data())


if __name__ == "__main__":
    place = Path(sys.argv[1]) if sys.argv[1:] else MODEL
    skops.io.dump(train(), place, compression=zipfile.ZIP_DEFLATED)
