"""Two studies side by side, for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from autotune.front.signs import TIMES
from autotune.metrics import Family, metric
from autotune.numbers import counted, digits
from autotune.report import format
from autotune.report.compare import Comparison, Pair, Side, Value
from autotune.report.console import plain_table

_MOST_ROWS = 20
_SIGNS = {"agree": "", "differ": " \N{NOT EQUAL TO}", "unknown": ""}


def verdict_lines(found: Comparison) -> Iterator[str]:
    """What may be compared, in sentences.

    Args:
        found: The comparison.
    """
    yield f"A: {found.study_a}, {found.model_a} on {found.device_a}"
    yield f"B: {found.study_b}, {found.model_b} on {found.device_b}"
    if not found.differences:
        yield "Same model, workload and environment: values may be compared as they are."
        return
    what = " and ".join(sorted({_WHAT[difference.kind] for difference in found.differences}))
    yield (
        f"The values are NOT comparable: {what} differ. Compare the ratios, each to the baseline "
        "of its own study."
    )
    if _is_other_model(found):
        yield "The models differ: accuracy is each against its own baseline, too."


_WHAT = {"environment": "machine, versions or settings", "definition": "model or workload"}


def _is_other_model(found: Comparison) -> bool:
    return any(difference.key in ("model", "model_files") for difference in found.differences)


def tables(found: Comparison) -> Iterator[Table]:
    """Those that have anything to say.

    Args:
        found: The comparison.
    """
    if found.differences:
        yield _differences(found)
    yield _side_by_side("baselines", found, (found.baselines,))
    if found.picks:
        yield _side_by_side("picks", found, found.picks)
    if found.shared:
        yield _shared(found)


def _differences(found: Comparison) -> Table:
    table = plain_table("what differs", "what", "key", "A", "B")
    for one in found.differences:
        table.add_row(one.kind, one.key, Text(one.a), Text(one.b))
    return table


def _columns(table: Table, found: Comparison) -> list[str]:
    """The metrics that any shown trial has."""
    for name in found.metrics:
        table.add_column(f"{metric(name).label} {format.arrow(metric(name))}", justify="right")
    return list(found.metrics)


def _side_by_side(title: str, found: Comparison, pairs: tuple[Pair, ...]) -> Table:
    table = plain_table(title, title.removesuffix("s"), "study")
    table.add_column("trial", justify="right")
    table.add_column("recipe", overflow="fold", ratio=1)
    names = _columns(table, found)
    for pair in pairs:
        for study, side in (("A", pair.a), ("B", pair.b)):
            name = pair.name.replace("_", " ") if study == "A" else ""
            table.add_row(name, study, *_row(side, names), end_section=study == "B")
    table.caption = f"below a value: its ratio to the baseline of its own study ({TIMES})"
    return table


def _row(side: Side | None, names: list[str]) -> list[Text]:
    if side is None:
        return [Text(format.NOT_MEASURED)] * (2 + len(names))
    cells = [Text(_cell(name, side.values.get(name))) for name in names]
    return [Text(str(side.number)), Text(side.words), *cells]


def _cell(name: str, value: Value | None) -> str:
    if value is None:
        return format.NOT_MEASURED
    shown = format.measured(name, value.measured)
    return f"{shown}\n{_ratio(value)}" if value.ratio is not None else shown


def _ratio(value: Value) -> str:
    ends = (value.ratio_low, value.ratio_high)
    shown = "" if value.ratio is None else f"{digits(value.ratio)}{TIMES}"
    if ends[0] is None or ends[1] is None or ends[0] == ends[1]:
        return shown
    return f"{shown} ({digits(ends[0])} to {digits(ends[1])})"


def _shared(found: Comparison) -> Table:
    """Recipes of which the studies disagree come first."""
    table = plain_table(f"{counted(len(found.shared), 'recipe')} that both measured", "recipe")
    table.add_column("trials", justify="right")
    names = _columns(table, found)
    ranked = sorted(found.shared, key=lambda p: "differ" not in p.verdicts.values())
    for pair in ranked[:_MOST_ROWS]:
        numbers = f"{pair.a.number if pair.a else ''} / {pair.b.number if pair.b else ''}"
        table.add_row(Text(pair.name), numbers, *(_both(pair, name) for name in names))
    table.caption = "\n".join(_legend(found))
    return table


def _both(pair: Pair, name: str) -> Text:
    """A above B, against each own baseline."""
    sides = [side.values.get(name) if side else None for side in (pair.a, pair.b)]
    shown = "\n".join(map(lambda value: _compared(name, value), sides))
    verdict = pair.verdicts.get(name, "unknown")
    return Text(shown + _SIGNS[verdict], style="yellow" if verdict == "differ" else "")


def _compared(name: str, value: Value | None) -> str:
    if value is None:
        return format.NOT_MEASURED
    if metric(name).family is Family.ACCURACY:
        return format.measured(name, value.measured)
    return _ratio(value) or format.NOT_MEASURED


def _legend(found: Comparison) -> Iterator[str]:
    yield "A above B, each against its own baseline; \N{NOT EQUAL TO} beyond both 95 % intervals"
    for name in found.metrics:
        counts = Counter(pair.verdicts.get(name, "unknown") for pair in found.shared)
        known = counts["agree"] + counts["differ"]
        if known:
            yield f"{metric(name).label}: {counts['agree']} of {counted(known, 'recipe')} agree"
    hidden = len(found.shared) - _MOST_ROWS
    if hidden > 0:
        yield f"{counted(hidden, 'recipe')} not shown: --json"
    yield f"measured by one alone: {found.only_a} by A, {found.only_b} by B"
