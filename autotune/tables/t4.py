"""Reads results of kernel tuners in the T4 format (json, as the Autotuning community's
benchmark_hub keeps them): all times of a file are in its ``metadata.timeunit``."""

from __future__ import annotations

import gzip
import json
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autotune.errors import InputError
from autotune.outcome import Outcome
from autotune.tables.table import Objective, Row

_SECONDS = {"miliseconds": 1e-3, "milliseconds": 1e-3, "ms": 1e-3, "seconds": 1.0, "s": 1.0}
"""By ``timeunit``; the first is how the files of benchmark_hub write it."""
_OUTCOMES = {
    "correct": Outcome.OK,
    "compile": Outcome.CRASHED,
    "runtime": Outcome.CRASHED,
    "timeout": Outcome.TIMEOUT,
    "correctness": Outcome.INVALID_OUTPUT,
    "constraints": Outcome.UNSUPPORTED,
}
"""By ``invalidity``."""
_OBJECTIVES = (
    Objective("runtime_median_seconds", maximise=False),
    Objective("compilation_seconds", maximise=False),
)


def read_t4(path: Path) -> tuple[tuple[str, ...], tuple[Objective, ...], Iterator[Row]]:
    """Reads a file: the objectives are the median runtime and the time of compilation.

    Returns:
        Names of the params, the objectives, and the rows.

    Raises:
        InputError: Says file, number of the result, and what is wrong.
    """
    content = _load(path)
    try:
        unit = content["metadata"]["timeunit"]
        results = content["results"]
        params = tuple(results[0]["configuration"])
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"{path} is not in the T4 format: it needs metadata.timeunit and results, each with a "
            f"configuration ({error!r})"
        ) from error
    if unit not in _SECONDS:
        raise InputError(f"{path}: no timeunit {unit!r}; allowed: {', '.join(_SECONDS)}")
    return params, _OBJECTIVES, _rows(path, params, results, _SECONDS[unit])


def _load(path: Path) -> Any:
    try:
        raw = path.read_bytes()
        return json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error


def _rows(path: Path, params: tuple[str, ...], results: Any, seconds: float) -> Iterator[Row]:
    for number, result in enumerate(results):
        try:
            yield _row(params, result, seconds)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}, result {number} (from 0): {error!r}") from error


def _row(params: tuple[str, ...], result: Mapping[str, Any], seconds: float) -> Row:
    configuration, times = result["configuration"], result["times"]
    if configuration.keys() != set(params):
        raise ValueError(f"its params are {', '.join(configuration)}, not {', '.join(params)}")
    outcome = _OUTCOMES[result["invalidity"]]
    runs = tuple(seconds * float(t) for t in times.get("runtimes", ()))
    compiling = seconds * float(times["compilation"])
    metrics, repeats = {}, {}
    if outcome is Outcome.OK:
        runtime, compilation = (objective.name for objective in _OBJECTIVES)
        metrics = {runtime: statistics.median(runs), compilation: compiling}
        repeats = {runtime: runs}
    return Row(
        params=tuple(configuration[name] for name in params),
        outcome=outcome,
        metrics=metrics,
        phase_seconds={
            "prepare": compiling,
            "measure": sum(runs) + seconds * float(times.get("framework", 0.0)),
        },
        repeats=repeats,
    )
