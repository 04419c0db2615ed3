"""Least squares over choices: effects with exact intervals, and shares of the variance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from autotune.explain.choices import Design
from autotune.statistics import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TINY = 1e-9
"""Relative to the largest singular value, to 1 in a contrast, and to the whole variance."""


@dataclass(frozen=True)
class LeastSquares:
    """An ordinary least-squares fit that may lack rank: what it cannot tell apart is not told.

    Intervals are Student's t on the residual's degrees of freedom, exact if trials differ from the
    additive model by independent normal errors of one size (Seber and Lee, Linear Regression
    Analysis, chapters 3 to 5). What choices do together beyond the sum counts as such an error.
    """

    design: Design
    values: NDArray[np.float64]
    root: NDArray[np.float64]
    """The triangular factor of the design: columns by columns, however many trials there are."""
    turned: NDArray[np.float64]
    """The values in the basis of the design's columns."""
    singular: NDArray[np.float64]
    """Of the columns; those that are not null."""
    basis: NDArray[np.float64]
    """By singular value and column: what the trials tell of the columns."""

    @classmethod
    def of(cls, design: Design, values: NDArray[np.float64]) -> LeastSquares:
        """
        Args:
            design: One row for each trial.
            values: One for each trial.
        """
        import numpy as np

        q, root = np.linalg.qr(design.matrix)
        _, singular, basis = np.linalg.svd(root)
        kept = singular > _TINY * singular[0]
        return cls(
            design, values, root, q.T @ values, singular[kept], basis[: len(singular)][kept]
        )

    @property
    def rank(self) -> int:
        """How many columns are independent."""
        return len(self.singular)

    @property
    def degrees_of_freedom(self) -> int:
        """Of the residual."""
        return len(self.values) - self.rank

    @property
    def total(self) -> float:
        """The sum of squares around the mean."""
        return float(((self.values - self.values.mean()) ** 2).sum())

    @property
    def varies(self) -> bool:
        """Whether there is any variance to explain."""
        return self.total > _TINY**2 * max(1.0, float((self.values**2).sum()))

    @cached_property
    def residual(self) -> float:
        """The sum of squares that is left."""
        outside = float((self.values**2).sum() - (self.turned**2).sum())
        left = self.turned - self.root @ self._coefficients
        return max(0.0, outside) + float((left**2).sum())

    @cached_property
    def _coefficients(self) -> NDArray[np.float64]:
        """The shortest vector of coefficients that fits best."""
        return self._inverse @ (self.root.T @ self.turned)

    @cached_property
    def _inverse(self) -> NDArray[np.float64]:
        """Of the columns' products with each other (a pseudo-inverse)."""
        scaled = self.basis / self.singular[:, None]
        return scaled.T @ scaled

    def effect(self, contrast: NDArray[np.float64]) -> Interval | None:
        """A sum of coefficients with its 95 % interval; None where the trials do not tell it.

        Args:
            contrast: A weight for each column.
        """
        from scipy.special import stdtrit

        inside = self.basis @ contrast
        outside = contrast - self.basis.T @ inside
        if float((outside**2).sum()) > _TINY * float((contrast**2).sum()):
            return None
        value = float(contrast @ self._coefficients)
        variance = self.residual / self.degrees_of_freedom
        error = math.sqrt(variance * float(((inside / self.singular) ** 2).sum()))
        reach = float(stdtrit(self.degrees_of_freedom, 0.975)) * error
        return Interval(value, value - reach, value + reach, len(self.values))

    def share(self, dropped: NDArray[np.bool_]) -> tuple[float, float] | None:
        """How much of the variance only these columns explain.

        Args:
            dropped: Which columns a smaller model goes without.

        Returns:
            Omega squared (the drop of R squared less what chance would give; Hays, Statistics for
            Psychologists, 1963), at least 0, and the p-value of the F test; None where the others
            tell all that these do.
        """
        from scipy.special import fdtrc

        freedom, gained = self._gain_of(dropped)
        if not freedom:
            return None
        left = self.residual
        noise = left / self.degrees_of_freedom
        omega = max(0.0, gained - freedom * noise) / (self.total + noise)
        if left <= _TINY**2 * self.total:
            return omega, 0.0 if gained > _TINY * self.total else 1.0
        return omega, float(fdtrc(freedom, self.degrees_of_freedom, gained / freedom / noise))

    def _gain_of(self, columns: NDArray[np.bool_]) -> tuple[int, float]:
        """How many independent columns some add to the others, and by how much they lower the sum
        of squares that is left: what they explain once the others are projected out."""
        import numpy as np

        if self.rank == len(self.design.columns):
            mine = self._coefficients[columns]
            among = self._inverse[np.ix_(columns, columns)]
            return len(mine), float(mine @ np.linalg.solve(among, mine))
        others, mine = self.root[:, ~columns], self.root[:, columns]
        beyond = mine - others @ np.linalg.lstsq(others, mine, rcond=_TINY)[0]
        directions, sizes, _ = np.linalg.svd(beyond, full_matrices=False)
        new = directions[:, sizes > _TINY * self.singular[0]]
        return new.shape[1], float(((new.T @ self.turned) ** 2).sum())

    @property
    def explained_ratio(self) -> float | None:
        """R squared, adjusted for the number of columns; None where nothing varies."""
        if not self.varies:
            return None
        rows = len(self.values) - 1
        return 1 - self.residual / self.degrees_of_freedom * rows / self.total
