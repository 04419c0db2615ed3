"""What a sampler learns of a finished trial."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from autotune.constraints import Constraint
from autotune.messages import Measurement, TrialResult
from autotune.outcome import Lesson, Outcome, lesson
from autotune.search.features import Rows
from autotune.search.pool_code import Integers, Mask

HALF_WIDTH = 1.96
"""Of a 95 % interval in standard errors, if what is measured is normal."""


@dataclass(frozen=True)
class Observation:
    """One finished trial in numbers."""

    values: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Metric → value and standard error, of what was measured."""
    failed: bool = False
    """Nothing can be expected of the recipe: it crashed, ran out of memory, is unsupported."""
    lost: bool = False
    """It failed for a reason that lies not in the recipe."""
    feasible: bool = True
    """Measured, and within every constraint."""
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    warm: bool = False
    """Whether its process was there already."""
    out_of_memory: bool = False
    """It failed for want of memory."""

    @classmethod
    def of(cls, result: TrialResult, constraints: Iterable[Constraint] = ()) -> Observation:
        """What a trial's result says.

        Args:
            result: Of the search, not of a repetition.
            constraints: The study's.
        """
        failed = lesson(result.outcome) is Lesson.REJECT
        held = all(limit.violation(result.metrics) <= 0 for limit in constraints)
        values = {name: _with_error(found) for name, found in result.metrics.items()}
        return cls(
            values={name: pair for name, pair in values.items() if pair is not None},
            failed=failed,
            lost=result.outcome is Outcome.LOST,
            feasible=held and not failed,
            phase_seconds=result.phase_seconds,
            warm=result.warm,
            out_of_memory=result.outcome is Outcome.OUT_OF_MEMORY,
        )


@dataclass(frozen=True)
class Observations:
    """Many finished trials in numbers: what as many ``Observation`` say, column by column."""

    values: Mapping[str, tuple[Rows, Rows]]
    """Metric → values and standard errors, ``[n]``; NaN where a trial did not measure it."""
    failed: Mask
    """``[n]``, as of an ``Observation``, like all that follows."""
    lost: Mask
    feasible: Mask
    warm: Mask
    out_of_memory: Mask
    phase_seconds: Sequence[Mapping[str, float]]

    @classmethod
    def one(cls, seen: Observation) -> Observations:
        """A single trial's."""
        return cls(
            {name: (np.array([v]), np.array([e])) for name, (v, e) in seen.values.items()},
            failed=np.array([seen.failed]),
            lost=np.array([seen.lost]),
            feasible=np.array([seen.feasible]),
            warm=np.array([seen.warm]),
            out_of_memory=np.array([seen.out_of_memory]),
            phase_seconds=(seen.phase_seconds,),
        )

    def row(self, i: int) -> Observation:
        """One of them."""
        found = {
            name: (float(values[i]), float(errors[i]))
            for name, (values, errors) in self.values.items()
            if math.isfinite(values[i])
        }
        return Observation(
            found,
            failed=bool(self.failed[i]),
            lost=bool(self.lost[i]),
            feasible=bool(self.feasible[i]),
            phase_seconds=self.phase_seconds[i],
            warm=bool(self.warm[i]),
            out_of_memory=bool(self.out_of_memory[i]),
        )

    def rows(self, kept: Integers) -> Observations:
        """Some of them."""
        return Observations(
            {name: (v[kept], e[kept]) for name, (v, e) in self.values.items()},
            self.failed[kept],
            self.lost[kept],
            self.feasible[kept],
            self.warm[kept],
            self.out_of_memory[kept],
            [self.phase_seconds[i] for i in kept.tolist()],
        )


def _with_error(found: Measurement) -> tuple[float, float] | None:
    if found.value is None or not math.isfinite(found.value):
        return None
    if found.low is None or found.high is None:
        return found.value, 0.0
    return found.value, (found.high - found.low) / (2 * HALF_WIDTH)
