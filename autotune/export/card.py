"""The model card: what was measured, and how the directory is loaded, served and verified."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from autotune.bench.exported.names import STRUCTURE
from autotune.export.choose import Chosen
from autotune.export.commands import run_elsewhere
from autotune.export.files import EXPORT_FILE, METRICS_FILE, RECIPE_FILE, SERVE_FILE, ExportFile
from autotune.front import task_verdict
from autotune.markdown import plain, table
from autotune.metrics import METRICS, Family
from autotune.recipe import describe
from autotune.report.format import measured, ratio

_SNIPPET = """```python
import autotune

with autotune.load(".") as model:
    print(model.{call}(["Once upon a time"]))
```"""

_FAMILIES = (Family.SPEED, Family.MEMORY, Family.ENERGY, Family.ACCURACY)


def card(study: str, chosen: Chosen, found: ExportFile, folder: Path) -> str:
    """The ``README.md`` of an exported directory.

    Args:
        study: Its name.
        chosen: The trial with its numbers.
        found: What is written.
        folder: Holds the model.
    """
    spec, numbers = found.spec, chosen.numbers
    parts = [
        _front_matter(spec.model.task),
        f"# {Path(spec.model.name).name}: {plain(describe(chosen.recipe))}",
        f"Trial {spec.number} of the study `{study}` of `{spec.model.name}`, exported as "
        f"`{found.pick}` by autotune {found.autotune_version}: {chosen.against_baseline}.",
        "## Measured",
        _measured_on(found),
        table(("metric", "this model", "baseline", "ratio", "grade"), _rows(chosen)),
        _tasks(chosen),
        *(["## What to know", _list(numbers.notes)] if numbers.notes else []),
        "## Run it",
        *_how_to_run(found),
        _proof(found),
        "## With other engines",
        *run_elsewhere(found, folder),
        "## Files",
        _files(folder),
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _how_to_run(found: ExportFile) -> Iterator[str]:
    answers = found.spec.model.task == "causal-lm"
    call = "generate" if answers else "outputs"
    yield _SNIPPET.format(call=call)
    yield f"The model runs in a process of its own, with the recipe's settings (`{RECIPE_FILE}`)."
    if answers:
        yield f"`python {SERVE_FILE} --port 8000` serves it with an OpenAI-compatible API."
    plugins = f" and the plugins {', '.join(found.recipe)}" if found.recipe else ""
    yield (
        f"All of this needs autotune{plugins}. `autotune verify .` checks the files, compares the "
        "outputs with the trial's, and measures the speed again."
    )


def _front_matter(task: str) -> str:
    pipeline = {"causal-lm": "text-generation", "sequence-classification": "text-classification"}
    return (
        "---\nlibrary_name: transformers\n"
        f"pipeline_tag: {pipeline.get(task, 'feature-extraction')}\n---"
    )


def _measured_on(found: ExportFile) -> str:
    spec, environment = found.spec, found.environment
    work = spec.workload
    generated = f", {work.new_tokens} new tokens" if spec.model.task == "causal-lm" else ""
    requests = (
        work.traffic.in_words(work.prompt_tokens, work.new_tokens)
        if work.traffic
        else f"prompts of {work.prompt_tokens} tokens{generated}"
    )
    names = ("torch", "transformers", "torchao", "onnxruntime", "openvino", "llama-cpp-python")
    versions = ", ".join(f"{name} {environment[name]}" for name in names if environment.get(name))
    return (
        f"On {environment.get('device', spec.device.name)}, {requests}, {versions}. Speeds rest "
        "on blocks that alternate with the baseline's, which is the original model as it is. "
        "± is half the 95 % interval; the grade says how quiet the machine was, A to C."
    )


def _rows(chosen: Chosen) -> Iterator[tuple[str, ...]]:
    own, baseline = chosen.numbers.metrics, chosen.numbers.baseline
    wanted = [n for n in chosen.numbers.objectives if n in own]
    wanted += [n for n in own if n in METRICS and METRICS[n].family in _FAMILIES]
    for name in dict.fromkeys(wanted):
        if own[name].value is None:
            continue
        grade = own[name].grade
        yield (
            METRICS[name].label,
            measured(name, own[name]),
            measured(name, baseline.get(name)),
            ratio(name, own[name], baseline.get(name)),
            grade.value if grade else "",
        )


def _tasks(chosen: Chosen) -> str:
    scores = "; ".join(
        f"{score.name}: {score.correct} of {score.n} right" for score in chosen.numbers.tasks
    )
    verdict = task_verdict(chosen.numbers.metrics)
    return f"Tasks: {scores}. {verdict}".strip() if scores else ""


def _proof(found: ExportFile) -> str:
    return (
        "Before this directory was put in its place, a fresh process loaded it and its outputs "
        "were compared with those of the process that wrote it: they differed by at most "
        f"{found.max_abs_difference:.3g}."
    )


def _files(folder: Path) -> str:
    weights = ", ".join(f"`{f.name}`" for f in sorted(folder.glob("*.safetensors*")))
    lines = [
        f"{weights}: weights, the token ids of the workload, and outputs to compare with "
        "(`reference.safetensors`). The token ids are of the study's texts.",
        f"`{METRICS_FILE}`: every measured number with its interval; `{RECIPE_FILE}`: the recipe; "
        f"`{EXPORT_FILE}`: the trial, its environment, and the hash of every file.",
    ]
    if (folder / STRUCTURE).is_file():
        lines.append(
            f"`{STRUCTURE}`: what `config.json` does not say: modules that differ, and which "
            "plain tensors make up which quantized weight. It is data: loading runs no code of "
            "this directory."
        )
    return _list(lines)


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
