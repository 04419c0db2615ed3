"""How likely a row is to fail, learnt from rows that did and rows that did not."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

Array = np.ndarray[Any, np.dtype[np.float64]]

_LEVEL_SPREAD = 3.0
_SLOPE_SPREAD = 6.0
"""Prior of what a column does to the log odds, from its one end to the other."""
_BEND_SPREAD = 4.0
"""Prior of how far the log odds are from a plane."""
_BEND_LENGTH = 0.6
"""How far a bend reaches, relative to how far rows are from each other."""
_MOST_ROWS = 400
"""What learning takes grows with the third power of them."""
_MOST_STEPS = 50
_CONVERGED = 1e-6


def learnt_from(count: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Which of so many rows a model learns from: all, or as many as it can, evenly."""
    return np.linspace(0, count - 1, min(count, _MOST_ROWS)).astype(np.intp)


class FailureModel:
    """Gaussian process classification by Laplace's approximation (Rasmussen and Williams 2006,
    algorithms 3.1 and 3.2).

    Running out of memory is a threshold on a sum of products of what the params ask for: on the
    scales on which numbers are searched, nearly a plane, with bends. A value that always fails is
    a plane too.
    """

    def __init__(self, rows: Array, failed: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """
        Args:
            rows: ``[n, columns]``, each column within 0 and 1.
            failed: ``[n]``.
        """
        kept = learnt_from(len(rows))
        self._rows, targets = rows[kept], failed[kept].astype(np.float64)
        self._length = _BEND_LENGTH * float(np.sqrt(2 * self._rows.var(axis=0).sum())) or 1.0
        covariance = self._covariance(self._rows)
        odds = np.zeros(len(targets))
        for _ in range(_MOST_STEPS):
            chance = expit(odds)
            weights = np.maximum(chance * (1 - chance), 1e-9)
            self._roots = np.sqrt(weights)
            inner = np.eye(len(targets)) + np.outer(self._roots, self._roots) * covariance
            self._factor = cho_factor(inner, lower=True)
            wanted = weights * odds + targets - chance
            inside = cho_solve(self._factor, self._roots * (covariance @ wanted))
            before, odds = odds, covariance @ (wanted - self._roots * inside)
            if np.abs(odds - before).max() < _CONVERGED:
                break
        self._pull = targets - expit(odds)

    def chance(self, rows: Array) -> Array:
        """The probability that each of some rows fails, ``[m]``: that of the expected odds, drawn
        to a half by how little is known of them (MacKay 1992)."""
        across = self._covariance(rows)
        inside = self._roots[:, None] * across.T
        known = np.einsum("nm,nm->m", inside, cho_solve(self._factor, inside))
        slopes = _SLOPE_SPREAD**2 * ((rows - 0.5) ** 2).sum(axis=1)
        unknown = slopes + _LEVEL_SPREAD**2 + _BEND_SPREAD**2 - known
        return np.asarray(
            expit(across @ self._pull / np.sqrt(1 + np.pi / 8 * np.maximum(unknown, 0)))
        )

    def _covariance(self, rows: Array) -> Array:
        """Of the log odds of some rows and those that were learnt from: a level, a slope for each
        column, and bends."""
        mine, theirs = rows - 0.5, self._rows - 0.5
        products = mine @ theirs.T
        squares = (mine**2).sum(axis=1)[:, None] + (theirs**2).sum(axis=1) - 2 * products
        bends = np.exp(-0.5 * np.maximum(squares, 0) / self._length**2)
        return np.asarray(_LEVEL_SPREAD**2 + _SLOPE_SPREAD**2 * products + _BEND_SPREAD**2 * bends)
