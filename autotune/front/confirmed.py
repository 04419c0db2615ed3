"""The numbers that a trial is shown with: those of its repetitions in fresh processes, where
there are any. The best of many noisy trials looks better than it is; a repetition does not know
that it was the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from autotune import roof
from autotune.front.dominance import FLOORS, FrontPoint
from autotune.front.tasks import task_metrics, task_scores
from autotune.messages import Grade, Measurement, Metrics, RecipeDict, TrialResult
from autotune.metrics import METRICS, Family
from autotune.outcome import Lesson, Outcome, lesson
from autotune.statistics import Interval, Spread, hierarchical_mean, pooled_spread, repeatable_mean

CONFIRMED = "confirmed"
CONFIRMED_RATIO = "confirmed_ratio"
"""``Measurement.stat`` of a value from fresh processes; the latter from their paired ratios."""


class Trial(Protocol):
    """A trial as it is stored."""

    @property
    def number(self) -> int: ...
    @property
    def recipe(self) -> RecipeDict: ...
    @property
    def result(self) -> TrialResult | None: ...
    @property
    def confirmations(self) -> Mapping[int, TrialResult]: ...


def front_points(trials: Sequence[Trial]) -> tuple[FrontPoint, ...]:
    """The measured trials with their headline numbers, feasible or not.

    Args:
        trials: Of one study; those that failed or still run have no point.
    """
    measured = [t for t in trials if t.result and lesson(t.result.outcome) is Lesson.VALUES]
    baseline: Metrics | None = None
    # What the baseline's process shares (fewer CPU instructions, say) is the machine's doing.
    shared: tuple[str, ...] = ()
    spreads = process_spreads(measured)
    for trial in measured:
        if not trial.recipe:
            baseline, shared = _headline(trial, None, spreads), fallbacks_of(trial)
    points = []
    for trial in measured:
        assert trial.result is not None
        metrics = _headline(trial, baseline if trial.recipe else None, spreads)
        # The baseline's own noise is that of every comparison with it.
        floors = {n: baseline[n] for n in FLOORS.values() if baseline and n in baseline}
        tasks = task_scores(trial.confirmations)
        feasible = trial.result.outcome is Outcome.OK
        own = tuple(words for words in fallbacks_of(trial) if words not in shared)
        points.append(
            FrontPoint(trial.number, trial.recipe, metrics | floors, feasible, own, tasks)
        )
    return tuple(points)


def fallbacks_of(trial: Trial) -> tuple[str, ...]:
    """What ran otherwise than asked, in the search or in any repetition; each once.

    Args:
        trial: Finished or not.
    """
    results = [trial.result, *(again for _, again in sorted(trial.confirmations.items()))]
    return tuple(dict.fromkeys(words for r in results if r for words in r.fallbacks))


def is_confirmed(point: FrontPoint) -> bool:
    """Whether its headline comes from fresh processes."""
    return any(m.stat in (CONFIRMED, CONFIRMED_RATIO) for m in point.metrics.values())


def process_spreads(trials: Sequence[Trial]) -> Mapping[str, Spread]:
    """How much fresh processes of one recipe differ in the logarithm of each paired ratio, over
    all recipes of a study.

    Args:
        trials: Of one study.
    """
    repeated = [usable for t in trials if len(usable := _usable(t.confirmations.values())) > 1]
    names = {name for usable in repeated for name in _paired(usable)}
    groups = {
        name: [
            [statistics.median(_log_ratios(result, name)) for result in usable]
            for usable in repeated
            if name in _paired(usable)
        ]
        for name in names
    }
    found = {name: pooled_spread(group) for name, group in groups.items()}
    return {name: spread for name, spread in found.items() if spread is not None}


def _usable(repetitions: Iterable[TrialResult]) -> list[TrialResult]:
    return [r for r in repetitions if lesson(r.outcome) is Lesson.VALUES and r.blocks]


def _paired(usable: Sequence[TrialResult]) -> set[str]:
    """The metrics that every block has, on both of its sides."""
    sides = (
        side for r in usable for pair in r.blocks for side in (pair.candidate, pair.reference)
    )
    return set.intersection(*map(set, sides))


def _headline(trial: Trial, baseline: Metrics | None, spreads: Mapping[str, Spread]) -> Metrics:
    assert trial.result is not None
    again = [result for _, result in sorted(trial.confirmations.items())]
    found = confirmed_metrics(trial.result.metrics, again, baseline, spreads)
    return found | task_metrics(trial.confirmations)


def confirmed_metrics(
    searched: Metrics,
    repetitions: Sequence[TrialResult],
    baseline: Metrics | None,
    spreads: Mapping[str, Spread],
) -> Metrics:
    """Combines the repetitions of one trial.

    Speed: the mean over processes of the median paired log-ratio, times the baseline's value; its
    interval is the one in which as many new processes fall (``statistics.repeatable_mean``).
    Memory, energy and percentiles: the median over processes, their range as the interval.
    Shares of the roof follow the new timings. Accuracy is deterministic and stays.

    Args:
        searched: The trial's own metrics.
        repetitions: Results of its fresh processes; failed ones are left out.
        baseline: The baseline's headline metrics; None for the baseline itself.
        spreads: From ``process_spreads``.
    """
    usable = _usable(repetitions)
    if not usable:
        return searched
    found = dict(searched)
    paired = _paired(usable)
    for name in searched:
        family = METRICS[name].family if name in METRICS else None
        if name in paired:
            found[name] = _speed(name, searched[name], usable, baseline, spreads.get(name))
        elif family in (Family.SPEED, Family.MEMORY, Family.ENERGY, Family.TAIL):
            found[name] = _reading(name, searched[name], usable)
    return found | roof.rescaled(searched, found)


def _speed(
    name: str,
    searched: Measurement,
    usable: Sequence[TrialResult],
    baseline: Metrics | None,
    spread: Spread | None,
) -> Measurement:
    ratio = _exp(repeatable_mean([_log_ratios(result, name) for result in usable], spread))
    own = baseline[name].value if baseline and name in baseline else None
    if own is None:
        sides = [
            [math.log(side[name]) for p in r.blocks for side in (p.candidate, p.reference)]
            for r in usable
        ]
        found, stat = _exp(hierarchical_mean(sides)), CONFIRMED
    else:
        found = Interval(own * ratio.value, own * ratio.low, own * ratio.high, ratio.n)
        stat = CONFIRMED_RATIO
    return Measurement.of(
        found,
        searched.unit,
        stat,
        f"alternating blocks, {_processes(len(usable))}",
        converged=all(r.metrics[name].converged for r in usable if name in r.metrics),
        grade=_grade(name, usable),
        ratio=ratio.value,
        ratio_ci_low=ratio.low,
        ratio_ci_high=ratio.high,
    )


def _log_ratios(result: TrialResult, name: str) -> list[float]:
    return [math.log(pair.candidate[name] / pair.reference[name]) for pair in result.blocks]


def _exp(found: Interval) -> Interval:
    return Interval(math.exp(found.value), math.exp(found.low), math.exp(found.high), found.n)


def _grade(name: str, usable: Sequence[TrialResult]) -> Grade | None:
    """The middle one of the processes' grades: one disturbed process of three is outvoted. Of two
    it is the better one; the combined interval holds what the other did."""
    grades = [g for r in usable if name in r.metrics and (g := r.metrics[name].grade) is not None]
    return statistics.median_low(sorted(grades)) if grades else None


def _reading(name: str, searched: Measurement, usable: Sequence[TrialResult]) -> Measurement:
    readings = [r.metrics[name] for r in usable if name in r.metrics]
    values = [m.value for m in readings if m.value is not None]
    if not values:
        return searched
    lows = [m.low for m in readings if m.low is not None]
    highs = [m.high for m in readings if m.high is not None]
    found = Interval(statistics.median(values), min(lows), max(highs), len(values))
    source = f"{readings[0].source}, {_processes(len(values))}"
    return Measurement.of(found, searched.unit, CONFIRMED, source)


def _processes(count: int) -> str:
    return f"{count} fresh process" + ("" if count == 1 else "es")
