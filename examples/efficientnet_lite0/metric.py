"""Two figures: how often the class is the float net's, among all crops and among those where that net was sure."""

import numpy as np


def agreement(outputs: np.ndarray, float_answers: np.ndarray) -> dict[str, float]:
    """Shares of equal classes; `sure` counts the crops to which the float net gives a probability of 0.5 or more.

    >>> agreement(np.eye(3), np.array([[0, 0.9], [1, 0.8], [0, 0.2]]))["sure"]
    1.0
    """
    classes, probabilities = float_answers.T
    same = outputs.argmax(1) == classes
    sure = probabilities >= 0.5
    return {"all": float(same.mean()), "sure": float(same[sure].mean()) if sure.any() else 1.0}
