"""What an explanation consists of: plain data, as ``autotune explain --json`` prints it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from autotune.messages import RecipeDict
from autotune.outcome import Outcome
from autotune.params import Scalar


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Choice(_Part):
    """A plugin that is on, or one value of one of its params."""

    plugin: str
    param: str = ""
    """Empty: the plugin, with whatever values."""
    value: Scalar | None = None

    @property
    def words(self) -> str:
        """``quantize``, ``quantize.scheme=int8``."""
        return f"{self.plugin}.{self.param}={self.value}" if self.param else self.plugin


class Estimate(_Part):
    """A value with its 95 % interval; an exact one has no interval."""

    value: float
    low: float | None = None
    high: float | None = None


class Effect(_Part):
    """What a choice does to a metric, all else equal, by the additive model."""

    choice: Choice
    metric: str
    trials: int
    """Measured with it."""
    estimate: Estimate | None
    """Null where the trials do not tell."""
    reason: str = ""
    """Why it is null."""


class Alone(_Part):
    """A trial in which nothing but one plugin was on, against the baseline."""

    number: int
    recipe: RecipeDict
    against_baseline: dict[str, Estimate]
    """By metric."""
    disturbed: tuple[str, ...]
    """The metrics of grade C."""


class Share(_Part):
    """How much of a metric's variance goes with one plugin, or with one of its params."""

    metric: str
    plugin: str
    param: str = ""
    """Empty: the plugin, on or off and with which values."""
    share: float
    """Omega squared; 0 where it is no more than chance."""
    p_value: float
    """Of the F test that it has no effect."""


class Fit(_Part):
    """The model of one metric."""

    metric: str
    scale: Literal["ratio", "difference"]
    """Whether effects are ratios (the model is additive in logarithms) or differences."""
    trials: int
    left_out: int
    """Measured, and not in the model: of grade C, or what ran was not what was asked."""
    degrees_of_freedom: int
    """Of the residual."""
    explained_ratio: float | None
    """R squared, adjusted for the number of columns; null where nothing varies, or too little was
    measured."""


class Failures(_Part):
    """Trials without numbers that ended alike."""

    outcome: Outcome
    reason: str
    trials: tuple[int, ...]


class Suspect(_Part):
    """A choice that failed more often than the others."""

    choice: Choice
    failed: int
    tried: int
    failed_without: int
    tried_without: int
    p_value: float
    """Fisher's exact test, one-sided, adjusted for the number of choices (Benjamini-Hochberg)."""


class Exclusion(_Part):
    """How many measured trials a constraint excludes."""

    constraint: str
    excluded: int
    alone: int
    """Those of them that keep every other constraint, as far as it was measured."""
    measured: int
    """Trials that were measured for it."""
    not_measured: int
    """Trials that ended before."""


class Broken(_Part):
    """A constraint that a trial breaks."""

    constraint: str
    value: float
    """The worse end of its interval, which the constraint judges."""
    excess: float
    """How far that is outside."""
    is_relative: bool
    """Whether it is a share of the bound; a bound of 0 has none."""


class NearestMiss(_Part):
    """The trial that comes nearest to keeping every constraint."""

    number: int
    recipe: RecipeDict
    broken: tuple[Broken, ...]
    not_measured: tuple[str, ...]
    """Constraints on what was not measured any more."""


class Ending(_Part):
    """Why the search stopped, and what it took."""

    state: str
    reason: str
    """Empty while it runs, and where it was stopped from outside."""
    trials: int
    finished: int
    trial_seconds: float
    """Wall clock of the finished trials, without the wait for the device."""
    repetitions: int
    repetition_seconds: float


class Explanation(_Part):
    """What a study has taught."""

    study: str
    answer: tuple[str, ...]
    """In a few sentences."""
    metrics: tuple[str, ...]
    fits: tuple[Fit, ...]
    effects: tuple[Effect, ...]
    alone: tuple[Alone, ...]
    shares: tuple[Share, ...]
    failures: tuple[Failures, ...]
    suspects: tuple[Suspect, ...]
    exclusions: tuple[Exclusion, ...]
    feasible: int
    """Trials that keep every constraint."""
    nearest_miss: NearestMiss | None
    """Only where no trial is feasible."""
    ending: Ending
