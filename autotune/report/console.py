"""Tables for the terminal; they are returned, the CLI prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from autotune.front import PICKS, FrontPoint
from autotune.report import format
from autotune.report.summary import StudySummary, words
from autotune.store import StudyRecord

_EXPLANATION_CHARACTERS = 160


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def front_table(summary: StudySummary) -> Table:
    """One row per recipe of the front: what it is, each objective, the ratio to the baseline.

    Args:
        summary: The study.
    """
    table = _table(f"{len(summary.front)} recipes that no other beats beyond noise")
    table.add_column("trial", justify="right")
    table.add_column("recipe", ratio=1, overflow="fold")
    for kind in summary.columns:
        table.add_column(f"{kind.label} {format.arrow(kind)}", justify="right")
    for point in summary.front:
        table.add_row(*_front_row(summary, point), style="dim" if point.is_baseline else "")
    return table


def _front_row(summary: StudySummary, point: FrontPoint) -> list[Text]:
    recipe = Text(words(point))
    for pick in summary.pick_names.get(point.number, []):
        recipe.append(f" [{_name(pick)}]", style="bold green")
    return [
        Text(str(point.number)),
        recipe,
        *(_cell(summary, point, k.name) for k in summary.columns),
    ]


def _cell(summary: StudySummary, point: FrontPoint, name: str) -> Text:
    cell = Text(format.measured(name, point.metrics.get(name)))
    reference = summary.baseline.metrics.get(name) if summary.baseline else None
    ratio = format.ratio(name, point.metrics.get(name), reference)
    if ratio and not point.is_baseline:
        cell.append(f"\n{ratio}", style="cyan")
    return cell


def _name(pick: str) -> str:
    return pick.replace("_", " ")


def picks_table(summary: StudySummary) -> Table:
    """Each pick, its recipe, and what it gains and costs against the baseline.

    Args:
        summary: The study.
    """
    table = _table("picks")
    table.add_column("pick", style="bold green", no_wrap=True)
    table.add_column("trial", justify="right")
    table.add_column("recipe", overflow="fold")
    table.add_column("against the baseline", overflow="fold")
    for pick in (name for name in PICKS if name in summary.picks):
        point = summary.picks[pick]
        table.add_row(
            _name(pick),
            str(point.number),
            Text(words(point)),
            Text(summary.against_baseline(point)),
        )
    return table


def failures_table(summary: StudySummary) -> Table:
    """How many trials failed in each way, with one explanation each.

    Args:
        summary: The study; ``summary.failures`` is empty where nothing failed.
    """
    table = _table("trials without numbers")
    table.add_column("outcome", style="yellow", no_wrap=True)
    table.add_column("trials", justify="right")
    table.add_column("for example", overflow="fold")
    for outcome, trials in summary.failures.items():
        example = trials[0]
        explanation = example.result.explanation if example.result else ""
        table.add_row(
            outcome.value.replace("_", " "),
            str(len(trials)),
            Text(f"{words(example)}: {shorten(explanation)}"),
        )
    return table


def shorten(text: str) -> str:
    """The first line that says something, cut where a table would burst."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else "no explanation"
    cut = len(first) > _EXPLANATION_CHARACTERS
    return first[: _EXPLANATION_CHARACTERS - 1] + "\N{HORIZONTAL ELLIPSIS}" if cut else first


def studies_table(
    studies: Sequence[StudyRecord], counts: Mapping[str, Mapping[str, int]]
) -> Table:
    """All studies of a database, the latest first.

    Args:
        studies: From ``Store.studies``.
        counts: From ``Store.outcome_counts``.
    """
    table = _table("studies")
    for column in ("study", "state", "model", "trials", "updated (UTC)", "stopped because"):
        table.add_column(column, justify="right" if column == "trials" else "left")
    for study in sorted(studies, key=lambda s: s.updated_at, reverse=True):
        table.add_row(
            Text(study.name, style="bold"),
            study.state.value,
            Text(str(study.definition.get("model", ""))),
            _counted(counts.get(study.name, {})),
            f"{study.updated_at:%Y-%m-%d %H:%M}",
            Text(study.convergence_reason),
        )
    return table


def _counted(counts: Mapping[str, int]) -> str:
    total, ok = sum(counts.values()), counts.get("ok", 0)
    return f"{total} ({ok} ok)" if total else "0"
