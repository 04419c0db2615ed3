"""Chooses a point by whatever names it: a pick, a trial's number, ``baseline``, an expression."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.errors import InputError, unknown_name
from autotune.front.dominance import FrontPoint
from autotune.front.pick_expression import (
    BASELINE,
    GRAMMAR,
    Expression,
    Limit,
    is_expression,
    parse_expression,
)
from autotune.front.picks import (
    PICKS,
    Candidates,
    best_value,
    candidates,
    disturbed,
    simplest,
    unpicked,
)
from autotune.front.words import ratio_interval
from autotune.recipe import describe

_NUMBER = re.compile(r"#?\d+", re.ASCII)
_SHOWN = 3


@dataclass(frozen=True)
class Choices:
    """What there is to choose from."""

    points: Sequence[FrontPoint]
    """The measured trials, feasible or not."""
    objectives: Sequence[str]
    picks: Mapping[str, FrontPoint]
    baseline: FrontPoint | None = None
    among: Candidates = Candidates.CONFIRMED
    """Which points an expression may choose."""


def choose(text: str, choices: Choices) -> FrontPoint:
    """Chooses one point.

    A name or a number gives that point, whatever is known against it. An expression chooses as the
    named picks are chosen, from every trial that may be a pick and not from the front alone, since
    it may ask for what is no objective. A limit judges the worse end of the 95 % interval; one in
    baselines judges the paired ratio.

    Args:
        text: ``balanced``, ``12`` or ``#12``, ``baseline``, or an expression such as ``max
            output_tokens_per_second where kld_mean_nats<0.05 and weights_bytes<=0.5*baseline``.
        choices: What there is.

    Raises:
        InputError: It cannot be read, there is no such point, or nothing qualifies; then the
            nearest miss is told.
    """
    if is_expression(text):
        return _best(parse_expression(text), choices)
    wanted = text.strip()
    if _NUMBER.fullmatch(wanted):
        return _numbered(int(wanted.lstrip("#")), choices)
    return _named(wanted, choices)


def _numbered(number: int, choices: Choices) -> FrontPoint:
    for point in choices.points:
        if point.number == number:
            return point
    numbers = [point.number for point in choices.points]
    there = f"#{min(numbers)} to #{max(numbers)}" if numbers else "none yet"
    raise InputError(
        f"no measured trial #{number}: it failed, still runs, or does not exist; measured: {there}"
    )


def _named(name: str, choices: Choices) -> FrontPoint:
    key = re.sub(r"[\s-]+", "_", name.lower())
    if key == BASELINE:
        if choices.baseline is None:
            raise InputError("this study has not measured its baseline")
        return choices.baseline
    if key in choices.picks:
        return choices.picks[key]
    if key in PICKS:
        there = ", ".join(choices.picks) or "none"
        missing = unpicked(choices.picks, choices.points, choices.objectives, choices.among)
        why = ": ".join(filter(None, (PICKS[key], missing.get(key))))
        raise InputError(f"this study has no pick {key!r} ({why}); it has: {there}")
    known = unknown_name("pick", name, [*choices.picks, BASELINE])
    raise InputError(f"{known}, the number of a trial, or {GRAMMAR}")


def _best(wanted: Expression, choices: Choices) -> FrontPoint:
    """The best of what qualifies."""
    own = choices.baseline
    allowed = candidates(choices.points, choices.among)
    metric = wanted.metric.name
    usable = [p for p in allowed if p.value(metric) is not None and not disturbed(p, metric)]
    if not usable and any(p.value(metric) is not None for p in allowed):
        raise InputError(
            f"cannot choose by {metric}: in all {len(allowed)} trials that may be picked it was "
            "too disturbed or its interval too wide to be trusted (grade C); measure again on a "
            "quieter machine, name a trial by its number, or choose by another metric"
        )
    if not usable:
        raise InputError(
            f"cannot choose by {metric}: none of the {len(allowed)} trials that may be picked was "
            f"measured for it; there are {_there(allowed)}"
        )
    for limit in wanted.limits:
        _require_known(limit, usable, own)
    fitting = [p for p in usable if all(_keeps(p, limit, own) for limit in wanted.limits)]
    if not fitting:
        raise InputError(_nothing(wanted, usable, choices))
    best = best_value(fitting, metric, choices.objectives, own)
    assert best is not None
    return simplest(best, fitting, list(dict.fromkeys((*choices.objectives, metric))))


def _there(points: Sequence[FrontPoint]) -> str:
    names = {n for p in points for n in p.metrics if p.value(n) is not None}
    return ", ".join(sorted(names)) or "no values at all"


def _require_known(limit: Limit, points: Sequence[FrontPoint], own: FrontPoint | None) -> None:
    if all(point.value(limit.metric) is None for point in points):
        raise InputError(
            f"cannot judge {limit}: no trial that may be picked was measured for {limit.metric}; "
            f"there are {_there(points)}"
        )
    if limit.of_baseline and not (own and (own.value(limit.metric) or 0) > 0):
        value = own.value(limit.metric) if own else None
        told = "not measured" if value is None else f"{value:g}"
        raise InputError(
            f"cannot judge {limit}: the baseline's {limit.metric} is {told}; give a limit without "
            f"*{BASELINE}"
        )


def _worse_end(point: FrontPoint, limit: Limit, own: FrontPoint | None) -> float | None:
    """The end of the interval that a limit judges, in its unit; None where nobody knows."""
    measured = point.metrics.get(limit.metric)
    if measured is None or measured.value is None or disturbed(point, limit.metric):
        return None
    end = measured.high if limit.is_upper else measured.low
    if not limit.of_baseline:
        return end
    reference = own.metrics.get(limit.metric) if own else None
    if point.is_baseline or reference is None or not reference.value or end is None:
        return 1.0 if point.is_baseline else None
    if ratio := ratio_interval(measured, reference):
        return ratio.high if limit.is_upper else ratio.low
    return end / reference.value


def _excess(point: FrontPoint, limit: Limit, own: FrontPoint | None) -> float | None:
    worse = _worse_end(point, limit, own)
    return None if worse is None else limit.excess(worse)


def _keeps(point: FrontPoint, limit: Limit, own: FrontPoint | None) -> bool:
    excess = _excess(point, limit, own)
    return excess is not None and excess <= 0


def _nothing(wanted: Expression, points: Sequence[FrontPoint], choices: Choices) -> str:
    """The nearest miss, and what would have qualified if it were confirmed."""
    own = choices.baseline
    told = f"no trial keeps {' and '.join(map(str, wanted.limits))}"
    misses = []
    for point in points:
        found = [_excess(point, limit, own) for limit in wanted.limits]
        known = [excess for excess in found if excess is not None]
        if len(known) == len(found):
            misses.append((max(known), point.number, point))
    if misses:
        point = min(misses)[2]
        told += f"; nearest comes #{point.number} ({describe(point.recipe)}): "
        told += ", ".join(_miss(point, limit, own) for limit in wanted.limits)
    else:
        told += ": none was measured for all of them without being disturbed (grade C)"
    if others := _unconfirmed(wanted, choices):
        told += f"; not confirmed in fresh processes, and so no pick by itself: {others}"
    return told


def _miss(point: FrontPoint, limit: Limit, own: FrontPoint | None) -> str:
    worse, unit = _worse_end(point, limit, own), f"*{BASELINE}" if limit.of_baseline else ""
    held = "keeps" if _keeps(point, limit, own) else "breaks"
    return f"{held} {limit} with {worse:.4g}{unit} at the end of its interval"


def _unconfirmed(wanted: Expression, choices: Choices) -> str:
    if choices.among is not Candidates.CONFIRMED:
        return ""
    every = candidates(choices.points, Candidates.MEASURED)
    known = [p for p in every if p.value(wanted.metric.name) is not None]
    fit = [p for p in known if all(_keeps(p, limit, choices.baseline) for limit in wanted.limits)]
    named = ", ".join(f"#{p.number}" for p in fit[:_SHOWN])
    return f"{named} and {len(fit) - _SHOWN} more" if len(fit) > _SHOWN else named
