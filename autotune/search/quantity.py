"""What a surrogate models: a metric on the scale on which its differences count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotune.constraints import Constraint
from autotune.front.hypervolume import LOSSES
from autotune.metrics import METRICS, Direction, Family
from autotune.params import Param, Stage
from autotune.search.features import Belongs, Rows
from autotune.search.observation import HALF_WIDTH
from autotune.search.pool_code import Mask

Scale = Callable[[Any], Any]
"""Of a number, or of each of an array."""

_WEIGHTS = ("weights_bytes", "weights_disk_bytes")
_NEGLIGIBLE_LOSS = 1e-3
_STEP = 1e-4
"""Of a scale's slope, relative to the value."""


@dataclass(frozen=True)
class Quantity:
    """One metric that a study wants better or within limits."""

    name: str
    minimize: bool
    scale: Scale
    """Increasing: the logarithm of what is always positive, the value itself of a share."""
    moved_by: Belongs
    """Which params can move it."""
    objective: bool = True
    bounds: tuple[tuple[float, bool], ...] = ()
    """Limits of constraints, and whether each is an upper one."""

    @property
    def of_numbers(self) -> bool:
        """Whether it is the same for all recipes of one ``output_key``."""
        return self.moved_by is changes_output

    def are_outside(self, values: Rows, errors: Rows) -> Mask:
        """Whether the worse ends of the intervals of measured values break a limit.

        Args:
            values: ``[n]``, NaN where there is none: that breaks nothing.
            errors: Their standard errors, ``[n]``.
        """
        outside = np.zeros(len(values), dtype=bool)
        for bound, is_upper in self.bounds:
            end = HALF_WIDTH * errors
            outside |= values + end > bound if is_upper else values - end < bound
        return outside

    @property
    def direction(self) -> Direction:
        """Which way is better."""
        return Direction.MINIMIZE if self.minimize else Direction.MAXIMIZE

    def loss(self, value: float) -> float:
        """A value on the scale, turned so that less is better."""
        return float(self.losses(np.asarray(value)))

    def losses(self, values: Rows) -> Rows:
        """The same of each of ``[n]`` values."""
        return np.asarray(self.scale(values) if self.minimize else -self.scale(values))

    def loss_errors(self, values: Rows, errors: Rows) -> Rows:
        """Standard errors on that scale, ``[n]``."""
        steps = np.maximum(np.abs(values) * _STEP, 1e-12)
        slopes = (self.scale(values + steps) - self.scale(values)) / steps
        return np.asarray(np.abs(errors * slopes))


def quantities_of(
    objectives: Sequence[str], constraints: Iterable[Constraint] = ()
) -> tuple[Quantity, ...]:
    """The objectives in their order, then metrics that only have a limit.

    Args:
        objectives: Names of metrics.
        constraints: The study's.
    """
    limits: dict[str, list[tuple[float, bool]]] = {}
    for limit in constraints:
        limits.setdefault(limit.metric, []).append((limit.bound, limit.is_upper))
    names = dict.fromkeys([*objectives, *limits])
    return tuple(
        Quantity(
            name,
            METRICS[name].direction is Direction.MINIMIZE,
            scale_of(name),
            movers_of(name),
            name in objectives,
            tuple(limits.get(name, ())),
        )
        for name in names
    )


def scale_of(name: str) -> Scale:
    """Where equal differences of a metric mean equally much."""
    if name in LOSSES:
        return _loss_steps
    shares = METRICS[name].family is Family.ACCURACY and not name.startswith("perplexity")
    return itself if shares or METRICS[name].is_signed else logarithm


def _loss_steps(losses: Any) -> Any:
    """Of a loss that is 0 for the baseline: linear where it is negligible, logarithmic above."""
    return np.arcsinh(losses / _NEGLIGIBLE_LOSS)


def itself(values: Any) -> Any:
    """A value as it is."""
    return values


def logarithm(values: Any) -> Any:
    """Of a positive number; of 0, that of the least one."""
    return np.log(np.maximum(values, 1e-300))


def movers_of(name: str) -> Belongs:
    """Which params can move a metric: accuracy is that of the numbers, whatever executes them;
    weights are there before anything runs."""
    if METRICS[name].family is Family.ACCURACY:
        return changes_output
    return needs_preparing if name in _WEIGHTS else anything


def changes_output(param: Param) -> bool:
    """Params of the ``output_key``."""
    return param.changes_output


def needs_preparing(param: Param) -> bool:
    """Params of the ``setup_key``."""
    return param.stage is not Stage.RUN


def anything(param: Param) -> bool:
    """All params."""
    return True
