"""Two studies side by side: each against its own baseline, and recipe by recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from autotune.environment import environment_differences
from autotune.front import PICKS, FrontPoint, ratio_interval, ratio_to_baseline
from autotune.messages import Measurement, RecipeDict
from autotune.metrics import Family, metric
from autotune.recipe import Recipe
from autotune.report.summary import WEIGHTS, StudySummary, words

Verdict = Literal["agree", "differ", "unknown"]
_COMPARED_KEYS = ("model", "model_files", "task", "workload", "texts", "measure")
"""Of a study's definition: what its numbers rest on besides the environment."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Difference(_Part):
    """Something that is not the same in both studies."""

    kind: Literal["environment", "definition"]
    key: str
    a: str
    b: str


class Value(_Part):
    """A metric of one trial, against the baseline of its own study."""

    measured: Measurement
    ratio: float | None = None
    """To its own baseline; null for losses, whose baseline is near zero."""
    ratio_low: float | None = None
    """Lower end of the ratio's 95 % interval; null where it has none."""
    ratio_high: float | None = None


class Side(_Part):
    """A trial in one of the two studies."""

    number: int
    recipe: RecipeDict
    words: str
    feasible: bool
    values: dict[str, Value]
    """By metric."""


class Pair(_Part):
    """What stands side by side: a pick, the baselines, or a recipe that both measured."""

    name: str
    a: Side | None
    """Null where study A has no such pick."""
    b: Side | None
    verdicts: dict[str, Verdict] = {}
    """By metric: whether the values against each own baseline agree within their 95 % intervals
    and the metric's resolution. Only for a recipe that both measured."""


class Comparison(_Part):
    """What ``autotune compare --json`` prints."""

    study_a: str
    study_b: str
    model_a: str
    model_b: str
    device_a: str
    device_b: str
    metrics: tuple[str, ...]
    """The objectives of both, and the weights."""
    differences: tuple[Difference, ...]
    """Empty: their values may be compared as they are."""
    baselines: Pair
    picks: tuple[Pair, ...]
    shared: tuple[Pair, ...]
    """Recipes that both measured, but the baseline."""
    only_a: int
    """Measured recipes that the other study did not measure."""
    only_b: int


def compare_studies(a: StudySummary, b: StudySummary) -> Comparison:
    """Puts two studies side by side.

    Args:
        a: One study.
        b: The other; of another model, machine or version perhaps.
    """
    names = tuple(dict.fromkeys((*a.study.objectives, *b.study.objectives, WEIGHTS)))
    recipes_a, recipes_b = _by_recipe(a), _by_recipe(b)
    both = [key for key in recipes_a if key in recipes_b]
    return Comparison(
        study_a=a.study.name,
        study_b=b.study.name,
        model_a=a.model,
        model_b=b.model,
        device_a=a.device,
        device_b=b.device,
        metrics=names,
        differences=(*_environments(a, b), *_definitions(a, b)),
        baselines=Pair(
            name="baseline", a=_side(a, a.baseline, names), b=_side(b, b.baseline, names)
        ),
        picks=tuple(
            Pair(
                name=pick,
                a=_side(a, a.picks.get(pick), names),
                b=_side(b, b.picks.get(pick), names),
            )
            for pick in PICKS
            if pick in a.picks or pick in b.picks
        ),
        shared=tuple(
            _shared(_side(a, recipes_a[key], names), _side(b, recipes_b[key], names), names)
            for key in both
            if recipes_a[key].recipe
        ),
        only_a=len(recipes_a) - len(both),
        only_b=len(recipes_b) - len(both),
    )


def _by_recipe(summary: StudySummary) -> dict[str, FrontPoint]:
    return {Recipe.from_dict(point.recipe).key: point for point in summary.points}


def _environments(a: StudySummary, b: StudySummary) -> Iterator[Difference]:
    found = environment_differences(a.study.environment, b.study.environment)
    for key, (mine, other) in found.items():
        yield Difference(kind="environment", key=key, a=mine, b=other)


def _definitions(a: StudySummary, b: StudySummary) -> Iterator[Difference]:
    mine, other = a.study.definition, b.study.definition
    for key in _COMPARED_KEYS:
        one, two = dict(_flat(key, mine.get(key))), dict(_flat(key, other.get(key)))
        for name in sorted(one.keys() | two.keys()):
            if one.get(name) != two.get(name):
                yield Difference(
                    kind="definition", key=name, a=_text(one.get(name)), b=_text(two.get(name))
                )


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """``workload`` → ``workload.prompt_tokens`` and so on."""
    if not isinstance(value, Mapping):
        yield key, value
        return
    for name, part in value.items():
        yield from _flat(f"{key}.{name}", part)


def _text(value: Any) -> str:
    return "none" if value is None else str(value)


def _side(summary: StudySummary, point: FrontPoint | None, names: tuple[str, ...]) -> Side | None:
    if point is None:
        return None
    known = {n: m for n in names if (m := point.metrics.get(n)) and m.value is not None}
    return Side(
        number=point.number,
        recipe=point.recipe,
        words=words(point),
        feasible=point.feasible,
        values={name: _value(summary, point, name, found) for name, found in known.items()},
    )


def _value(summary: StudySummary, point: FrontPoint, name: str, found: Measurement) -> Value:
    """Ratios are taken to the baseline that was measured beside it."""
    own = summary.baseline.metrics.get(name) if summary.baseline else None
    if point.is_baseline or metric(name).family is Family.ACCURACY:
        return Value(measured=found)
    interval = ratio_interval(found, own)
    return Value(
        measured=found,
        ratio=ratio_to_baseline(found, own),
        ratio_low=interval.low if interval else None,
        ratio_high=interval.high if interval else None,
    )


def _shared(a: Side | None, b: Side | None, names: tuple[str, ...]) -> Pair:
    assert a is not None
    assert b is not None
    verdicts = {n: _verdict(n, a.values.get(n), b.values.get(n)) for n in names}
    return Pair(name=a.words, a=a, b=b, verdicts=verdicts)


def _verdict(name: str, a: Value | None, b: Value | None) -> Verdict:
    """Against each own baseline: ratios of two machines may be compared where values may not."""
    mine, other = _ends(name, a), _ends(name, b)
    if mine is None or other is None:
        return "unknown"
    kind = metric(name)
    tied = (
        kind.tied(mine[0], other[0])
        if kind.family is Family.ACCURACY
        else abs(mine[0] - other[0]) <= kind.resolution_ratio * max(mine[0], other[0])
    )
    overlap = mine[1] <= other[2] and other[1] <= mine[2]
    return "agree" if tied or overlap else "differ"


def _ends(name: str, value: Value | None) -> tuple[float, float, float] | None:
    """What is compared, with its interval."""
    if value is None:
        return None
    if metric(name).family is Family.ACCURACY:
        found = value.measured.interval
        return (found.value, found.low, found.high) if found else None
    if value.ratio is None:
        return None
    low, high = value.ratio_low, value.ratio_high
    return value.ratio, value.ratio if low is None else low, value.ratio if high is None else high
