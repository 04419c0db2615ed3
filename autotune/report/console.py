"""Tables for the terminal; they are returned, the CLI prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from autotune.front import PICKS, FrontPoint, is_confirmed
from autotune.messages import Grade
from autotune.metrics import metric
from autotune.outcome import Outcome
from autotune.report import format
from autotune.report.summary import StudySummary, words
from autotune.report.tasks import HEADINGS, task_rows
from autotune.store import StudyRecord, StudyState

_CONFIRMED = "✓"
_EXPLANATION_CHARACTERS = 160


def plain_table(title: str, *columns: str) -> Table:
    """The style of every table.

    Args:
        title: Stands above it; may be empty.
        columns: Headings of the first columns.
    """
    return Table(
        *columns,
        title=title or None,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )


def front_table(summary: StudySummary) -> Table:
    """One row per recipe of the front: what it is, each objective, the ratio to the baseline.

    Args:
        summary: The study.
    """
    table = plain_table(
        f"{format.counted(len(summary.front), 'recipe')} that no other beats beyond noise"
    )
    table.add_column("trial", justify="right")
    table.add_column("recipe", ratio=1, overflow="fold")
    for kind in summary.columns:
        table.add_column(f"{kind.label} {format.arrow(kind)}", justify="right")
    for point in summary.front:
        table.add_row(*_front_row(summary, point), style="dim" if point.is_baseline else "")
    if summary.baseline and summary.baseline not in summary.front:
        table.add_section()
        table.add_row(*_front_row(summary, summary.baseline), style="dim")
    table.caption = "\n".join(_legend(summary))
    return table


def _confirmation(summary: StudySummary) -> str:
    fresh = sum(map(is_confirmed, summary.front))
    if not fresh:
        return "not confirmed: the numbers are the search's own, and the best of many looks better"
    return f"{_CONFIRMED} confirmed in fresh processes ({fresh} of {len(summary.front)})"


def _legend(summary: StudySummary) -> list[str]:
    """What stands in the cells, and the terms that not everybody knows."""
    lines = [f"value {format.PLUS_MINUS} half its 95 % interval; below, the ratio to the baseline"]
    if summary.traffic:
        lines.append(f"measured with {summary.traffic}")
    if not summary.front and summary.study.constraints:
        limits = ", ".join(summary.study.constraints)
        lines.insert(0, f"no recipe that was measured keeps every constraint: {limits}")
    lines += summary.warnings
    shown = [summary.baseline, *summary.front]
    columns = summary.columns
    found = [m for p in shown if p for k in columns if (m := p.metrics.get(k.name)) is not None]
    if any(not m.converged for m in found):
        lines.append(f"{format.ROUGHLY} still wider than wanted when its time was up")
    if any(m.grade is Grade.C for m in found):
        lines.append(
            f"{format.DISTURBED} too disturbed, or too wide an interval: nothing is picked by it"
        )
    own = summary.baseline.metrics.get("kld_self_floor_nats") if summary.baseline else None
    floor = own.high if own else None
    if floor is not None and floor >= metric("kld_mean_nats").resolution:
        lines.append(f"KLD up to {format.digits(floor)}: the baseline's own noise, a tie with it")
    lines.append(_confirmation(summary))
    return lines + [f"{k.label}: {k.meaning}" for k in summary.columns if k.meaning]


def _front_row(summary: StudySummary, point: FrontPoint) -> list[Text]:
    recipe = Text(words(point))
    for pick in summary.pick_names.get(point.number, []):
        recipe.append(f" [{_name(pick)}]", style="bold green")
    return [
        Text(f"{_CONFIRMED} {point.number}" if is_confirmed(point) else str(point.number)),
        recipe,
        *(_cell(summary, point, k.name) for k in summary.columns),
    ]


def _cell(summary: StudySummary, point: FrontPoint, name: str) -> Text:
    cell = Text(format.measured(name, point.metrics.get(name)))
    if ratio := summary.ratio(point, name):
        cell.append(f"\n{ratio}", style="cyan")
    return cell


def _name(pick: str) -> str:
    return pick.replace("_", " ")


def picks_table(summary: StudySummary) -> Table:
    """Each pick, its recipe, and what it gains and costs against the baseline.

    Args:
        summary: The study.
    """
    table = plain_table("picks")
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
            _gains(summary, pick),
        )
    same = "same: closer than the metric resolves, see autotune metrics NAME"
    told = [f"balanced: {PICKS['balanced']}"] if "balanced" in summary.picks else []
    table.caption = "\n".join(filter(None, [*told, summary.unpicked_in_words, same]))
    return table


def _gains(summary: StudySummary, pick: str) -> Text:
    point = summary.picks[pick]
    gains = Text(summary.against_baseline(point))
    if words := summary.ties_in_words(pick):
        gains.append(f"\n{words}")
    if bounds := summary.bounds(point):
        gains.append(f"\nbound by {bounds}", style="dim")
    return gains


def tasks_table(summary: StudySummary) -> Table:
    """Each task and trial: how many items are right, and which changed against the baseline.

    Args:
        summary: The study; no rows where no task was run.
    """
    table = plain_table("tasks", *HEADINGS)
    for row in task_rows(summary):
        table.add_row(str(row.number), Text(row.recipe), *map(Text, row.cells))
    return table


def failures_table(summary: StudySummary) -> Table:
    """How many trials failed in each way, with one explanation each.

    Args:
        summary: The study; ``summary.failures`` is empty where nothing failed.
    """
    table = plain_table("trials without numbers")
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
    studies: Sequence[StudyRecord],
    counts: Mapping[str, Mapping[str, int]],
    states: Mapping[str, str],
) -> Table:
    """All studies of a database, the latest first.

    Args:
        studies: From ``Store.studies``.
        counts: From ``Store.outcome_counts``.
        states: Study → what it does now: its state, and after a colon what more is known.
    """
    table = plain_table("studies")
    for column in ("study", "state", "model", "trials", "updated (UTC)", "stopped because"):
        table.add_column(column, justify="right" if column == "trials" else "left")
    for study in sorted(studies, key=lambda s: s.updated_at, reverse=True):
        table.add_row(
            Text(study.name, style="bold"),
            states[study.name].partition(":")[0],
            Text(str(study.definition.get("model", ""))),
            _counted(counts.get(study.name, {})),
            f"{study.updated_at:%Y-%m-%d %H:%M}",
            Text(_stopped_because(study, states[study.name])),
        )
    return table


def _stopped_because(study: StudyRecord, state: str) -> str:
    if study.state is StudyState.INTERRUPTED:
        return "interrupted; --resume goes on"
    if more := state.partition(": ")[2]:
        return f"{more}; --resume goes on"
    return study.convergence_reason


def _counted(counts: Mapping[str, int]) -> str:
    """``12: 9 ok, 2 infeasible, 1 not finished``."""
    words = [
        f"{counts[o.value]} {o.value.replace('_', ' ')}" for o in Outcome if counts.get(o.value)
    ]
    if counts.get("running"):
        words.append(f"{counts['running']} not finished")
    return f"{sum(counts.values())}: {', '.join(words)}" if words else "0"
