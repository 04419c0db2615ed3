"""One row per trial, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from autotune.front import FrontPoint, is_confirmed
from autotune.metrics import METRICS
from autotune.report.summary import StudySummary, words
from autotune.store import TrialRecord

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula."""
_FIXED = ("trial", "outcome", "feasible", "front", "picks", "confirmed", "recipe", "explanation")


def csv_text(summary: StudySummary) -> str:
    """Every trial with what was measured, in the units of ``autotune metrics``.

    The columns: ``trial``, ``outcome``, ``feasible``, ``front``, ``picks`` (by spaces),
    ``confirmed``, ``recipe`` (in words), ``explanation``; one for each param, ``quantize.scheme``;
    and three for each metric, ``NAME``, ``NAME_low`` and ``NAME_high``: the value and its 95 %
    interval. What is not known is empty. Texts that a spreadsheet would take for a formula begin
    with an apostrophe.

    Args:
        summary: The study.
    """
    params = sorted({(p, k) for t in summary.trials for p, v in t.recipe.items() for k in v})
    measured = {name for point in summary.points for name in point.metrics}
    metrics = [name for name in METRICS if name in measured]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = [f"{name}{end}" for name in metrics for end in ("", "_low", "_high")]
    writer.writerow([*_FIXED, *(f"{plugin}.{param}" for plugin, param in params), *ends])
    for trial in summary.trials:
        point = summary.by_number.get(trial.number)
        chosen = [trial.recipe.get(plugin, {}).get(param) for plugin, param in params]
        row = [*_facts(summary, trial, point), *chosen, *_values(point, metrics)]
        writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def _facts(
    summary: StudySummary, trial: TrialRecord, point: FrontPoint | None
) -> Iterator[object]:
    yield trial.number
    yield summary.outcome(trial)
    yield point is not None and point.feasible
    yield trial.number in summary.front_numbers
    yield " ".join(summary.pick_names.get(trial.number, []))
    yield point is not None and is_confirmed(point)
    yield words(trial)
    yield summary.explanations.get(trial.number, "")


def _values(point: FrontPoint | None, metrics: list[str]) -> Iterator[object]:
    for name in metrics:
        found = point.metrics.get(name) if point else None
        yield from (found.value, found.low, found.high) if found else (None, None, None)


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
