"""How likely a row is to fail, learnt from rows that did and rows that did not."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

Array = np.ndarray[Any, np.dtype[np.float64]]

_WEIGHT_SPREAD = 6.0
"""Prior of what a column does to the log odds, from its one end to the other."""
_LEVEL_SPREAD = 3.0


class FailureModel:
    """Logistic regression with a normal prior.

    Running out of memory is a threshold on a product of what the params ask for: on the scales on
    which numbers are searched, nearly a plane. A value that always fails is one too.
    """

    def __init__(self, rows: Array, failed: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """
        Args:
            rows: ``[n, columns]``, each column within 0 and 1.
            failed: ``[n]``.
        """
        design = _design(rows)
        signs = np.where(failed, 1.0, -1.0)
        precision = np.full(design.shape[1], _WEIGHT_SPREAD**-2)
        precision[-1] = _LEVEL_SPREAD**-2

        def loss(weights: Array) -> tuple[float, Array]:
            margins = signs * (design @ weights)
            value = np.logaddexp(0, -margins).sum() + 0.5 * (precision * weights) @ weights
            return float(value), precision * weights - design.T @ (signs * expit(-margins))

        start = np.zeros(design.shape[1])
        self._weights = minimize(loss, start, jac=True, method="L-BFGS-B").x

    def chance(self, rows: Array) -> Array:
        """The probability that each of some rows fails, ``[m]``."""
        return np.asarray(expit(_design(rows) @ self._weights))


def _design(rows: Array) -> Array:
    return np.column_stack([rows - 0.5, np.ones(len(rows))])
