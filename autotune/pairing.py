"""Two models on the same items, each right or wrong: the difference and what it proves.

Only items whose correctness changed say anything about a difference: those that one model gained
and those that it lost.
"""

from __future__ import annotations

import math

from autotune.statistics import Interval

_INSIDE = 1e-9
"""Keeps the search for an end of the interval off the estimate itself, where it has a root too."""


def paired_difference(gained: int, lost: int, n: int) -> Interval:
    """The difference of two accuracies on the same items with Tango's score 95 % interval.

    It keeps its coverage for few items and few changes, and has a width where nothing changed
    (Tango, Stat. Med. 17:891, 1998; recommended by Fagerland, Lydersen and Laake, Stat. Med.
    33:2850, 2014).

    Args:
        gained: Items that were wrong with the reference and are right.
        lost: Items that were right with the reference and are wrong.
        n: All items, at least one.

    Returns:
        ``(gained - lost) / n``, between -1 and 1, and its interval.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    z = float(norm.ppf(0.975))

    def beyond(difference: float) -> float:
        """Negative where the score test does not reject this difference."""
        variance = 2 * _share_lost(gained, lost, n, difference) + difference * (1 - difference)
        return (gained - lost - n * difference) ** 2 - z * z * n * variance

    found = (gained - lost) / n
    low = -1.0 if lost == n else float(brentq(beyond, -1.0, found - _INSIDE))
    high = 1.0 if gained == n else float(brentq(beyond, found + _INSIDE, 1.0))
    return Interval(found, low, high, n)


def _share_lost(gained: int, lost: int, n: int, difference: float) -> float:
    """The likeliest share of lost items, were this the true difference."""
    b = (2 * n - gained + lost) * difference - gained - lost
    c = -lost * difference * (1 - difference)
    return (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p-value of "as many gained as lost" (McNemar's test, conditional on
    the changed items: ``scipy.stats.binomtest``); 1 where nothing changed."""
    from scipy.stats import binomtest

    changed = gained + lost
    return float(binomtest(gained, changed, 0.5).pvalue) if changed else 1.0
