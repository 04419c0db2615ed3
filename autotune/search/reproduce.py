"""A stored trial measured again in fresh processes, and whether its numbers hold."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from autotune import registry
from autotune.errors import AutotuneError, InputError
from autotune.execute.base import OnProgress
from autotune.execute.local import LocalExecutor
from autotune.front import confirmed_metrics, front_points, study_spreads, usable
from autotune.messages import Grade, Measurement, Metrics, TrialResult
from autotune.metrics import Direction, Family, metric
from autotune.search.confirm import confirmation_spec
from autotune.search.plan import Plan
from autotune.store.records import TrialRecord


@dataclass(frozen=True)
class Check:
    """One metric: what is stored and what was found now."""

    metric: str
    stored: Measurement
    now: Measurement

    @property
    def inside(self) -> bool:
        """Whether the new value lies in the stored interval."""
        value, own = comparable(self.now).value, comparable(self.stored)
        return (
            value is not None
            and own.low is not None
            and own.high is not None
            and own.low <= value <= own.high
        )

    @property
    def unsure(self) -> bool:
        """Whether what is stored was too disturbed, or its interval too wide, to say much."""
        return self.stored.grade is Grade.C

    @property
    def holds(self) -> bool:
        """Whether the new value lies in the stored interval, or ties with the stored value."""
        tied = metric(self.metric).tied(comparable(self.now).value, comparable(self.stored).value)
        return self.inside or tied

    @property
    def better(self) -> bool:
        """Whether the new value is the better one."""
        old, new = comparable(self.stored).value, comparable(self.now).value
        if old is None or new is None or old == new:
            return False
        return (new > old) is (metric(self.metric).direction is Direction.MAXIMIZE)


def comparable(found: Measurement) -> Measurement:
    """The paired ratio in the place of the value, where there is one: the machine's speed of the
    day is in both of its sides."""
    if found.ratio is None:
        return found
    return Measurement(
        value=found.ratio,
        unit="ratio",
        ci_low=found.ratio_ci_low,
        ci_high=found.ratio_ci_high,
    )


def measure_again(
    plan: Plan,
    trials: list[TrialRecord],
    number: int,
    processes: int,
    on_progress: OnProgress,
) -> list[Check]:
    """Measures a trial in so many fresh processes and compares with what is stored.

    Args:
        plan: The study's own plan, on this machine.
        trials: All its trials.
        number: The trial.
        processes: How many fresh processes.
        on_progress: Told what happens.

    Returns:
        One check for each objective and each speed metric that both have.

    Raises:
        InputError: There is nothing to compare with.
        AutotuneError: No process could measure it.
    """
    trial = next((t for t in trials if t.number == number), None)
    points = {point.number: point for point in front_points(trials)}
    baseline = next((t for t in trials if not t.recipe and t.number in points), None)
    if trial is None or trial.result is None or number not in points or baseline is None:
        raise InputError(f"trial {number} has no numbers to compare with")
    results: list[TrialResult] = []
    with closing(LocalExecutor(registry.installed(), on_progress)) as executor:
        for again in range(1, processes + 1):
            spec = confirmation_spec(plan, (again, trial), baseline)
            executor.submit(spec)
            results.append(executor.wait())
    if not usable(results):
        raise AutotuneError(
            f"trial {number} could not be measured again ({results[0].outcome}): "
            f"{results[0].explanation}; see {results[0].log}"
        )
    own = points[baseline.number].metrics if trial.recipe else None
    spreads, before = study_spreads(trials), list(trial.confirmations.values())
    stored = confirmed_metrics(trial.result.metrics, before, own, spreads, again=processes)
    now = confirmed_metrics(stored, results, own, spreads)
    names = _compared(plan, stored, now)
    return [Check(name, stored[name], now[name]) for name in names]


def _compared(plan: Plan, stored: Metrics, now: Metrics) -> list[str]:
    speed = [name for name in stored if metric(name).family is Family.SPEED]
    names = dict.fromkeys((*plan.objectives, *speed))
    return [n for n in names if n in stored and n in now and stored[n].value is not None]
