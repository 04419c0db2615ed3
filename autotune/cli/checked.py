"""What came of trying plugins, as a table, a page and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from autotune.errors import InputError
from autotune.markdown import plain, table
from autotune.report.console import plain_table
from autotune.report.format import digits
from autotune.search.check import Tried, Verdict

if TYPE_CHECKING:
    from autotune.search.plan import Plan

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


def checked_json(tried: Sequence[Tried]) -> str:
    """The same for programs."""
    return json.dumps([dataclasses.asdict(one) for one in tried], indent=2)


def totals(tried: Sequence[Tried]) -> str:
    """How many came out how."""
    counts = Counter(one.verdict.value for one in tried)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def write_checked(path: Path, plan: Plan, tried: Sequence[Tried], ended: str) -> None:
    """Writes the page, which begins with where it was tried.

    Args:
        path: Its file.
        plan: As they were tried.
        tried: What came of it.
        ended: Why there is no more, if it is not all.

    Raises:
        InputError: The file cannot be written.
    """
    machine = plan.environment
    versions = ", ".join(f"{k} {machine[k]}" for k in ("torch", "transformers") if k in machine)
    cores = f"{plan.device.name}, {plan.device.cores} cores"
    head = "; ".join(filter(None, (cores, versions, f"model {plan.model.name}", ended)))
    try:
        path.write_text(f"{head}\n\n{checked_markdown(tried)}", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--markdown: {path} cannot be written: {error}") from error
