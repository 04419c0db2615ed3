"""Intervals that hold without assuming a normal distribution, and paired ratios."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ONE_LOOK = 0.025
"""How often a 95 % interval misses to one side."""


@dataclass(frozen=True)
class Interval:
    """A point estimate with its 95 % confidence interval."""

    value: float
    low: float
    high: float
    n: int

    def times(self, factor: float) -> Interval:
        """The same in another unit, such as a ratio times what it is a ratio to.

        Args:
            factor: Positive.
        """
        return Interval(factor * self.value, factor * self.low, factor * self.high, self.n)

    @property
    def half_width_ratio(self) -> float:
        """Half the interval's width relative to the value."""
        return math.inf if self.value == 0 else (self.high - self.low) / 2 / abs(self.value)


def fewest_for_quantile(quantile: float) -> int:
    """The fewest independent values whose order statistics bound a quantile from above with
    97.5 % confidence, so that a two-sided 95 % interval exists: all of n values lie below it with
    probability ``quantile ** n``. 6 for the median, 36 for 0.9, 72 for 0.95, 368 for 0.99."""
    return math.ceil(math.log(0.025) / math.log(max(quantile, 1 - quantile)))


def quantile_interval(values: Sequence[float], quantile: float) -> Interval:
    """A quantile with its order-statistic 95 % interval: how many of n values lie below the true
    one is binomial (Conover, Practical Nonparametric Statistics, section 3.2; the interval of
    ``scipy.stats.quantile_test``).

    Args:
        values: At least ``fewest_for_quantile`` of them.
        quantile: Between 0 and 1.
    """
    import numpy as np
    from scipy.special import bdtr

    n = len(values)
    below = bdtr(np.arange(n + 1), n, quantile)
    low, high = np.searchsorted(below, (0.025, 0.975))
    bounds = [math.nan, *map(float, np.sort(values)), math.nan]
    return Interval(float(np.quantile(values, quantile)), bounds[low], bounds[high + 1], n)


def median_interval(values: Sequence[float]) -> Interval:
    """The median with its order-statistic 95 % interval.

    Fewer than six values have no such interval; then the whole range is returned.
    """
    if len(values) < fewest_for_quantile(0.5):
        return Interval(statistics.median(values), min(values), max(values), len(values))
    return quantile_interval(values, 0.5)


def paired_ratio(
    candidate: Sequence[float],
    reference: Sequence[float],
    middle: Callable[[Sequence[float]], Interval] = median_interval,
) -> Interval:
    """The median of paired ratios candidate/reference, on a log scale.

    Args:
        candidate: Positive values, one per pair.
        reference: The value measured beside each of them.
        middle: The median of the logarithms, with the interval that is wanted.
    """
    found = middle([math.log(c / r) for c, r in zip(candidate, reference, strict=True)])
    return Interval(math.exp(found.value), math.exp(found.low), math.exp(found.high), found.n)


def unpaired_ratio(one: Interval, other: Interval) -> Interval:
    """The ratio of two values that were taken at different times; the ends of its interval are
    those of the worst case.

    Args:
        one: Positive.
        other: Positive.
    """
    return Interval(
        one.value / other.value, one.low / other.high, one.high / other.low, min(one.n, other.n)
    )


def share_interval(successes: int, n: int, error: float = ONE_LOOK) -> Interval:
    """A share with its Wilson score interval (Wilson, JASA 22:209, 1927; that of
    ``scipy.stats.binomtest``).

    Args:
        successes: Of ``n``.
        n: At least 1.
        error: To each side.
    """
    from scipy.special import ndtri

    z, share = float(ndtri(1 - error)), successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / (1 + z * z / n)
    low = 0.0 if successes == 0 else middle - reach
    return Interval(share, low, 1.0 if successes == n else middle + reach, n)


def clustered_mean(cluster_means: Sequence[float], error: float = ONE_LOOK) -> Interval:
    """The mean over clusters of equal size with its Student-t interval.

    Positions of one text chunk are not independent; chunks nearly are.

    Args:
        cluster_means: One or more; one alone has an interval without width.
        error: To each side.
    """
    import numpy as np

    n = len(cluster_means)
    mean = float(np.mean(cluster_means))
    if n < 2:
        return Interval(mean, mean, mean, n)
    reach = float(np.std(cluster_means, ddof=1)) / math.sqrt(n) * _student_t(n - 1, error)
    return Interval(mean, mean - reach, mean + reach, n)


