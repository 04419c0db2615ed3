"""What the tasks of a study say of a trial, and how far it is proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.front.signs import MINUS
from autotune.messages import TASK_RUN, Measurement, Metrics, TaskScore, TrialResult
from autotune.outcome import Lesson, lesson
from autotune.pairing import mcnemar

WITHIN = 0.01
"""How much less or more accurate a recipe may be and still be called within 1 %: one percentage
point, a hundredth of the items."""


def task_scores(confirmations: Mapping[int, TrialResult]) -> tuple[TaskScore, ...]:
    """One for each task file; empty where the tasks were not run, or failed.

    Args:
        confirmations: What was measured of a trial once the search was over.
    """
    run = confirmations.get(TASK_RUN)
    return run.tasks if run else ()


def task_metrics(confirmations: Mapping[int, TrialResult]) -> Metrics:
    """The task metrics of a trial; null with the reason if the run of its tasks failed.

    Args:
        confirmations: What was measured of a trial once the search was over.
    """
    run = confirmations.get(TASK_RUN)
    if run is None:
        return {}
    if lesson(run.outcome) is Lesson.REJECT:
        reason = f"{run.outcome}: {run.explanation}"
        return {"task_accuracy": Measurement.unavailable("ratio", reason)}
    return {name: found for name, found in run.metrics.items() if name.startswith("task_")}


def p_value(scores: Sequence[TaskScore]) -> float | None:
    """McNemar's exact p-value over all items of some tasks; None without a baseline to pair with.

    Args:
        scores: Of one trial.
    """
    if not scores or any(score.gained is None for score in scores):
        return None
    return mcnemar(sum(s.gained or 0 for s in scores), sum(s.lost or 0 for s in scores))


def task_verdict(metrics: Metrics) -> str:
    """One clause: the accuracy, the change, and whether the sample shows that it is small.

    "Within 1 %" is said only if the whole 95 % interval of the paired difference lies within a
    hundredth of the items.

    Args:
        metrics: Of a trial; empty words where no task was run for it.
    """
    accuracy, delta = metrics.get("task_accuracy"), metrics.get("task_accuracy_delta")
    if accuracy is None:
        return ""
    if accuracy.value is None:
        return "task accuracy not measured"
    if delta is None or delta.value is None:
        return "same task accuracy"
    change = f"{_signed(delta.value)} points"
    return f"task accuracy {100 * accuracy.value:.1f} % ({change}, {_proven(delta)}, n={delta.n})"


def _proven(delta: Measurement) -> str:
    low, high = delta.low or 0.0, delta.high or 0.0
    small = low >= -WITHIN and high <= WITHIN
    parts = ["worse"] if high < 0 else ["better"] if low > 0 else []
    if small or not parts:
        parts.append("within 1 %" if small else "within 1 % not demonstrated")
    return ", ".join(parts)


def _signed(value: float) -> str:
    return f"{MINUS if value < 0 else '+'}{100 * abs(value):.2g}"
