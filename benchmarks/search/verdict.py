"""Medians over seeds, ratios between samplers, and whether they are more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks.search.replay import RANDOM, STOCK, Run

Runs = Mapping[str, Sequence[Run]]
"""Of one table: sampler → its runs, in the order of the seeds."""


def quartiles(values: Sequence[float | None]) -> tuple[float, float, float]:
    """First quartile, median, third; None counts as infinite: it never got there."""
    numbers = [math.inf if value is None else value for value in values]
    low, middle, high = np.quantile(numbers, (0.25, 0.5, 0.75), method="inverted_cdf")
    return float(low), float(middle), float(high)


def evaluations(runs: Sequence[Run], target: float) -> list[float]:
    """Evaluations to a share, for each seed; where it was never reached, all there were."""
    return [run.reached(target) or len(run.coverage) for run in runs]


@dataclass(frozen=True)
class Ratio:
    """How many times as many evaluations another sampler needs."""

    table: str
    sampler: str
    other: str
    target: float
    value: float
    bound: str
    """``>=``, ``<=``: a median was not reached, and all evaluations that there were stand for it;
    ``?``: neither was; empty: exact."""
    p: float
    """Of a two-sided Wilcoxon signed-rank test of both samplers' evaluations, paired by seed, as
    far as both were given trials."""


def ratio(table: str, runs: Runs, sampler: str, other: str, target: float) -> Ratio:
    """Compares the medians of two samplers."""
    mine, theirs = (evaluations(runs[name], target) for name in (sampler, other))
    bound = {(False, False): "", (False, True): ">=", (True, False): "<=", (True, True): "?"}[
        _is_missed(runs[sampler], target), _is_missed(runs[other], target)
    ]
    value = _median(theirs) / _median(mine)
    # Beyond what both were given nothing is known of one of them: there they are alike.
    most = min(len(run.coverage) for name in (sampler, other) for run in runs[name])
    p = paired_p(np.minimum(mine, most).tolist(), np.minimum(theirs, most).tolist())
    return Ratio(table, sampler, other, target, value, bound, p)


def best_stock(runs: Runs, target: float) -> str | None:
    """The stock sampler with the fewest evaluations; of several that never got there, the one
    that tried longest."""
    stock = [name for name in runs if name in STOCK]
    return min(
        stock,
        key=lambda name: (
            quartiles([run.reached(target) for run in runs[name]])[1],
            -_median(evaluations(runs[name], target)),
        ),
        default=None,
    )


def ratios(tables: Mapping[str, Runs], target: float) -> list[Ratio]:
    """Every sampler against random search, and those that are not stock against the best stock
    sampler of each table."""
    found = []
    for table, runs in tables.items():
        best = best_stock(runs, target)
        for sampler in (name for name in runs if name != RANDOM):
            if RANDOM in runs:
                found.append(ratio(table, runs, sampler, RANDOM, target))
            if best is not None and sampler not in STOCK:
                found.append(ratio(table, runs, sampler, best, target))
    return found


def overall(found: Sequence[Ratio]) -> tuple[float, str]:
    """The geometric mean over tables of the ratios that say something, and which bound it is.

    Args:
        found: Of one sampler, one for each table.
    """
    known = [r for r in found if r.bound != "?"]
    bounds = {r.bound for r in known} - {""}
    bound = "~" if len(bounds) > 1 else "".join(bounds)
    return geometric_mean([r.value for r in known]), bound


def geometric_mean(values: Sequence[float]) -> float:
    """Of ratios over tables; each counts alike."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def paired_p(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """How likely such differences are where neither sampler is better; 1 where there are none."""
    if list(mine) == list(theirs):
        return 1.0
    return float(stats.wilcoxon(mine, theirs).pvalue)


def _median(values: Sequence[float]) -> float:
    return quartiles(values)[1]


def _is_missed(runs: Sequence[Run], target: float) -> bool:
    return math.isinf(quartiles([run.reached(target) for run in runs])[1])
