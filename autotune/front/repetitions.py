"""How the repetitions of a trial in fresh processes are combined into the numbers that it is shown
with. The best of many noisy trials looks better than it is; a repetition does not know that it was
the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from autotune import roof
from autotune.messages import CONFIRMED, Grade, Measurement, Metrics, TrialResult
from autotune.metrics import METRICS, Family
from autotune.outcome import Lesson, lesson
from autotune.statistics import (
    Interval,
    Spread,
    hierarchical_mean,
    pooled_spread,
    repeatable_mean,
    typical_spread,
    unpaired_ratio,
)

CONFIRMED_RATIO = "confirmed_ratio"
CONFIRMED_UNPAIRED = "confirmed_unpaired"
"""As ``CONFIRMED``; the first from their paired ratios, the second where the baseline had no room
beside them."""


def process_spreads(
    repeated: Iterable[tuple[TrialResult, Sequence[TrialResult]]],
) -> Mapping[str, Spread]:
    """How much fresh processes of one recipe differ, over all recipes of a study: in the logarithm
    of each paired ratio, and in bytes where it is memory.

    For ratios the process of the search counts as one more, unless it was disturbed (grade C). It
    ran at another time: without it the spread would hold only what changes from one minute to the
    next. Memory is another matter there, where the process has scored accuracy before; and since
    its luck is one of pages, not of shares, it is that of a typical recipe, not of the largest.

    Args:
        repeated: For each recipe, its result in the search and its repetitions.
    """
    ratios: dict[str, list[list[float]]] = {}
    memory: dict[str, list[list[float]]] = {}
    for searched, repetitions in repeated:
        again = usable(repetitions)
        beside = [r for r in (searched, *again) if r.blocks and _is_paired(r)]
        for name in _shared(beside) if again and beside else ():
            calm = [r for r in beside if r is not searched or _grade(name, [r]) is not Grade.C]
            medians = [statistics.median(_log_ratios(r, name)) for r in calm]
            ratios.setdefault(name, []).append(medians)
        for name in filter(_is_memory, again[0].metrics if again else ()):
            memory.setdefault(name, []).append(_values(name, again))
    found = {name: pooled_spread(groups) for name, groups in ratios.items()}
    found |= {name: typical_spread(groups) for name, groups in memory.items()}
    return {name: spread for name, spread in found.items() if spread is not None}


def _is_memory(name: str) -> bool:
    return name in METRICS and METRICS[name].family is Family.MEMORY


def _values(name: str, results: Sequence[TrialResult]) -> list[float]:
    found = [r.metrics[name].value for r in results if name in r.metrics]
    return [value for value in found if value is not None]


def usable(repetitions: Iterable[TrialResult]) -> list[TrialResult]:
    """The repetitions that were timed.

    Args:
        repetitions: Of one trial.
    """
    return [r for r in repetitions if lesson(r.outcome) is Lesson.VALUES and r.blocks]


def _is_paired(result: TrialResult) -> bool:
    return result.contention is None or result.contention.paired


def _shared(results: Sequence[TrialResult]) -> set[str]:
    """The metrics that every block has; on both sides, where the other is the baseline."""
    pairs = [(pair, _is_paired(r)) for r in results for pair in r.blocks]
    sides = [p.candidate for p, _ in pairs] + [p.reference for p, paired in pairs if paired]
    return set.intersection(*map(set, sides))


def confirmed_metrics(
    searched: Metrics,
    repetitions: Sequence[TrialResult],
    baseline: Metrics | None,
    spreads: Mapping[str, Spread],
    again: int | None = None,
) -> Metrics:
    """Combines the repetitions of one trial.

    Speed: the mean over processes of the median paired log-ratio, times the baseline's value; its
    interval is the one in which the mean of as many new processes falls
    (``statistics.repeatable_mean``). Where the baseline had no room beside any of them, the same
    of their own values. Memory: the mean with such an interval. Energy and percentiles: the median
    over processes, their range as the interval. Shares of the roof follow the new timings.
    Accuracy is deterministic and stays.

    Args:
        searched: The trial's own metrics.
        repetitions: Results of its fresh processes; failed ones are left out.
        baseline: The baseline's headline metrics; None for the baseline itself.
        spreads: From ``process_spreads``.
        again: How many new processes the intervals are for; by default as many as there are.
    """
    measured = usable(repetitions)
    if not measured:
        return searched | _on_baseline(searched, baseline)
    timed = [r for r in measured if _is_paired(r)] or measured
    shared = _shared(timed)
    found = dict(searched)
    for name in searched:
        family = METRICS[name].family if name in METRICS else None
        if family is Family.SPEED and name in shared:
            spread = spreads.get(name)
            found[name] = _speed(name, searched[name].unit, timed, baseline, spread, again)
        elif family is Family.MEMORY:
            found[name] = _memory(name, searched[name], measured, spreads.get(name), again)
        elif family in (Family.ENERGY, Family.TAIL):
            found[name] = _reading(name, searched[name], measured)
    return found | roof.rescaled(searched, found)


def _on_baseline(searched: Metrics, baseline: Metrics | None) -> Metrics:
    """The values of paired ratios with the baseline's headline in the place of what it was in the
    search, so that all values of a study stand on one."""
    found: Metrics = {}
    for name, given in searched.items():
        own = baseline[name].value if baseline and name in baseline else None
        ratio = given.ratio_interval
        if own is not None and ratio is not None and given.stat == "median_ratio":
            now = ratio.times(own)
            ends = {"value": now.value, "ci_low": now.low, "ci_high": now.high}
            found[name] = given.model_copy(update=ends)
    return found


def _speed(
    name: str,
    unit: str,
    timed: Sequence[TrialResult],
    baseline: Metrics | None,
    spread: Spread | None,
    again: int | None,
) -> Measurement:
    own = baseline[name].interval if baseline and name in baseline else None
    found: Interval
    ratio: Interval | None
    if not _is_paired(timed[0]):
        groups = [[math.log(pair.candidate[name]) for pair in r.blocks] for r in timed]
        medians = [statistics.median(group) for group in groups]
        found = _exp(repeatable_mean(groups, pooled_spread([medians]), again))
        ratio = unpaired_ratio(found, own) if own else None
        stat, source = CONFIRMED_UNPAIRED, "blocks without the baseline beside them"
    else:
        ratio = _exp(repeatable_mean([_log_ratios(r, name) for r in timed], spread, again))
        found, source = _times_baseline(name, ratio, own, timed), "alternating blocks"
        stat = CONFIRMED_RATIO if own else CONFIRMED
    return Measurement.of(
        found,
        unit,
        stat,
        f"{source}, {_processes(len(timed))}",
        ratio=ratio,
        converged=_converged(name, timed),
        grade=_grade(name, timed),
    )


def _times_baseline(
    name: str, ratio: Interval, own: Interval | None, timed: Sequence[TrialResult]
) -> Interval:
    """The value in its unit; for the baseline itself from all its blocks, on both sides."""
    if own is not None:
        return ratio.times(own.value)
    sides = [
        [math.log(side[name]) for p in r.blocks for side in (p.candidate, p.reference)]
        for r in timed
    ]
    return _exp(hierarchical_mean(sides))


def _log_ratios(result: TrialResult, name: str) -> list[float]:
    return [math.log(pair.candidate[name] / pair.reference[name]) for pair in result.blocks]


def _exp(found: Interval) -> Interval:
    return Interval(math.exp(found.value), math.exp(found.low), math.exp(found.high), found.n)


def _grade(name: str, results: Sequence[TrialResult]) -> Grade | None:
    """The middle one of the processes' grades: one disturbed process of three is outvoted. Of two
    it is the worse one: nobody says which of them was right."""
    grades = [g for r in results if name in r.metrics and (g := r.metrics[name].grade) is not None]
    return statistics.median_high(sorted(grades)) if grades else None


def _converged(name: str, results: Sequence[TrialResult]) -> bool:
    return all(r.metrics[name].converged for r in results if name in r.metrics)


def _memory(
    name: str,
    searched: Measurement,
    measured: Sequence[TrialResult],
    spread: Spread | None,
    again: int | None,
) -> Measurement:
    values = _values(name, measured)
    if not values:
        return searched
    found = repeatable_mean([[value] for value in values], spread, again)
    low, high = max(0.0, min(found.low, *values)), max(found.high, *values)
    source = next(r.metrics[name].source for r in measured if name in r.metrics)
    return Measurement.of(
        Interval(found.value, low, high, len(values)),
        searched.unit,
        CONFIRMED,
        f"{source}, {_processes(len(values))}",
    )


def _reading(name: str, searched: Measurement, measured: Sequence[TrialResult]) -> Measurement:
    readings = [r.metrics[name] for r in measured if name in r.metrics]
    values = _values(name, measured)
    if not values:
        return searched
    lows = [m.low for m in readings if m.low is not None]
    highs = [m.high for m in readings if m.high is not None]
    return Measurement.of(
        Interval(statistics.median(values), min(lows), max(highs), len(values)),
        searched.unit,
        CONFIRMED,
        f"{readings[0].source}, {_processes(len(values))}",
        converged=_converged(name, measured),
        grade=_grade(name, measured),
    )


def _processes(count: int) -> str:
    return f"{count} fresh process" + ("" if count == 1 else "es")
