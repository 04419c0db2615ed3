"""The study that keys describe, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.config import StudyFile, build_study, read_keys
from autotune.errors import InputError
from autotune.presets import with_preset

if TYPE_CHECKING:
    from autotune.store.records import StudyRecord


def wanted_study(
    file: Path | None,
    given: Mapping[str, Any],
    stored: Mapping[str, Any] | None,
    source: str,
    options: Mapping[str, str] | None = None,
) -> StudyFile:
    """A study from its file, overridden by what is given.

    Args:
        file: The study file, if any.
        given: Values by key; None was not given. Keys of a section are dotted:
            ``budget.trials``.
        stored: The keys of a study in the database, in the place of a file.
        source: Where ``given`` comes from, for the error.
        options: Keys that an option of the command line gave, and its name.

    Raises:
        InputError: The file or a value is wrong, or no model is named.
    """
    data = read_keys(file) if file else dict(stored or {})
    data = with_preset({**data, **({"preset": given["preset"]} if given.get("preset") else {})})
    for key, value in given.items():
        if value is None or value == ():
            continue
        if key == "plugins" and isinstance(value, str):
            raise InputError(f"plugins is {value!r}, wanted a list of names: [{value!r}]")
        if key == "plugins" and not isinstance(value, Mapping):
            # The file's values stay those of the plugins that are named.
            known = data.get("plugins")
            known = known if isinstance(known, dict) else {}
            value = {name: known.get(name) or {} for name in value}
        section, _, name = key.rpartition(".")
        if section:
            data[section] = {**(data.get(section) or {}), name: value}
        else:
            data[name] = value
    if not data.get("model"):
        raise InputError(
            "no model: give --model DIR, --model demo or --study FILE (in Python: model, study)"
        )
    return build_study(data, str(file or ("the stored study" if stored else source)), options)


def stored_keys(study: StudyRecord) -> dict[str, Any]:
    """The keys of a stored study's file, for ``wanted_study``."""
    known = {k: v for k, v in study.definition.items() if k in StudyFile.model_fields}
    return {**known, "name": study.name}
