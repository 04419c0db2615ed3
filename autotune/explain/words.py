"""The answer in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from autotune.explain.effects import is_ratio
from autotune.explain.records import (
    Broken,
    Choice,
    Effect,
    Ending,
    Estimate,
    Explanation,
    NearestMiss,
)
from autotune.metrics import Direction, metric
from autotune.numbers import counted, digits, duration
from autotune.recipe import describe

_MOST_NAMED = 3
_INTRODUCTION = "What gained most, on average over all else that was on (95 % intervals):"
_MINUS = "\N{MINUS SIGN}"
_TIMES = "\N{MULTIPLICATION SIGN}"


def answer(found: Explanation) -> tuple[str, ...]:
    """What matters most, in a few sentences.

    Args:
        found: All but the answer.
    """
    by_plugin = _by_plugin(found.effects)
    best = {plugin: _best(effects, found.metrics) for plugin, effects in by_plugin.items()}
    known = {p for p, effects in by_plugin.items() if any(e.estimate for e in effects)}
    ranked = sorted((key, plugin, told) for plugin, (key, told) in best.items() if any(key))
    first = [told for _, _, told in ranked[::-1]][:_MOST_NAMED]
    sentences = [
        _INTRODUCTION if first else "",
        *(_gain(effects) for effects in first),
        _names("No gain beyond noise was seen of", [p for p in known if not any(best[p][0])]),
        _names("The trials do not suffice to judge", by_plugin.keys() - known),
        _infeasible(found),
        _failed(found),
        ending_words(found.ending),
    ]
    if not by_plugin:
        sentences.insert(0, "Nothing but the baseline was measured: no effect can be told.")
    return tuple(filter(None, sentences))


def effect_words(name: str, estimate: Estimate) -> str:
    """A ratio with its interval; where less is better, a change in per cent; of a loss a
    difference in its unit.

    Args:
        name: The metric.
        estimate: An effect on it.
    """
    ends = (estimate.value, estimate.low, estimate.high)
    value, *interval = [_shown(name, end) for end in ends if end is not None]
    if set(interval) <= {value}:
        return value
    return f"{value} ({' to '.join(interval)})"


def _shown(name: str, value: float) -> str:
    if not is_ratio(name):
        if 0 < abs(value) < metric(name).resolution:
            return f"<{metric(name).resolution:g}"
        return f"{_MINUS if value < 0 else '+'}{digits(abs(value), 2)}"
    if metric(name).direction is Direction.MAXIMIZE:
        return f"{value:.2f}{_TIMES}" if value < 10 else f"{digits(value)}{_TIMES}"
    percent = round(100 * (value - 1))
    return f"{_MINUS if percent < 0 else '+'}{abs(percent)} %"


def goodness(effect: Effect) -> float:
    """How much better a metric gets, as a share or in its unit; negative where it gets worse; 0
    where that is not beyond noise and what the metric resolves.

    Args:
        effect: With an estimate or without.
    """
    found, kind = effect.estimate, metric(effect.metric)
    if found is None:
        return 0.0
    origin, least = (1.0, kind.resolution_ratio) if is_ratio(kind.name) else (0.0, kind.resolution)
    low = found.value if found.low is None else found.low
    high = found.value if found.high is None else found.high
    if low <= origin <= high or abs(found.value - origin) <= least:
        return 0.0
    return (found.value - origin) * (1 if kind.direction is Direction.MAXIMIZE else -1)


def _by_plugin(effects: Iterable[Effect]) -> dict[str, list[Effect]]:
    found: dict[str, list[Effect]] = {}
    for effect in effects:
        found.setdefault(effect.choice.plugin, []).append(effect)
    return found


def _best(
    effects: Sequence[Effect], metrics: Sequence[str]
) -> tuple[tuple[float, ...], list[Effect]]:
    """A plugin's choice that gains most in the first objective, then in the second."""
    choices: dict[Choice, list[Effect]] = {}
    for effect in effects:
        choices.setdefault(effect.choice, []).append(effect)
    ranked = []
    for told in choices.values():
        gained = {e.metric: max(0.0, goodness(e)) for e in told}
        ranked.append((tuple(gained.get(name, 0.0) for name in metrics), told))
    return max(ranked, key=lambda item: item[0])


def _gain(effects: Sequence[Effect]) -> str:
    gave, cost = (_listed([e for e in effects if sign * goodness(e) > 0]) for sign in (1, -1))
    choice = effects[0].choice.words
    return f"{choice} gave {gave}" + (f" and cost {cost}." if cost else ".")


def _listed(effects: Sequence[Effect]) -> str:
    return ", ".join(
        f"{effect_words(e.metric, e.estimate)} {_named(e.metric)}" for e in effects if e.estimate
    )


def _named(name: str) -> str:
    kind = metric(name)
    has_unit = not is_ratio(name) and kind.unit != "ratio"
    return f"{kind.unit} {kind.label}" if has_unit else kind.label


def _names(what: str, names: Iterable[str]) -> str:
    listed = ", ".join(sorted(names))
    return f"{what}: {listed}." if listed else ""


def _infeasible(found: Explanation) -> str:
    if found.nearest_miss is None:
        return ""
    strictest, miss = found.exclusions[0], found.nearest_miss
    return (
        f"No trial keeps every constraint: {strictest.constraint} excludes "
        f"{strictest.excluded} of {strictest.measured}; nearest comes #{miss.number} "
        f"({describe(miss.recipe)}): {_miss_words(miss)}."
    )


def _miss_words(miss: NearestMiss) -> str:
    parts = [
        f"{b.constraint} is missed by {_excess(b)}, its interval ends at {digits(b.value)}"
        for b in miss.broken
    ]
    unknown = ", ".join(miss.not_measured)
    return "; ".join([*parts, *([f"not measured any more: {unknown}"] if unknown else [])])


def _excess(broken: Broken) -> str:
    return f"{100 * broken.excess:.3g} %" if broken.is_relative else digits(broken.excess)


def _failed(found: Explanation) -> str:
    count = sum(len(group.trials) for group in found.failures)
    if not count:
        return ""
    worst = found.failures[0]
    sure = [
        f"{s.choice.words} ({s.failed} of {s.tried} failed, {s.failed_without} of "
        f"{s.tried_without} without it)"
        for s in found.suspects[:_MOST_NAMED]
    ]
    told = f"more often with {', '.join(sure)}" if sure else "with no choice surely more often"
    return (
        f"{counted(count, 'trial')} of {found.ending.finished} failed, {told}; "
        f"{len(worst.trials)} by {worst.outcome.value.replace('_', ' ')}."
    )


def ending_words(ending: Ending) -> str:
    """Why the search stopped and what it took, in a sentence.

    Args:
        ending: Of the study.
    """
    stopped = f"The search stopped: {ending.reason}" if ending.reason else f"It is {ending.state}"
    took = f"{counted(ending.finished, 'trial')} took {duration(ending.trial_seconds)}"
    if not ending.repetitions:
        return f"{stopped}; {took}."
    again = counted(ending.repetitions, "repetition")
    return f"{stopped}; {took}, {again} {duration(ending.repetition_seconds)}."
