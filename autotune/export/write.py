"""Writes a trial's finished model into a directory, and proves that it is that model."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from autotune.bench.protocol import Operation
from autotune.errors import AutotuneError, InputError
from autotune.execute.warm import WarmSessions, ask
from autotune.export.card import card
from autotune.export.choose import Chosen
from autotune.export.files import (
    CARD_FILE,
    EXPORT_FILE,
    METRICS_FILE,
    RECIPE_FILE,
    SERVE_FILE,
    ExportFile,
    list_files,
)
from autotune.export.place import check_place, written_whole
from autotune.export.reference import Outputs, ask_outputs, fixed_tokens, tolerance_of
from autotune.messages import TrialSpec
from autotune.recipe import Recipe
from autotune.report.front_file import autotune_version
from autotune.search.plan import Plan
from autotune.search.single import make_spec
from autotune.workload.adapters import refuse_adapters
from autotune.workload.model import read_config

OnStep = Callable[[str], None]
"""Told what is done next, in words."""

_SPARE = 1.1
_SERVE = '''"""Serves this directory's model as its recipe says: python serve.py --port 8000."""

from pathlib import Path

from autotune.openai import main

if __name__ == "__main__":
    main(Path(__file__).resolve().parent)
'''


def export_trial(
    plan: Plan,
    chosen: Chosen,
    folder: Path,
    *,
    environment: dict[str, str],
    max_shard_bytes: int,
    force: bool,
    on_step: OnStep,
) -> ExportFile:
    """Prepares a trial as the study did, writes what came of it, and loads that again in another
    process: only if its outputs are the same is the directory put in its place.

    Args:
        plan: The study's own, on this machine, for this recipe.
        chosen: The trial.
        folder: Where to; must not exist, or be empty.
        environment: What the trial was measured on.
        max_shard_bytes: Of a file that holds several weights.
        force: Whether an earlier export there may be overwritten.
        on_step: Told what happens.

    Raises:
        InputError: The directory cannot be written there.
        AutotuneError: The model cannot be prepared or written, or is another when it is loaded.
    """
    check_place(folder, force=force)
    refuse_own_code(plan)
    refuse_adapters(plan.workload, "an export holds one model, and")
    spec = _spec(plan, chosen)
    with written_whole(folder, _needed_bytes(chosen)) as beside:
        on_step(f"preparing trial {chosen.point.number} as the study did")
        reference = _write_model(plan, spec, beside, max_shard_bytes)
        on_step("loading the export in a fresh process")
        tolerance = tolerance_of(beside)
        found = ExportFile(
            autotune_version=autotune_version(),
            created_at=datetime.now(UTC),
            pick=chosen.name,
            spec=_anywhere(spec),
            environment=environment,
            written_on=plan.environment,
            tolerance=tolerance,
            max_abs_difference=0.0,
            files={},
        )
        difference = _check_loaded(plan, found, beside, reference)
        found = found.model_copy(update={"max_abs_difference": difference})
        _write_words(plan, chosen, found, beside)
        on_step("hashing its files")
        found = found.model_copy(update={"files": list_files(beside)})
        (beside / EXPORT_FILE).write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
        check_place(folder, force=force)  # minutes have passed
    return found


def refuse_own_code(plan: Plan) -> None:
    """
    Raises:
        InputError: The model is run by code of its repository.
    """
    if "auto_map" in read_config(Path(plan.model.path)):
        raise InputError(
            f"{plan.model.name} is run by Python code of its own repository, which an export "
            "does not hold: it would not run anywhere"
        )


def _needed_bytes(chosen: Chosen) -> float:
    """The weights, and an engine's files beside them."""
    measured = chosen.point.value("weights_disk_bytes") or 0.0
    return _SPARE * 2 * measured


def _spec(plan: Plan, chosen: Chosen) -> TrialSpec:
    recipe = Recipe.from_dict(chosen.recipe)
    spec = make_spec(plan, chosen.point.number, recipe, known_accuracy={})
    own = {"constraints": (), "directory": f"{spec.directory}/export"}
    return spec.model_copy(update=own)


def _anywhere(spec: TrialSpec) -> TrialSpec:
    """Without the places of this machine but that of the original model, which ``verify`` looks
    for."""
    texts = {"evaluation_text": "", "calibration_text": "", "tasks": ()}
    workload = spec.workload.model_copy(update=texts)
    return spec.model_copy(update={"directory": "", "cache_directory": "", "workload": workload})


def _write_model(plan: Plan, spec: TrialSpec, beside: Path, max_shard_bytes: int) -> Outputs:
    with closing(WarmSessions(plan.registry)) as sessions:
        session, _ = sessions.export(spec, beside, max_shard_bytes)
        ids = fixed_tokens(beside)
        reference = ask_outputs(session, spec, ids)
    reference.save(beside)
    return reference


def _check_loaded(plan: Plan, found: ExportFile, beside: Path, reference: Outputs) -> float:
    spec = found.placed(beside, plan.cache, plan.directory / "export")
    with closing(WarmSessions(plan.registry)) as sessions:
        session, prepared = sessions.get("candidate", spec)
        again = ask_outputs(session, spec, reference.input_ids)
        warm = ask(session, Operation.WARMUP, spec)
    if fallbacks := (*prepared.fallbacks, *warm.fallbacks):
        raise AutotuneError(
            "the export would run otherwise than the trial: "
            + "; ".join(one.words for one in fallbacks)
        )
    difference = reference.max_abs_difference(again)
    limit = reference.limit(found.tolerance)
    if difference > limit:
        raise AutotuneError(
            f"trial {found.spec.number} cannot be exported faithfully: loaded again, its outputs "
            f"differ by up to {difference:.3g} where {limit:.3g} is allowed; a plugin of its "
            "recipe does something that the files do not hold"
        )
    return difference


def _write_words(plan: Plan, chosen: Chosen, found: ExportFile, beside: Path) -> None:
    texts = {
        RECIPE_FILE: json.dumps(found.recipe, indent=2) + "\n",
        METRICS_FILE: chosen.numbers.model_dump_json(indent=2) + "\n",
        CARD_FILE: card(plan.name, chosen, found, beside),
    }
    if plan.model.task == "causal-lm":
        texts[SERVE_FILE] = _SERVE
    for name, text in texts.items():
        (beside / name).write_text(text, encoding="utf-8")
