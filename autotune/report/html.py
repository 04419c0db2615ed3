"""One HTML file that shows a study: opens offline, needs no server."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotune import roof
from autotune.front import PICKS, FrontPoint, fallbacks_of, is_confirmed
from autotune.report import format
from autotune.report.chart import chart_data
from autotune.report.front_file import autotune_version, write_atomically
from autotune.report.memory import peak_phase
from autotune.report.summary import StudySummary, words
from autotune.report.tasks import HEADINGS, task_rows
from autotune.store import StudyRecord, StudyState, TrialRecord


def default_commands(study: StudyRecord) -> tuple[str, ...]:
    """The commands that go on from a report.

    Args:
        study: The study.
    """
    name = shlex.quote(study.name)
    return (
        f"autotune pareto {name}",
        f"autotune report {name}",
        f"autotune search --resume --name {name} --trials N",
    )


def render_html(summary: StudySummary, commands: Sequence[str] = ()) -> str:
    """Renders the report.

    Args:
        summary: The study.
        commands: Shell commands that reproduce it; none takes ``default_commands``.

    Returns:
        One HTML document with its scripts and styles inside.
    """
    import jinja2
    import markupsafe
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    return template.render(
        **_context(summary),
        commands=tuple(commands) or default_commands(summary.study),
        plotly=markupsafe.Markup(get_plotlyjs()),
    )


def write_html(summary: StudySummary, path: Path, commands: Sequence[str] = ()) -> None:
    """Writes the report in one step.

    Args:
        summary: The study.
        path: The file; its directory must exist.
        commands: See ``render_html``.

    Raises:
        InputError: It cannot be written.
    """
    write_atomically(path, render_html(summary, commands))


def _context(summary: StudySummary) -> dict[str, Any]:
    return {
        "study": summary.study,
        "summary": summary,
        "sentences": sentences(summary),
        "picks": [_pick(summary, name) for name in PICKS if name in summary.picks],
        "columns": [{"label": k.label, "arrow": format.arrow(k)} for k in summary.columns],
        "rows": [_row(summary, trial) for trial in summary.trials],
        "task_headings": HEADINGS,
        "tasks": task_rows(summary),
        "failures": [_failure(o.value, t) for o, t in summary.failures.items()],
        "metrics": summary.columns,
        "chart": chart_data(summary),
        "roof_near": f"{roof.NEAR * 100:.0f} %",
        "version": autotune_version(),
    }


def sentences(summary: StudySummary) -> list[str]:
    """The study in one paragraph.

    Args:
        summary: The study.
    """
    finished = [trial for trial in summary.trials if trial.result]
    failed = sum(len(trials) for trials in summary.failures.values())
    outside = sum(not point.feasible for point in summary.points)
    told = [f"{len(finished)} recipes were tried on {summary.device}{_span(summary)}."]
    if summary.traffic:
        told.append(f"Each served the same traffic: {summary.traffic}.")
    told.append(
        f"{len(summary.points) - outside} were measured within every constraint, "
        f"{outside} outside one, {failed} gave no numbers."
    )
    if summary.front:
        told.append(f"{_count(len(summary.front))} beaten by no other beyond noise.")
    fresh = sum(map(is_confirmed, summary.front))
    if fresh:
        told.append(f"{fresh} of these are shown as measured again in fresh processes.")
    elif summary.front:
        told.append("None was measured again: the best of many noisy trials looks too good.")
    if summary.study.convergence_reason:
        told.append(f"The search stopped: {summary.study.convergence_reason}.")
    return told


def _count(number: int) -> str:
    return f"{number} of them is" if number == 1 else f"{number} of them are"


def _span(summary: StudySummary) -> str:
    ends = [trial.finished_at for trial in summary.trials if trial.finished_at]
    if not ends:
        return ""
    seconds = (max(ends) - min(trial.started_at for trial in summary.trials)).total_seconds()
    return f" within {format.duration(seconds)}"


def _pick(summary: StudySummary, name: str) -> dict[str, Any]:
    point = summary.picks[name]
    return {
        "name": name.replace("_", " "),
        "meaning": PICKS[name],
        "number": point.number,
        "recipe": words(point),
        "against": summary.against_baseline(point),
        "ties": summary.ties_in_words(name),
    }


def _unfinished(summary: StudySummary) -> str:
    return "running" if summary.study.state is StudyState.RUNNING else "not finished"


def _row(summary: StudySummary, trial: TrialRecord) -> dict[str, Any]:
    point = summary.by_number.get(trial.number)
    result = trial.result
    return {
        "number": trial.number,
        "recipe": words(trial),
        "outcome": result.outcome.value.replace("_", " ") if result else _unfinished(summary),
        "remarks": [*_remarks(trial), *_found_later(summary, point)],
        "tags": _tags(summary, trial.number),
        "cells": [_cell(summary, point, kind.name) for kind in summary.columns],
    }


def _remarks(trial: TrialRecord) -> list[str]:
    if trial.result is None:
        return []
    fallbacks = [f"fallback: {text}" for text in fallbacks_of(trial)]
    memory = peak_phase(trial.result.metrics)
    told = (trial.result.explanation, *fallbacks, *trial.result.notes, memory)
    return [text for text in told if text]


def _found_later(summary: StudySummary, point: FrontPoint | None) -> list[str]:
    """What the trial's own process could not know."""
    if point is None:
        return []
    bounds = summary.bounds(point)
    told = [f"in fresh processes: {point.violation}"] if point.violation else []
    return [*told, f"bound by {bounds}"] if bounds else told


def _tags(summary: StudySummary, number: int) -> list[str]:
    on_front = ["front"] if number in summary.front_numbers else []
    return on_front + [pick.replace("_", " ") for pick in summary.pick_names.get(number, [])]


def _cell(summary: StudySummary, point: FrontPoint | None, name: str) -> dict[str, Any]:
    found = point.metrics.get(name) if point else None
    reference = summary.baseline.metrics.get(name) if summary.baseline else None
    is_baseline = point is not None and point.is_baseline
    return {
        "text": format.measured(name, found, with_interval=False),
        "interval": format.interval(name, found),
        "sort": "" if found is None or found.value is None else repr(found.value),
        "ratio": "" if is_baseline else format.ratio(name, found, reference),
        "reason": found.reason if found else "",
    }


def _failure(outcome: str, trials: list[TrialRecord]) -> dict[str, Any]:
    return {
        "outcome": outcome.replace("_", " "),
        "trials": [
            {
                "number": trial.number,
                "recipe": words(trial),
                "explanation": trial.result.explanation if trial.result else "",
                "log": trial.result.log if trial.result else "",
            }
            for trial in trials
        ],
    }
