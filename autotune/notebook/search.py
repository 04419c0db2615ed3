"""A search as a function call: the same keys and the same steps as on the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Console

from autotune.config import StudyFile
from autotune.errors import Interrupted
from autotune.execute.fleet import settings
from autotune.launch.place import Place
from autotune.launch.run import carry_out, prepare, stored_definition
from autotune.launch.wanted import wanted_study
from autotune.notebook.study import Study
from autotune.store.state import state_words
from autotune.store.store import Store

_SECTIONS = frozenset(
    name
    for name, field in StudyFile.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
)


def search(
    model: str | Path | None = None,
    *,
    study: str | Path | None = None,
    name: str | None = None,
    plugins: Sequence[str] | Mapping[str, Any] | None = None,
    objectives: Sequence[str] | None = None,
    constraints: Sequence[str] | None = None,
    trials: int | None = None,
    minutes: float | None = None,
    resume: bool = False,
    allow_different_env: bool = False,
    output: str | Path = "studies",
    database: str | None = None,
    broker: str | None = None,
    progress: bool = True,
    **keys: Any,
) -> Study:
    """Measures a model's optimizations, as ``autotune search`` does.

    An interrupt (Ctrl-C, or a notebook's stop button) ends it: what was measured is kept and
    returned, and the same call with ``resume=True`` goes on.

    Args:
        model: Checkpoint directory, hub id, or ``demo`` / ``demo-tiny``.
        study: A study file; what else is given overrides it.
        name: Of the study; by default MODEL-DEVICE.
        plugins: Names, or plugin → param → values; by default all that are installed.
        objectives: Metrics, or aims such as ``latency``.
        constraints: E.g. ``["kld_mean_nats<=0.05"]``.
        trials: Budget: trials in all.
        minutes: Budget: minutes of this run.
        resume: Whether to go on with the study if it exists.
        allow_different_env: Whether that may have been begun in another environment.
        output: Folder for studies: logs, front.json, report.
        database: URL; by default ``AUTOTUNE_DATABASE_URL``, else a file in the folder.
        broker: Redis of the workers; by default ``AUTOTUNE_BROKER_URL``, else this machine
            measures.
        progress: Whether to print what happens.
        **keys: Any other key of a study file: ``workload={"new_tokens": 64}``, ``seed=1``.

    Returns:
        The study with all its trials.

    Raises:
        InputError: Something is wrong; nothing was started.
        AutotuneError: The baseline cannot be measured.
    """
    place = _place(output, database, broker)
    console = Console(quiet=not progress)
    given = {
        "model": None if model is None else str(model),
        "name": name,
        "plugins": plugins,
        "objectives": objectives,
        "constraints": constraints,
        **_flat(keys),
        **{"budget.trials": trials, "budget.minutes": minutes},
    }
    stored = stored_definition(place.url, name) if resume and not (model or study) else None
    file = None if study is None else Path(study)
    wanted = wanted_study(file, given, stored, "autotune.search")
    ready = prepare(wanted, place, console, resume=resume, again=_again)
    found = ready.plan.name
    try:
        carry_out(ready, console, resume=resume, allow_different_env=allow_different_env)
    except Interrupted as stopped:
        console.print(f"{stopped}; go on with: {_again(found)}", markup=False, soft_wrap=True)
    return open_study(found, output=output, database=database)


def open_study(name: str, *, output: str | Path = "studies", database: str | None = None) -> Study:
    """See ``autotune.open_study``."""
    place = _place(output, database, None)
    with Store.open_existing(place.url) as store:
        record = store.study(name)
        return Study(record, store.trials(name), place, state_words(place.url, record))


def _place(output: str | Path, database: str | None, broker: str | None) -> Place:
    known = os.environ
    return Place(
        Path(output),
        database or known.get(settings.DATABASE) or None,
        broker or known.get(settings.BROKER) or None,
    )


def _flat(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Sections as dotted keys: what they do not say stays as the study file says it."""
    flat: dict[str, Any] = {}
    for key, value in keys.items():
        inside = key in _SECTIONS and isinstance(value, Mapping)
        flat |= {f"{key}.{k}": v for k, v in value.items()} if inside else {key: value}
    return flat


def _again(name: str) -> str:
    return f"autotune.search(name={name!r}, resume=True, ...)"
