"""One HTML file that shows a study: opens offline, needs no server."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune import roof
from autotune.explain import explain_points
from autotune.explain.records import Failures, Suspect
from autotune.front import PICKS, is_confirmed
from autotune.metrics import metric
from autotune.report import format
from autotune.report.effects import effect_rows, fit_words
from autotune.report.front_file import autotune_version, write_atomically
from autotune.report.page_data import page_data
from autotune.report.summary import StudySummary, words
from autotune.report.tasks import HEADINGS, task_rows
from autotune.store import StudyRecord, TrialRecord

_FAILURES_SHOWN = 20


def default_commands(study: StudyRecord) -> tuple[str, ...]:
    """The commands that go on from a report.

    Args:
        study: The study.
    """
    name = shlex.quote(study.name)
    return (
        f"autotune pareto {name}",
        f"autotune explain {name}",
        f"autotune report {name} --format csv",
        f"autotune reproduce {name} TRIAL",
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
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
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
    explanation = explain_points(summary.study, summary.trials, summary.points, summary.state)
    by_number = {trial.number: trial for trial in summary.trials}
    return {
        "study": summary.study,
        "summary": summary,
        "sentences": sentences(summary),
        "picks": [_pick(summary, name) for name in PICKS if name in summary.picks],
        "columns": [
            {"name": k.name, "label": k.label, "arrow": format.arrow(k)} for k in summary.columns
        ],
        "answer": explanation.answer,
        "effects": effect_rows(explanation),
        "effect_metrics": [metric(name) for name in explanation.metrics],
        "fits": list(fit_words(explanation)),
        "task_headings": HEADINGS,
        "tasks": task_rows(summary),
        "failures": [_failure(group, by_number) for group in explanation.failures],
        "suspects": [_suspect(found) for found in explanation.suspects],
        "metrics": summary.columns,
        "data": page_data(summary, explanation),
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
    tried = format.counted(len(finished), "recipe")
    told = [f"Tried: {tried} on {summary.device}{_span(summary)}."]
    if summary.traffic:
        told.append(f"Each served the same traffic: {summary.traffic}.")
    elif summary.lengths:
        told.append(f"Each served {summary.lengths}.")
    told.append(
        f"{len(summary.points) - outside} were measured within every constraint, "
        f"{outside} outside one, {failed} gave no numbers."
    )
    if summary.front:
        best = format.counted(len(summary.front), "recipe")
        told.append(f"{best} of the front: no other beats them beyond noise.")
    fresh = sum(map(is_confirmed, summary.front))
    if fresh:
        told.append(f"{fresh} of these are shown as measured again in fresh processes.")
    elif summary.front:
        told.append("None was measured again: the best of many noisy trials looks too good.")
    if missing := summary.unpicked_in_words:
        told.append(missing)
    if summary.study.convergence_reason:
        told.append(f"The search stopped: {summary.study.convergence_reason}.")
    return told


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


def _failure(group: Failures, trials: Mapping[int, TrialRecord]) -> dict[str, Any]:
    """Trials that ended alike, with the whole explanation of the first."""
    first = trials[group.trials[0]]
    return {
        "outcome": group.outcome.value.replace("_", " "),
        "reason": group.reason,
        "trials": group.trials[:_FAILURES_SHOWN],
        "count": len(group.trials),
        "recipe": words(first),
        "explanation": first.result.explanation if first.result else "",
        "log": first.result.log if first.result else "",
    }


def _suspect(found: Suspect) -> str:
    return (
        f"{found.choice.words}: {found.failed} of {found.tried} failed, {found.failed_without} of "
        f"{found.tried_without} without it (p = {found.p_value:.2g})"
    )
