"""What each plugin and each value does to each metric, from all measured trials together.

The model is additive: in logarithms of the ratio to the baseline, so that effects multiply, and in
the values themselves for losses such as the KLD, which are 0 for the baseline. The effect of a
choice is what its plugin's columns give on average over the trials that have it, with the values
of the plugin's other params that these trials have, against the plugin being off.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from autotune.explain.choices import Design, Detail, choices_of, details_of
from autotune.explain.fit import LeastSquares
from autotune.explain.records import Alone, Choice, Effect, Estimate, Fit, Share
from autotune.front import FrontPoint, ratio_interval, ratio_to_baseline
from autotune.messages import Grade, Measurement, Metrics
from autotune.metrics import Family, metric
from autotune.statistics import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FEWEST_FREEDOM = 5
"""Degrees of freedom of a residual that an interval may rest on: with fewer it is as wide as
anything, and one odd trial decides."""
_MOST_COLUMNS = 500
"""More take minutes to tell apart. A param of so many values has no column for each."""
_FEWEST_TRIALS = 2
"""With a choice, and without: one trial cannot be told from its own error."""
_RATIOS = ("perplexity", "perplexity_ratio")


def is_ratio(name: str) -> bool:
    """Whether effects on a metric multiply: all but losses and shares that accuracy is."""
    return metric(name).family is not Family.ACCURACY or name in _RATIOS


class MetricEffects:
    """The trials of a study as one metric sees them."""

    def __init__(self, name: str, points: Sequence[FrontPoint], baseline: Metrics) -> None:
        """
        Args:
            name: The metric.
            points: The measured trials, feasible or not.
            baseline: The baseline's metrics.
        """
        import numpy as np

        self.name = name
        has_it = [p for p in points if p.value(name) is not None]
        sound = [p for p in has_it if not p.fallbacks and p.metrics[name].grade is not Grade.C]
        changes = [(p, _change(name, p.metrics[name], baseline.get(name))) for p in sound]
        used = [(p, change) for p, change in changes if change is not None]
        self._left_out = len(has_it) - len(used)
        self._rows = [choices_of(point.recipe) for point, _ in used]
        self._values: NDArray[np.float64] = np.array([change for _, change in used])
        self._counts = Counter(choice for row in self._rows for choice in row)
        self._details = details_of(self._rows)
        self._fits: dict[tuple[Detail, ...], LeastSquares | None] = {}

    def fit(self) -> Fit:
        """How well the model fits, with as many details as the trials allow."""
        found = self._best([self._details, {}])
        return Fit(
            metric=self.name,
            scale="ratio" if is_ratio(self.name) else "difference",
            trials=len(self._rows),
            left_out=self._left_out,
            degrees_of_freedom=found.degrees_of_freedom if found else 0,
            explained_ratio=found.explained_ratio if found else None,
        )

    def effects(self, choices: Iterable[Choice]) -> Iterator[Effect]:
        """The effect of each choice, or why there is none to tell."""
        for choice in choices:
            count = self._counts[choice]
            estimate, reason = self._estimate(choice, count)
            yield Effect(
                choice=choice, metric=self.name, trials=count, estimate=estimate, reason=reason
            )

    def _estimate(self, choice: Choice, count: int) -> tuple[Estimate | None, str]:
        fewest = min(count, len(self._rows) - count)
        if fewest < _FEWEST_TRIALS:
            side = "with" if fewest == count else "without"
            return None, f"trials {side} it: {fewest}; at least {_FEWEST_TRIALS} are needed"
        fit = self._fit_for(choice.plugin, choice.param)
        if fit is None:
            return None, f"{len(self._rows)} trials are too few to tell the choices apart"
        found = fit.effect(fit.design.contrast(choice))
        if found is None:
            return None, "always tried together with another choice: the two cannot be told apart"
        return _estimate_of(self.name, found), ""

    def shares(self) -> Iterator[Share]:
        """How much of the variance each plugin explains that the others do not, and each param of
        which several values were tried."""
        plugins = [(plugin, "") for plugin in sorted({c.plugin for r in self._rows for c in r})]
        for plugin, param in [*plugins, *self._details]:
            fit = self._fit_for(plugin, param)
            found = fit.share(fit.design.which(plugin, param)) if fit and fit.varies else None
            if found is not None:
                yield Share(
                    metric=self.name, plugin=plugin, param=param, share=found[0], p_value=found[1]
                )

    def _fit_for(self, plugin: str, param: str) -> LeastSquares | None:
        """With the values of all plugins if there are trials enough, else with this one's."""
        own = {d: values for d, values in self._details.items() if d[0] == plugin}
        one = {d: values for d, values in own.items() if d[1] == param}
        return self._best([self._details, own, one] if param else [self._details, own, {}])

    def _best(self, models: Iterable[Mapping[Detail, Sequence[Choice]]]) -> LeastSquares | None:
        """The first model that leaves enough degrees of freedom."""
        fits = (self._fitted(details) for details in models if self._rows)
        return next((fit for fit in fits if fit is not None), None)

    def _fitted(self, details: Mapping[Detail, Sequence[Choice]]) -> LeastSquares | None:
        key = tuple(details)
        if key not in self._fits:
            design = Design.of(self._rows, details)
            most = min(len(self._rows) - _FEWEST_FREEDOM, _MOST_COLUMNS)
            enough = len(design.columns) <= most
            self._fits[key] = LeastSquares.of(design, self._values) if enough else None
        return self._fits[key]


