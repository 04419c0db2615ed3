"""The report in Markdown, to be pasted into a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator

from autotune.environment import ENV_ID
from autotune.explain import Explanation, explain_points
from autotune.front import PICKS, FrontPoint
from autotune.markdown import table
from autotune.metrics import metric
from autotune.report import format
from autotune.report.console import shorten
from autotune.report.effects import effect_rows, fit_words
from autotune.report.front_file import autotune_version
from autotune.report.html import default_commands, sentences
from autotune.report.summary import StudySummary, words
from autotune.report.tasks import HEADINGS, task_rows

_MOST_FAILURES = 10
_SHOWN_OF_ENVIRONMENT = ("device", "os", "python", "torch", "transformers", ENV_ID)
_MEANS_SOMETHING = re.compile(r"[\\`*_\[\]<>#@~]")


def markdown_text(summary: StudySummary) -> str:
    """Picks, front, effects, failures and how to go on.

    Args:
        summary: The study.
    """
    found = explain_points(summary.study, summary.trials, summary.points, summary.state)
    parts = [
        f"## {_plain(summary.study.name)}: {_plain(summary.model)} on {_plain(summary.device)}\n",
        _plain(" ".join(sentences(summary))) + "\n",
        *(f"**{_plain(warning)}**\n" for warning in summary.warnings),
        _picks(summary),
        _front(summary),
        _effects(found),
        _tasks(summary),
        _failures(found),
        _method(summary),
    ]
    return "\n".join(part for part in parts if part)


def _plain(text: str) -> str:
    """What others wrote shall be shown, and neither set in italics nor mention anybody or another
    issue. A backslash does not stop that, but a word joiner behind the sign does."""
    return _MEANS_SOMETHING.sub(_shown, text).replace("\n", " ")


def _shown(sign: re.Match[str]) -> str:
    return f"{sign[0]}\N{WORD JOINER}" if sign[0] in "@#" else f"\\{sign[0]}"


def _picks(summary: StudySummary) -> str:
    if not summary.picks:
        limits = ", ".join(summary.study.constraints) or "none"
        return f"No recipe that was measured keeps every constraint: {_plain(limits)}.\n"
    rows = [
        (
            f"**{pick.replace('_', ' ')}**",
            str(point.number),
            _plain(words(point)),
            _plain(summary.against_baseline(point)),
        )
        for pick in PICKS
        if (point := summary.picks.get(pick))
    ]
    return "### Picks\n\n" + table(("pick", "trial", "recipe", "against the baseline"), rows)


def _front(summary: StudySummary) -> str:
    if not summary.front:
        return ""
    own = summary.baseline
    shown = [*summary.front, *([own] if own and own not in summary.front else [])]
    heads = [f"{_plain(kind.label)} {format.arrow(kind)}" for kind in summary.columns]
    rows = [(str(p.number), _plain(words(p)), *_cells(summary, p)) for p in shown]
    about = f"Value {format.PLUS_MINUS} half its 95 % interval, ratio to the baseline.\n"
    return f"### Front\n\n{table(('trial', 'recipe', *heads), rows)}\n{about}"


def _cells(summary: StudySummary, point: FrontPoint) -> Iterator[str]:
    for kind in summary.columns:
        found = point.metrics.get(kind.name)
        ratio = summary.ratio(point, kind.name)
        shown = _plain(format.measured(kind.name, found))
        yield f"{shown} ({ratio})" if ratio else shown


def _effects(found: Explanation) -> str:
    rows = [
        (_plain(row.words), str(row.trials), *(_plain(cell.text) for cell in row.cells))
        for row in effect_rows(found)
    ]
    if not rows:
        return ""
    heads = ("choice", "trials", *(_plain(metric(name).label) for name in found.metrics))
    about = "On average, all else equal, with 95 % intervals. " + ". ".join(fit_words(found))
    return f"### What each plugin gave and cost\n\n{table(heads, rows)}\n{_plain(about)}.\n"


def _tasks(summary: StudySummary) -> str:
    rows = [(str(r.number), *map(_plain, (r.recipe, *r.cells))) for r in task_rows(summary)]
    return "### Tasks\n\n" + table(HEADINGS, rows) if rows else ""


def _failures(found: Explanation) -> str:
    if not found.failures:
        return ""
    rows = [
        (
            group.outcome.value.replace("_", " "),
            str(len(group.trials)),
            _plain(shorten(group.reason)),
        )
        for group in found.failures[:_MOST_FAILURES]
    ]
    more = len(found.failures) - len(rows)
    about = f"\n{format.counted(more, 'other reason')}.\n" if more else ""
    return "### Failures\n\n" + table(("outcome", "trials", "reason"), rows) + about


def _method(summary: StudySummary) -> str:
    known = summary.study.environment
    told = [f"{key} {known[key]}" for key in _SHOWN_OF_ENVIRONMENT if key in known]
    limits = ", ".join(summary.study.constraints) or "none"
    commands = "\n".join(default_commands(summary.study))
    return (
        f"Constraints: {_plain(limits)}. Measured with autotune {autotune_version()} on: "
        f"{_plain(', '.join(told))}.\n\n```\n{commands}\n```\n"
    )
