"""What the columns of a recorded CSV table are called, and mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from autotune.errors import InputError
from autotune.tables.table import Objective

OUTCOME = "outcome"
KEYS = ("recipe_key", "setup_key", "output_key")
_NOTE = re.compile(
    r"(?P<phase>phase):(?P<seconds>\w+)_seconds|metric:(?P<metric>[^:]+)"
    r"|(?P<of>[^:]+):(?P<end>ci_low|ci_high)"
)

Kind = Literal["param", "objective", "metric", "ci_low", "ci_high", "phase", "outcome", "key"]


@dataclass(frozen=True)
class Column:
    """One column: what it is, and of what."""

    kind: Kind
    name: str
    """Of the param, metric, phase or key."""
    maximise: bool = False
    """Of an objective."""


def phase_column(phase: str) -> str:
    """Seconds of a phase of a trial."""
    return f"phase:{phase}_seconds"


def metric_column(name: str) -> str:
    """A metric that is no objective."""
    return f"metric:{name}"


def interval_columns(name: str) -> tuple[str, str]:
    """The ends of a metric's 95 % interval."""
    return f"{name}:ci_low", f"{name}:ci_high"


def parse_columns(header: list[str], where: str) -> list[Column]:
    """Says what each column is.

    Args:
        header: The names in the first line.
        where: File and line, for errors.

    Raises:
        InputError: A name is empty, comes twice or is not understood, an interval is of no metric,
            or there is no param or no objective.
    """
    columns = [_parse(name.strip(), where) for name in header]
    _check(columns, where)
    return columns


def objectives_of(columns: list[Column]) -> tuple[Objective, ...]:
    """The objectives, in their order."""
    return tuple(Objective(c.name, c.maximise) for c in columns if c.kind == "objective")


def _parse(name: str, where: str) -> Column:
    if not name:
        raise InputError(f"{where}: a column has no name")
    if name == OUTCOME:
        return Column("outcome", name)
    if name in KEYS:
        return Column("key", name)
    if ":" in name:
        return _parse_note(name, where)
    if name[-1] in "+-":
        return Column("objective", name[:-1], name[-1] == "+")
    return Column("param", name)


def _parse_note(name: str, where: str) -> Column:
    found = _NOTE.fullmatch(name)
    if found is None:
        raise InputError(
            f"{where}: the column {name!r} is not understood; with a colon there are "
            "metric:NAME, NAME:ci_low, NAME:ci_high and phase:NAME_seconds"
        )
    if found["phase"]:
        return Column("phase", found["seconds"])
    if found["metric"]:
        return Column("metric", found["metric"])
    return Column("ci_low" if found["end"] == "ci_low" else "ci_high", found["of"])


def _check(columns: list[Column], where: str) -> None:
    kinds = [("metric" if c.kind == "objective" else c.kind, c.name) for c in columns]
    twice = sorted({name for kind, name in kinds if kinds.count((kind, name)) > 1})
    if twice:
        raise InputError(f"{where}: columns that come twice: {', '.join(twice)}")
    for kind, words in (("param", "a param"), ("objective", "an objective: NAME+ or NAME-")):
        if not any(c.kind == kind for c in columns):
            raise InputError(f"{where}: no column is {words}")
    metrics = {name for kind, name in kinds if kind == "metric"}
    for kind, other in (("ci_low", "ci_high"), ("ci_high", "ci_low")):
        for name in (c.name for c in columns if c.kind == kind):
            if name not in metrics or (other, name) not in kinds:
                raise InputError(
                    f"{where}: {name}:{kind} needs the columns {name}:{other} and metric:{name} "
                    f"or an objective {name}"
                )
