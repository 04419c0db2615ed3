"""A Gaussian process over rows of numbers: what a metric is expected to be, and how surely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

Array = np.ndarray[Any, np.dtype[np.float64]]

_LENGTH_SPREAD = 1.2
_NOISE_MIDDLE, _NOISE_SPREAD = float(np.log(3e-3)), 1.5
"""Prior of the part of the variance that no param explains: measurements agree within 5 % of the
spread of a metric, give or take a factor of two."""
_LEAST_NOISE = 1e-5
_ROOT_5 = float(np.sqrt(5.0))
_BOUNDS = (-4.0, 4.0)
_FIRST_STEPS, _LATER_STEPS = 40, 15


@dataclass(frozen=True)
class Kernel:
    """The hyperparameters, as logarithms: what the fit finds, and where the next one begins."""

    lengths: Array
    """Of each group of columns."""
    variance: float
    noise: float

    @classmethod
    def prior(cls, groups: int) -> Self:
        """What is expected before anything is measured. In more dimensions rows are further apart
        and the process is no rougher for that: lengths grow with the root of their number
        (Hvarfner et al. 2024, "Vanilla Bayesian Optimization Performs Great in High Dimensions").
        """
        lengths = np.full(groups, _length_middle(groups))
        return cls(lengths, 0.0, _NOISE_MIDDLE)

    def vector(self) -> Array:
        """All of them in a row."""
        return np.array([*self.lengths, self.variance, self.noise])


def _length_middle(groups: int) -> float:
    return 0.5 * float(np.log(max(groups, 1) / 4))


class GaussianProcess:
    """Matérn 5/2 with a length for each group of columns (Rasmussen and Williams 2006, chapters 2,
    4 and 5); hyperparameters at the maximum of likelihood times prior."""

    def __init__(
        self,
        rows: Array,
        values: Array,
        groups: np.ndarray[Any, np.dtype[np.intp]],
        *,
        noise: Array | None = None,
        kernel: Kernel | None = None,
        fit: bool = True,
    ) -> None:
        """
        Args:
            rows: What was measured, ``[n, columns]``, each column within 0 and 1.
            values: What came of it, ``[n]``.
            groups: For each column, the number of its group: columns of one param share a length.
            noise: Standard error of each value, ``[n]``, in the values' unit; none: unknown.
            kernel: Where the fit begins, or what is taken as it is; none: the prior.
            fit: Whether to find the hyperparameters.
        """
        self._rows, self._groups = rows, groups
        self._middle = float(values.mean())
        spread = float(values.std())
        self._spread = spread if spread > 1e-12 else 1.0
        self._values = (values - self._middle) / self._spread
        known = np.zeros(len(rows)) if noise is None else (noise / self._spread) ** 2
        self._known_noise = known
        count = int(groups.max()) + 1 if len(groups) else 0
        begin = kernel or Kernel.prior(count)
        steps = _LATER_STEPS if kernel else _FIRST_STEPS
        self.kernel = self._fitted(begin, steps) if fit and spread > 1e-12 else begin
        self._factorize()

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the quantity itself, without the noise of measuring.

        Args:
            rows: ``[m, columns]``.
        """
        cross = self._variance * _matern(cdist(rows * self._scale, self._rows * self._scale))
        mean = cross @ self._weights
        explained = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = self._variance - np.einsum("ij,ij->j", explained, explained)
        deviation = np.sqrt(np.maximum(variance, 1e-10))
        return mean * self._spread + self._middle, deviation * self._spread

    def left_out_log_densities(self) -> Array:
        """How well each value is foretold by all others: logarithms of densities, ``[n]``
        (their equations 5.10 to 5.12)."""
        n = len(self._values)
        inverse = cho_solve((self._factor, True), np.eye(n), check_finite=False)
        variance = 1 / np.diag(inverse)
        error = self._weights * variance
        densities = -0.5 * np.log(variance) - 0.5 * error**2 / variance
        return np.asarray(densities - np.log(self._spread))

    def _factorize(self) -> None:
        kernel = self.kernel
        self._variance = float(np.exp(kernel.variance))
        self._scale = np.exp(-kernel.lengths)[self._groups]
        scaled = self._rows * self._scale
        covariance = self._variance * _matern(cdist(scaled, scaled))
        covariance[np.diag_indices(len(covariance))] += self._noise(kernel.noise)
        self._factor = cholesky(covariance, lower=True, check_finite=False)
        self._weights = cho_solve((self._factor, True), self._values, check_finite=False)

    def _noise(self, log_noise: float) -> Array:
        return np.asarray(self._known_noise + np.exp(log_noise) + _LEAST_NOISE)

    def _fitted(self, begin: Kernel, steps: int) -> Kernel:
        """Only lengths of groups that differ somewhere are looked for: of others nothing is known
        but the prior."""
        squares = self._squares()
        varied = np.flatnonzero(squares.any(axis=(1, 2)))
        prior = Kernel.prior(len(squares))
        squares = squares[varied]
        first = np.array([*begin.lengths[varied], begin.variance, begin.noise])
        middle = np.array([*prior.lengths[varied], prior.variance, prior.noise])
        spreads = np.array([*[_LENGTH_SPREAD] * len(squares), 1.0, _NOISE_SPREAD])
        found = minimize(
            self._loss,
            first,
            args=(squares, middle, spreads),
            jac=True,
            method="L-BFGS-B",
            bounds=[*[_BOUNDS] * len(squares), _BOUNDS, (-12.0, 0.0)],
            options={"maxiter": steps},
        )
        lengths = prior.lengths.copy()
        lengths[varied] = found.x[:-2]
        return Kernel(lengths, float(found.x[-2]), float(found.x[-1]))

    def _squares(self) -> Array:
        """Squared distances within each group, ``[groups, n, n]``."""
        count = int(self._groups.max()) + 1 if len(self._groups) else 0
        n = len(self._rows)
        squares = np.zeros((count, n, n))
        for column, group in zip(self._rows.T, self._groups, strict=True):
            squares[group] += (column[:, None] - column[None, :]) ** 2
        return squares

    def _loss(
        self, at: Array, squares: Array, middle: Array, spreads: Array
    ) -> tuple[float, Array]:
        """Negative log of likelihood times prior, and its gradient (their equation 5.9)."""
        n = len(self._values)
        scales = np.exp(-2 * at[:-2])
        distances = np.sqrt(np.einsum("k,kij->ij", scales, squares))
        decay = np.exp(-_ROOT_5 * distances)
        shape = (1 + _ROOT_5 * distances + 5 / 3 * distances**2) * decay
        variance = np.exp(at[-2])
        covariance = variance * shape
        covariance[np.diag_indices(n)] += self._noise(at[-1])
        try:
            factor = cholesky(covariance, lower=True, check_finite=False)
        except np.linalg.LinAlgError:  # so far from positive that no step there is any good
            return 1e10, np.zeros_like(at)
        weights = cho_solve((factor, True), self._values, check_finite=False)
        inverse = cho_solve((factor, True), np.eye(n), check_finite=False)
        pull = np.outer(weights, weights) - inverse
        slope = variance * 5 / 3 * (1 + _ROOT_5 * distances) * decay * pull
        away = (at - middle) / spreads
        loss = 0.5 * self._values @ weights + np.log(np.diag(factor)).sum() + 0.5 * away @ away
        gradient = np.empty_like(at)
        gradient[:-2] = -0.5 * np.einsum("ij,kij->k", slope, squares) * scales
        gradient[-2] = -0.5 * (pull * shape).sum() * variance
        gradient[-1] = -0.5 * np.trace(pull) * np.exp(at[-1])
        return float(loss), gradient + away / spreads


def _matern(distances: Array) -> Array:
    """Matérn 5/2 of distances over lengths, for a variance of 1."""
    scaled = _ROOT_5 * distances
    return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled))
