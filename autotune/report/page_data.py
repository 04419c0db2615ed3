"""What the report's charts, table and filters are drawn from: plain JSON, in the page itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from autotune.explain import Explanation
from autotune.front import FrontPoint, fallbacks_of, hypervolume_history
from autotune.metrics import METRICS, Direction, Metric, metric
from autotune.report import format
from autotune.report.effects import effect_rows
from autotune.report.memory import peak_phase
from autotune.report.summary import StudySummary, words
from autotune.store import TrialRecord

GROUPS = {
    "infeasible": "outside a constraint",
    "feasible": "measured",
    "front": "front",
    "pick": "pick",
    "baseline": "baseline",
}
"""What a point can be, the most important last: that one is drawn on top."""

_LOG_FROM_RATIO = 30.0
"""An axis whose values span more than this is logarithmic."""
_DIGITS = 6


def page_data(summary: StudySummary, explanation: Explanation) -> dict[str, Any]:
    """All that the page needs to draw.

    Args:
        summary: The study.
        explanation: What it has taught.

    Returns:
        ``shell_name`` of the study; ``columns`` of the table; ``groups``; ``axes``, one for each
        metric that was measured, its values in the order of ``trials``, those of the table first;
        ``trials``; ``progress``, the hypervolume by trial and by minute; ``effects``.
    """
    return {
        "shell_name": shlex.quote(summary.study.name),
        "columns": [{"name": kind.name, "label": kind.label} for kind in summary.columns],
        "groups": list(GROUPS.items()),
        "axes": axes_of(summary),
        "trials": [_trial(summary, trial) for trial in summary.trials],
        "progress": progress(summary),
        "effects": _effects(explanation),
    }


def axes_of(summary: StudySummary) -> list[dict[str, Any]]:
    """The metrics that were measured, each with the values of all trials.

    Args:
        summary: The study.
    """
    return [axis for kind in _kinds(summary) if (axis := _axis(summary, kind))]


def _kinds(summary: StudySummary) -> list[Metric]:
    """The columns of the table, then whatever else every trial could have."""
    measured = {name for point in summary.points for name in point.metrics}
    others = [k for name, k in METRICS.items() if name in measured and k.is_goal]
    return list(dict.fromkeys([*summary.columns, *others]))


def _axis(summary: StudySummary, kind: Metric) -> dict[str, Any] | None:
    """One metric in a unit that reads well; None where nothing was measured."""
    found = [_measured(summary, trial, kind.name) for trial in summary.trials]
    values = [m.value for m in found if m is not None and m.value is not None]
    if not values:
        return None
    factor, unit = format.scale(kind.unit, sorted(values)[len(values) // 2])

    def column(part: str) -> list[float | None]:
        return [None if m is None else _rounded(getattr(m, part), factor) for m in found]

    value, low, high = column("value"), column("low"), column("high")
    return {
        "name": kind.name,
        "label": f"{kind.label} ({unit})" if unit else kind.label,
        "better": "higher" if kind.direction is Direction.MAXIMIZE else "lower",
        "factor": factor,
        "log": min(values) > 0 and max(values) / min(values) > _LOG_FROM_RATIO,
        "column": kind in summary.columns,
        "value": value,
        **({} if low == high == value else {"low": low, "high": high}),
    }


def _measured(summary: StudySummary, trial: TrialRecord, name: str) -> Any:
    point = summary.by_number.get(trial.number)
    return point.metrics.get(name) if point else None


def _rounded(value: float | None, factor: float) -> float | None:
    return None if value is None else float(f"{value / factor:.{_DIGITS}g}")


def group(summary: StudySummary, point: FrontPoint) -> str:
    """What a point is, in one word; the most important thing where it is several."""
    if point.is_baseline:
        return "baseline"
    if point.number in summary.pick_names:
        return "pick"
    if point.number in summary.front_numbers:
        return "front"
    return "feasible" if point.feasible else "infeasible"


def _trial(summary: StudySummary, trial: TrialRecord) -> dict[str, Any]:
    """One row; what is empty is left out, since there may be ten thousand."""
    point = summary.by_number.get(trial.number)
    result = trial.result
    row = {
        "number": trial.number,
        "recipe": words(trial),
        "outcome": summary.outcome(trial).replace("_", " "),
        "group": group(summary, point) if point else "",
        "picks": [pick.replace("_", " ") for pick in summary.pick_names.get(trial.number, [])],
        "front": trial.number in summary.front_numbers,
        "cells": [_cell(summary, point, k.name) for k in summary.columns] if point else [],
        "against": summary.against_baseline(point) if point else "",
        "remarks": list(remarks(summary, trial)),
        "explanation": result.explanation if result else "",
        "log": result.log if result and not point else "",
    }
    return {key: value for key, value in row.items() if value or key == "number"}


def remarks(summary: StudySummary, trial: TrialRecord) -> Iterator[str]:
    """What a person should know of a trial, besides its numbers.

    Args:
        summary: The study.
        trial: One of its trials.
    """
    if trial.result is not None:
        yield from (f"fallback: {text}" for text in fallbacks_of(trial))
        yield from trial.result.notes
        if memory := peak_phase(trial.result.metrics):
            yield memory
    point = summary.by_number.get(trial.number)
    if point is None:
        return
    if point.violation:
        yield f"in fresh processes: {point.violation}"
    if bounds := summary.bounds(point):
        yield f"bound by {bounds}"


def _cell(summary: StudySummary, point: FrontPoint, name: str) -> list[str]:
    """Value, interval, ratio to the baseline, and why there is no value; empty ends are cut."""
    found = point.metrics.get(name)
    cell = [
        format.measured(name, found, with_interval=False),
        format.interval(name, found),
        summary.ratio(point, name),
        found.reason if found else "",
    ]
    while len(cell) > 1 and not cell[-1]:
        cell.pop()
    return cell


def progress(summary: StudySummary) -> dict[str, Any]:
    """Trials of several workers end in another order than they began."""
    ends = {t.number: t.finished_at for t in summary.trials if t.finished_at}
    begun = min((t.started_at for t in summary.trials), default=None)
    ended = sorted((p for p in summary.points if p.number in ends), key=lambda p: ends[p.number])
    minutes = [(ends[p.number] - begun).total_seconds() / 60 for p in ended] if begun else []
    same = tuple(ended) == summary.points
    by_time = summary.hypervolumes if same else hypervolume_history(ended, summary.scale)
    return {
        "trials": {"x": [p.number for p in summary.points], "y": _short(summary.hypervolumes)},
        "minutes": {"x": _short(minutes), "y": _short(by_time)},
    }


def _short(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in values]


def _effects(explanation: Explanation) -> list[dict[str, Any]]:
    """For each metric: the choices with an estimate, those of the table."""
    rows, found = effect_rows(explanation), []
    for i, fit in enumerate(explanation.fits):
        told = [(row, cell) for row in rows if (cell := row.cells[i]).estimate is not None]
        if told:
            found.append(
                {
                    "label": metric(fit.metric).label,
                    "ratio": fit.scale == "ratio",
                    "unit": metric(fit.metric).unit,
                    "rows": [
                        {
                            "choice": row.words,
                            "trials": row.trials,
                            "text": cell.text,
                            "judged": cell.judged,
                            "estimate": cell.estimate and cell.estimate.model_dump(),
                        }
                        for row, cell in told
                    ],
                }
            )
    return found
