"""The answer to an image: every label with its probability."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel

Probabilities = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


class Prediction(BaseModel):
    """One label with its probability in 0..1."""

    label: str
    probability: float


class Predictions(BaseModel):
    """All labels, best first; their probabilities sum to 1."""

    predictions: list[Prediction]


def best_first(labels: Sequence[str], probabilities: Probabilities) -> Predictions:
    """Sort the labels of one image by probability; equal ones stay in the labels' order."""
    order = np.argsort(-probabilities, kind="stable")
    return Predictions(
        predictions=[Prediction(label=labels[index], probability=float(probabilities[index])) for index in order]
    )
