"""The catalogue as a page in Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from autotune.markdown import plain, table
from autotune.metrics.catalogue import METRICS
from autotune.metrics.elsewhere import FALSE_FRIENDS, TOOLS
from autotune.metrics.kinds import Family, Metric

_HEAD = """\
# Metrics

Written by `scripts/docs` from `autotune/metrics/catalogue.py`; edit that, not this page.
`autotune metrics` shows it in a terminal.

Let t0 = prompt token ids handed to the engine, t1 = first output token on the host, tn = last
output token on the host, n = output tokens per sequence, batch = sequences per request. Values are
stored in base units; a value that was not measured is null with a reason. Two values closer than
the resolution (a difference, a share of the value, or both combined) are ties, whatever their
intervals say.
"""

_ELSEWHERE = """\
## The same quantity in other tools

Compare numbers by formula, never by name. Where the workload is the same, these are the same
quantity; latencies are milliseconds there (seconds for guidellm's `request_latency`), and a server
adds its queue and the network to them.
"""

_FALSE_FRIENDS = """\
## Names that mean something else there

These look like one of our metrics and are not.
"""

_ARROWS = {"maximize": "higher", "minimize": "lower"}


def page() -> str:
    """The whole page in Markdown."""
    families = "\n".join(_family(family) for family in Family)
    return "\n".join((_HEAD, families, _ELSEWHERE, _elsewhere(), _FALSE_FRIENDS, _false_friends()))


def resolution(metric: Metric) -> str:
    """How close two values may be and still be ties, in words; empty without a resolution."""
    absolute = _quantity(metric.resolution, metric.unit) if metric.resolution else ""
    relative = f"{metric.resolution_ratio * 100:g} %" if metric.resolution_ratio else ""
    return f"hypot({absolute}, {relative})" if absolute and relative else absolute or relative


def _quantity(value: float, unit: str) -> str:
    if unit == "B":
        return f"{value / (1 << 20):g} MiB"
    return f"{value:g}" if unit == "ratio" else f"{value:g} {unit}"


def _family(family: Family) -> str:
    rows = [
        (
            _code(metric.name),
            metric.unit,
            _ARROWS[metric.direction],
            metric.formula,
            metric.meaning or metric.label,
            ", ".join(metric.tasks) or "all",
            resolution(metric),
        )
        for metric in METRICS.values()
        if metric.family is family
    ]
    head = ("name", "unit", "better", "formula", "meaning", "tasks", "resolution")
    return f"## {family.capitalize()}\n\n{_table(head, rows)}"


def _elsewhere() -> str:
    rows = [
        (_code(metric.name), *(_foreign(metric.elsewhere.get(tool, "")) for tool in TOOLS))
        for metric in METRICS.values()
        if metric.elsewhere
    ]
    return _table(("ours", *(f"{tool} ({where})" for tool, where in TOOLS.items())), rows)


def _false_friends() -> str:
    rows = [(f.tool, _code(f.name), f.formula, _code(f.ours), f.difference) for f in FALSE_FRIENDS]
    return _table(("tool", "name there", "formula there", "is not our", "because it"), rows)


def _foreign(text: str) -> str:
    """A name, and perhaps words after it."""
    name, space, words = text.partition(" ")
    return _code(name) + space + words


def _code(name: str) -> str:
    return f"`{name}`" if name else ""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    return table(head, (map(plain, row) for row in rows))
