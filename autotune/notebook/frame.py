"""A study's trials as a table of pandas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from autotune.errors import InputError
from autotune.notebook.trials import Trial

if TYPE_CHECKING:
    import pandas


def data_frame(trials: Iterable[Trial]) -> pandas.DataFrame:
    """One row for each trial, by number.

    Args:
        trials: Of one study.

    Returns:
        ``recipe`` in words, ``outcome``, ``feasible``, ``front``, ``picks``, ``explanation``; a
        column for each param (``quantize.scheme``; empty where the plugin is off); and for each
        metric its value and the ends of its 95 % interval (``ttft_seconds``, ``ttft_seconds_low``,
        ``ttft_seconds_high``), in the unit that its name says.

    Raises:
        InputError: pandas is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise InputError("to_dataframe needs pandas: pip install 'autotune[notebook]'") from error
    rows = [_row(trial) for trial in trials]
    names = _in_order(rows)
    return pandas.DataFrame(rows, columns=names).set_index("trial")


def _in_order(rows: Iterable[dict[str, Any]]) -> list[str]:
    """What every trial has, params, metrics: each as it came first."""
    names = dict.fromkeys(_FACTS)
    for row in rows:
        names |= dict.fromkeys(row)
    rest = [name for name in names if name not in _FACTS]
    params = [name for name in rest if "." in name]
    return [*_FACTS, *sorted(params), *(name for name in rest if "." not in name)]


_FACTS = ("trial", "recipe", "outcome", "feasible", "front", "picks", "explanation")


def _row(trial: Trial) -> dict[str, Any]:
    params = {
        f"{plugin}.{param}": value
        for plugin, values in trial.recipe.items()
        for param, value in values.items()
    }
    metrics: dict[str, float | None] = {}
    for name, found in trial.metrics.items():
        metrics |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    facts = (
        trial.number,
        trial.words,
        trial.outcome,
        trial.feasible,
        trial.is_on_front,
        ", ".join(trial.picks),
        trial.explanation,
    )
    return {**dict(zip(_FACTS, facts, strict=True)), **params, **metrics}
