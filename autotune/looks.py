"""Intervals that hold although they are looked at again and again, until one look ends it.

A 95 % interval misses the true value at one look in twenty; whoever looks after each value and
stops at the first miss is wrong far more often. Here all looks share one error, spent look by
look (Lan and DeMets, Discrete sequential boundaries for clinical trials, Biometrika 70:659, 1983),
with the sign test in the place of the normal distribution: the chance that any look misses is
bounded whatever the values' distribution is (as in Howard and Ramdas, Sequential estimation of
quantiles, Bernoulli 28:1704, 2022; here for a known number of looks, and exact).
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence

from autotune.statistics import Interval

ERROR = 0.025
"""The chance that any of a trial's looks misses to one side: that of a single 95 % interval."""


@functools.lru_cache
def boundary(first: int, last: int, error: float) -> tuple[int, ...]:
    """How many of n values may lie beyond the true median, to one side, before it is a miss.

    Under the median every further value lies beyond it with probability 1/2. Paths whose count is
    still within the boundary are followed exactly; the error spent by look n is at most
    ``error * sqrt(n / last)``, so that a clear case is seen early and a close one late.

    Args:
        first: Values at the first look.
        last: Values at the last one.
        error: Of all looks together, to one side.

    Returns:
        For each n up to ``last``: the largest count that is a miss; -1 where none is.
    """
    paths, spent, found = [1.0], 0.0, [-1]
    for n in range(1, last + 1):
        paths = [(a + b) / 2 for a, b in zip([*paths, 0.0], [0.0, *paths], strict=True)]
        most, allowed = found[-1], error * math.sqrt(n / last)
        while n >= first and spent + paths[most + 1] <= allowed:
            most += 1
            spent += paths[most]
            paths[most] = 0.0
        found.append(most)
    return tuple(found)


def median_interval(
    values: Sequence[float], first: int, last: int, error: float = ERROR
) -> Interval:
    """The median with the interval of this look: over all looks, the true median is below one of
    the lower ends, or above one of the upper, with a probability of at most ``error`` each.

    Args:
        values: Of this look, independent.
        first: Values at the first look.
        last: Values at the last one.
        error: Of all looks together, to one side.

    Returns:
        An interval without ends where there are too few values for any.
    """
    beyond = boundary(first, last, error)[len(values)]
    middle = statistics.median(values)
    if beyond < 0:
        return Interval(middle, -math.inf, math.inf, len(values))
    ordered = sorted(values)
    return Interval(middle, ordered[beyond], ordered[-1 - beyond], len(values))