def _student_t(degrees_of_freedom: int, error: float = ONE_LOOK) -> float:
    """Student's t that is exceeded with this probability. All quantiles here are
    ``scipy.special``'s: ``scipy.stats``, which has them too, takes a second to import, in every
    process."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, 1 - error))


@dataclass(frozen=True)
class Spread:
    """How much the medians of fresh processes of one recipe differ from each other."""

    deviation: float
    """Standard deviation."""
    degrees_of_freedom: int


def pooled_spread(groups: Sequence[Sequence[float]]) -> Spread | None:
    """The standard deviation within groups, pooled over them as in a one-way analysis of
    variance.

    Two or three processes of one recipe say little about how much processes differ; those of all
    recipes of a study say it well.

    Args:
        groups: For each recipe, the values of its processes.

    Returns:
        None where no group has two values.
    """
    squares = sum((v - statistics.fmean(group)) ** 2 for group in groups for v in group)
    freedom = sum(len(group) - 1 for group in groups if group)
    return Spread(math.sqrt(squares / freedom), freedom) if freedom else None


def typical_spread(groups: Sequence[Sequence[float]]) -> Spread | None:
    """The standard deviation within a typical group: the median over groups of each one's
    variance over the median of the chi-squared distribution that it would have. Unlike
    ``pooled_spread`` it does not let one restless group widen the others' intervals.

    Args:
        groups: For each recipe, the values of its processes.

    Returns:
        None where no group has two values.
    """
    from scipy.special import chdtri

    several = [(statistics.variance(group), len(group) - 1) for group in groups if len(group) > 1]
    if not several:
        return None
    shares = [v * freedom / float(chdtri(freedom, 0.5)) for v, freedom in several]
    return Spread(math.sqrt(statistics.median(shares)), sum(freedom for _, freedom in several))


def repeatable_mean(
    groups: Sequence[Sequence[float]], spread: Spread | None, again: int | None = None
) -> Interval:
    """The mean over groups of each group's median, with the 95 % interval in which the mean of
    new groups falls: Student's t times the spread times ``sqrt(1/n + 1/again)`` (a prediction
    interval), or the bootstrap of ``hierarchical_mean`` where that is wider.

    Args:
        groups: For each process, the values of its blocks.
        spread: Between processes, over the whole study. The groups' own is taken where it is
            larger; without any the bootstrap alone is left.
        again: How many new groups; by default as many as there are.
    """
    found = hierarchical_mean(groups)
    if spread is None:
        return found
    own = pooled_spread([[statistics.median(group) for group in groups]])
    deviation = max(spread.deviation, own.deviation if own else 0.0)
    quantile = _student_t(spread.degrees_of_freedom)
    reach = quantile * deviation * math.sqrt(1 / len(groups) + 1 / (again or len(groups)))
    low, high = min(found.low, found.value - reach), max(found.high, found.value + reach)
    return Interval(found.value, low, high, found.n)


def hierarchical_mean(groups: Sequence[Sequence[float]], resamples: int = 2000) -> Interval:
    """The mean over groups of each group's median, with a two-level bootstrap 95 % interval
    (percentiles; groups are drawn with replacement, then values within each).

    Blocks of one process share its luck (memory layout, clock, neighbours), so processes are the
    upper level. The seed is fixed: the same data give the same interval.

    Args:
        groups: One or more groups of one or more values.
        resamples: How many bootstrap samples.
    """
    import numpy as np

    generator = np.random.default_rng(0)
    value = statistics.fmean(statistics.median(group) for group in groups)
    # [group, resample, draw]: a median for every time that a resample may draw the group.
    medians = np.empty((len(groups), resamples, len(groups)))
    for i, group in enumerate(groups):
        values = np.asarray(group)
        drawn = generator.integers(len(values), size=(resamples, len(groups), len(values)))
        medians[i] = np.median(values[drawn], axis=-1)
    chosen = generator.integers(len(groups), size=(resamples, len(groups)))
    row, column = np.indices(chosen.shape)
    means = medians[chosen, row, column].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(value, float(low), float(high), sum(map(len, groups)))
