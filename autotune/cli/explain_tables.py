"""The tables of ``autotune explain``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from autotune.explain import Explanation
from autotune.explain.records import Alone, Effect
from autotune.explain.shown import by_choice, largest
from autotune.explain.words import effect_words, goodness
from autotune.metrics import metric
from autotune.recipe import describe
from autotune.report.console import plain_table, shorten
from autotune.report.effects import fit_words
from autotune.report.format import DISTURBED, NOT_MEASURED, counted

_MOST_ROWS = 16
_UNKNOWN = "?"
_SURE, _LEAST_SHARE = 0.05, 0.005


def tables(found: Explanation) -> Iterator[Table]:
    """Those that have anything to say, the most wanted first.

    Args:
        found: The study's explanation.
    """
    for make in (_effects, _alone, _shares, _failures, _limits):
        table = make(found)
        if table.row_count:
            yield table


def _with_metrics(title: str, found: Explanation, *columns: str) -> Table:
    table = plain_table(title, *columns)
    for name in found.metrics:
        table.add_column(metric(name).label, justify="right")
    return table


def _effects(found: Explanation) -> Table:
    table = _with_metrics("effects on average, all else equal", found, "choice", "trials")
    rows = by_choice(found.effects)
    shown = largest(rows, _MOST_ROWS)
    for choice in shown:
        mine = rows[choice]
        cells = [_cell(mine[name]) for name in found.metrics]
        words = f"  {choice.words.partition('.')[2]}" if choice.param else choice.plugin
        trials = max(effect.trials for effect in mine.values())
        table.add_row(Text(words), str(trials), *cells)
    table.caption = "\n".join(_effects_legend(found, len(rows) - len(shown)))
    return table


def _cell(effect: Effect) -> Text:
    if effect.estimate is None:
        return Text(_UNKNOWN, style="dim")
    good = goodness(effect)
    style = "green" if good > 0 else "red" if good < 0 else "dim"
    return Text(effect_words(effect.metric, effect.estimate), style=style)


def _effects_legend(found: Explanation, hidden: int) -> Iterator[str]:
    yield "95 % interval, each by itself; dim: not beyond noise; a value: against its plugin off"
    yield from fit_words(found)
    if hidden:
        yield f"{counted(hidden, 'choice')} not shown: too few trials, or smaller; all: --json"


def _alone(found: Explanation) -> Table:
    table = _with_metrics("alone, as measured against the baseline", found, "trial", "recipe")
    for one in _of_each_plugin(found.alone):
        cells = [_cell_alone(one, name) for name in found.metrics]
        table.add_row(str(one.number), Text(describe(one.recipe)), *cells)
    legend = []
    if any(one.disturbed for one in found.alone):
        legend.append(f"{DISTURBED} too disturbed, or too wide an interval")
    if len(found.alone) > _MOST_ROWS:
        legend.append(f"{len(found.alone) - _MOST_ROWS} more: --json")
    table.caption = "\n".join(legend)
    return table


def _cell_alone(one: Alone, name: str) -> str:
    if name not in one.against_baseline:
        return NOT_MEASURED
    words = effect_words(name, one.against_baseline[name])
    return f"{words} {DISTURBED}" if name in one.disturbed else words


def _of_each_plugin(alone: Sequence[Alone]) -> list[Alone]:
    """As many of each plugin, where they are many."""
    seen: Counter[str] = Counter()
    ranked = []
    for place, one in enumerate(alone):
        (plugin,) = one.recipe
        ranked.append((seen[plugin], place))
        seen[plugin] += 1
    return [alone[place] for place in sorted(place for _, place in sorted(ranked)[:_MOST_ROWS])]


def _shares(found: Explanation) -> Table:
    table = _with_metrics("what matters: share of the differences", found, "plugin or param")
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for share in found.shares:
        if share.p_value < _SURE and share.share >= _LEAST_SHARE:
            rows.setdefault((share.plugin, share.param), {})[share.metric] = share.share
    ranked = sorted(rows.items(), key=lambda item: (-max(item[1].values()), item[0]))
    for (plugin, param), mine in ranked[:_MOST_ROWS]:
        cells = [f"{100 * mine[n]:.0f} %" if n in mine else "" for n in found.metrics]
        table.add_row(f"{plugin}.{param}" if param else plugin, *cells)
    table.caption = (
        "what only it explains (omega squared, F test at 5 %); a param: which value, given that "
        "its plugin is on"
    )
    return table


def _failures(found: Explanation) -> Table:
    table = plain_table("failures", "outcome", "trials", "reason")
    for group in found.failures[:_MOST_ROWS]:
        outcome = group.outcome.value.replace("_", " ")
        numbers = ", ".join(f"#{number}" for number in group.trials[:5])
        more = ", …" if len(group.trials) > 5 else ""
        table.add_row(
            outcome, f"{len(group.trials)}: {numbers}{more}", Text(shorten(group.reason))
        )
    table.caption = "\n".join(
        f"{s.choice.words}: {s.failed} of {s.tried} failed, {s.failed_without} of "
        f"{s.tried_without} without it (p = {s.p_value:.2g})"
        for s in found.suspects[:_MOST_ROWS]
    )
    return table


def _limits(found: Explanation) -> Table:
    table = plain_table("constraints", "constraint", "excludes", "alone", "not measured")
    for one in found.exclusions:
        table.add_row(one.constraint, str(one.excluded), str(one.alone), str(one.not_measured))
    table.caption = f"{counted(found.feasible, 'trial')} within all of them"
    return table