def all_choices(points: Sequence[FrontPoint]) -> list[Choice]:
    """Every plugin of the trials, each followed by its values."""
    found: set[Choice] = set().union(*(choices_of(point.recipe) for point in points))
    return sorted(found, key=_order)


def _order(choice: Choice) -> tuple[str, str, bool, float, str]:
    value = choice.value
    number = float(value) if isinstance(value, int | float) else math.inf
    return choice.plugin, choice.param, isinstance(value, str), number, str(value)


def alone(
    points: Sequence[FrontPoint], baseline: Metrics, names: Sequence[str]
) -> Iterator[Alone]:
    """The trials of one plugin by itself, as they were measured.

    Args:
        points: The measured trials.
        baseline: The baseline's metrics.
        names: Of the metrics.
    """
    for point in sorted(points, key=lambda p: (sorted(p.recipe), p.number)):
        if len(point.recipe) == 1 and not point.fallbacks:
            found = {n: _measured(n, point.metrics.get(n), baseline.get(n)) for n in names}
            known = {name: estimate for name, estimate in found.items() if estimate is not None}
            yield Alone(
                number=point.number,
                recipe=point.recipe,
                against_baseline=known,
                disturbed=tuple(n for n in known if point.metrics[n].grade is Grade.C),
            )


def _change(name: str, measured: Measurement, baseline: Measurement | None) -> float | None:
    """A trial's value on the scale of the model; None where there is none."""
    if not is_ratio(name):
        origin = baseline.value if baseline else None
        return None if measured.value is None or origin is None else measured.value - origin
    ratio = ratio_to_baseline(measured, baseline)
    return math.log(ratio) if ratio is not None and 0 < ratio < math.inf else None


def _estimate_of(name: str, found: Interval) -> Estimate:
    """From the scale of the model to ratios or differences."""
    if is_ratio(name):
        return Estimate(
            value=math.exp(found.value), low=math.exp(found.low), high=math.exp(found.high)
        )
    return Estimate(value=found.value, low=found.low, high=found.high)


def _measured(
    name: str, measured: Measurement | None, baseline: Measurement | None
) -> Estimate | None:
    """What one trial says against the baseline, with the interval that it was measured with."""
    if measured is None or measured.value is None or baseline is None or baseline.value is None:
        return None
    if not is_ratio(name):
        ends = [
            None if end is None else end - baseline.value
            for end in (measured.ci_low, measured.ci_high)
        ]
        return Estimate(value=measured.value - baseline.value, low=ends[0], high=ends[1])
    own = ratio_interval(measured, baseline)
    if own is not None:
        return Estimate(value=own.value, low=own.low, high=own.high)
    ratio = ratio_to_baseline(measured, baseline)
    return None if ratio is None else Estimate(value=ratio)
