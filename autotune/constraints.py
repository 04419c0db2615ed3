"""Limits on metrics, as users write them: ``kld_mean_nats<=0.05``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from autotune.errors import InputError
from autotune.messages import Metrics
from autotune.metrics import metric

_PATTERN = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(<=|>=)\s*([-+0-9.eE]+)\s*")


@dataclass(frozen=True)
class Constraint:
    """``metric <= bound`` or ``metric >= bound``, in the metric's unit."""

    metric: str
    is_upper: bool
    bound: float

    def __str__(self) -> str:
        return f"{self.metric}{'<=' if self.is_upper else '>='}{self.bound:g}"

    def violation(self, metrics: Metrics) -> float:
        """How far the worse end of the interval is outside, relative to the bound.

        Returns:
            At most 0 where the constraint holds. A value that was not measured violates by 1.
        """
        measured = metrics.get(self.metric)
        worse = (measured.high if self.is_upper else measured.low) if measured else None
        if worse is None:
            return 1.0
        excess = worse - self.bound if self.is_upper else self.bound - worse
        return excess / abs(self.bound) if self.bound else excess

    def surely_violated(self, metrics: Metrics) -> bool:
        """Whether even the better end of the interval is outside."""
        measured = metrics.get(self.metric)
        better = (measured.low if self.is_upper else measured.high) if measured else None
        if better is None:
            return False
        return better > self.bound if self.is_upper else better < self.bound


def parse(text: str) -> Constraint:
    """Reads one constraint.

    Raises:
        InputError: It is not ``metric<=number`` or ``metric>=number``, the metric is unknown, or
            its values are never that low.
    """
    match = _PATTERN.fullmatch(text)
    try:
        bound = float(match[3]) if match else math.nan
    except ValueError:
        bound = math.nan
    if match is None or not math.isfinite(bound):
        raise InputError(
            f"cannot read the constraint {text!r}; expected metric<=number or metric>=number, "
            "e.g. kld_mean_nats<=0.05"
        )
    kind, is_upper = metric(match[1]), match[2] == "<="
    if is_upper and bound < 0 and not kind.is_signed:
        raise InputError(
            f"nothing can meet the constraint {text!r}: {kind.name} is never negative; give a "
            "limit of 0 or more"
        )
    return Constraint(kind.name, is_upper, bound)


def parse_all(texts: Iterable[str]) -> tuple[Constraint, ...]:
    """Reads constraints and refuses a set that nothing can meet.

    Raises:
        InputError: One cannot be read, or two contradict each other.
    """
    constraints = tuple(parse(text) for text in texts)
    for low in constraints:
        for high in constraints:
            if low.metric == high.metric and not low.is_upper and high.is_upper:
                _refuse_empty(low, high)
    return constraints


def _refuse_empty(low: Constraint, high: Constraint) -> None:
    if low.bound > high.bound:
        raise InputError(
            f"the constraints {low} and {high} contradict each other: nothing can meet both; "
            "drop or change one"
        )


def explain(constraints: Iterable[Constraint], metrics: Metrics) -> str:
    """Says which constraints do not hold; empty if all do."""
    broken = []
    for constraint in constraints:
        if constraint.violation(metrics) > 0:
            measured = metrics.get(constraint.metric)
            worse = (measured.high if constraint.is_upper else measured.low) if measured else None
            what = "not measured" if worse is None else f"{worse:.4g} at the end of its interval"
            broken.append(f"{constraint.metric} is {what}, wanted {constraint}")
    return "; ".join(broken)
