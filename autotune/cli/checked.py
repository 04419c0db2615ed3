"""What came of trying plugins, as a page and as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from autotune.markdown import plain, table
from autotune.report.console import plain_table
from autotune.report.format import digits
from autotune.search.check import Tried, Verdict

RATIOS = {
    "weights_bytes": "weights",
    "host_model_peak_bytes": "model peak",
    "device_peak_process_bytes": "device peak",
    "output_tokens_per_second": "output tokens/s",
    "samples_per_second": "samples/s",
}
"""Metric → heading of the column with its ratio to the baseline."""

DISTANCES = {"kld_mean_nats": "KLD", "embedding_cosine_distance": "cosine distance"}
"""Metric → heading of the column with its value."""

_STYLES = {
    Verdict.OK: "green",
    Verdict.REFUSED: "dim",
    Verdict.FELL_BACK: "yellow",
    Verdict.FAILED: "bold red",
}


def columns(tried: Sequence[Tried]) -> list[str]:
    """The metrics that any of them has, in the order of ``RATIOS`` and ``DISTANCES``."""
    ratios = [name for name in RATIOS if any(name in one.ratios for one in tried)]
    return ratios + [name for name in DISTANCES if any(name in one.accuracy for one in tried)]


def cells(one: Tried, names: Sequence[str]) -> list[str]:
    """One row: plugin, values, outcome, ratios, distances, what is to be said."""
    beside = f"beside {one.beside}" if one.beside else ""
    words = "; ".join(filter(None, (beside, one.words)))
    return [one.plugin, one.values, one.verdict.value, *(_cell(one, n) for n in names), words]


def _cell(one: Tried, name: str) -> str:
    if name in DISTANCES:
        return digits(one.accuracy[name]) if name in one.accuracy else ""
    return f"{one.ratios[name]:.2f}" if name in one.ratios else ""


def headings(names: Sequence[str]) -> list[str]:
    """Those of ``cells``."""
    return ["plugin", "values", "here", *({**RATIOS, **DISTANCES}[name] for name in names), ""]


def checked_table(tried: Sequence[Tried]) -> Table:
    """For a terminal."""
    names = columns(tried)
    shown = plain_table("", *headings(names))
    for one in tried:
        shown.add_row(*map(escape, cells(one, names)), style=_STYLES[one.verdict])
    return shown


def checked_markdown(tried: Sequence[Tried]) -> str:
    """The same as a table in Markdown."""
    names = columns(tried)
    return table(headings(names), (map(plain, cells(one, names)) for one in tried))
