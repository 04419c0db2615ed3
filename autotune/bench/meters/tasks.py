"""Tasks with right answers: which items a recipe has right, paired with the baseline's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autotune.bench.engines.torch_engine import TorchGenerator
from autotune.bench.meters.lm_eval_items import lm_eval_items
from autotune.bench.prepare import Prepared
from autotune.bench.protocol import item_file
from autotune.bench.tokenizer import load_tokenizer
from autotune.errors import BenchError
from autotune.hashing import sha256_json
from autotune.messages import Measurement, Metrics, TaskFile, TaskScore, TrialSpec
from autotune.outcome import Outcome
from autotune.pairing import paired_difference
from autotune.plugin import Unsupported
from autotune.statistics import Interval, share_interval
from autotune.workload.labelled import class_indices, class_names, read_labelled

_TEXTS = 16
"""Labelled texts of one forward pass."""
_LONGEST_TEXT = 1 << 20
"""A tokenizer that knows no limit says a number above this."""
_SOURCE = "the study's task files"


@dataclass(frozen=True)
class Items:
    """The items of one task, in order."""

    names: tuple[str, ...]
    """Hashes of what was asked: two lists of items are paired only if these are equal."""
    correct: tuple[bool, ...]


def run_tasks(prepared: Prepared, spec: TrialSpec) -> Iterator[TaskScore]:
    """Runs each task file; keeps the items where the recipe is the baseline.

    Args:
        prepared: The model, not yet compiled.
        spec: The trial; ``item_file`` of each task exists unless it is the baseline's.

    Raises:
        Unsupported: A task of lm-eval, and an engine that is not torch's own or a lossy cache.
        BenchError: Outputs that are not finite, or other items than the baseline had.
    """
    for task in spec.workload.tasks:
        items = _run(prepared, spec, task)
        file = item_file(spec, task)
        if spec.recipe:
            yield compare(task.name, items, _load(file))
        else:
            _save(file, items)
            yield TaskScore(name=task.name, n=len(items.names), correct=sum(items.correct))


def compare(name: str, items: Items, baseline: Items) -> TaskScore:
    """Counts what changed.

    Raises:
        BenchError: The items are not the same.
    """
    if items.names != baseline.names:
        raise BenchError(
            Outcome.CRASHED, f"task {name!r} asked other things than of the baseline: no pairs"
        )
    pairs = list(zip(items.correct, baseline.correct, strict=True))
    return TaskScore(
        name=name,
        n=len(pairs),
        correct=sum(items.correct),
        gained=sum(now and not before for now, before in pairs),
        lost=sum(before and not now for now, before in pairs),
    )


def score_metrics(scores: Sequence[TaskScore]) -> Metrics:
    """The metrics of all tasks together, each item counting alike; the baseline has no delta."""
    n = sum(score.n for score in scores)
    found = {"task_accuracy": _ratio(share_interval(sum(s.correct for s in scores), n))}
    if any(score.gained is None for score in scores):
        return found
    gained, lost = sum(s.gained or 0 for s in scores), sum(s.lost or 0 for s in scores)
    return found | {
        "task_accuracy_delta": _ratio(paired_difference(gained, lost, n)),
        "task_flip_ratio": _ratio(share_interval(gained + lost, n)),
    }


def _ratio(found: Interval) -> Measurement:
    return Measurement.of(found, "ratio", "mean", _SOURCE)


def _run(prepared: Prepared, spec: TrialSpec, task: TaskFile) -> Items:
    tokenizer = load_tokenizer(spec.model)
    run_args = prepared.run_args(spec.recipe)
    if task.kind == "labelled":
        return _labelled(prepared, tokenizer, task, run_args)
    if prepared.engine.alters_outputs(run_args):
        raise Unsupported(
            f"task {task.name!r}: lm-eval drives the model by itself, and the way this recipe "
            "drives it (a lossy key-value cache, early exits) changes the answers"
        )
    if not isinstance(prepared.engine, TorchGenerator):
        raise Unsupported(
            f"task {task.name!r}: lm-eval drives a torch model, and this recipe runs in "
            f"{type(prepared.engine).__name__}"
        )
    pairs = lm_eval_items(prepared.model, tokenizer, task)
    return Items(tuple(name for name, _ in pairs), tuple(right for _, right in pairs))


def _labelled(
    prepared: Prepared, tokenizer: Any, task: TaskFile, run_args: Mapping[str, Any]
) -> Items:
    config = prepared.context.model_config
    rows = read_labelled(Path(task.path))
    wanted = class_indices(Path(task.path), rows, class_names(config))
    limits = (tokenizer.model_max_length, config.get("max_position_embeddings"))
    longest = min((n for n in limits if n and n < _LONGEST_TEXT), default=512)
    given: list[int] = []
    for start in range(0, len(rows), _TEXTS):
        batch = tokenizer(
            [row.text for row in rows[start : start + _TEXTS]],
            truncation=True,
            max_length=longest,
            padding=True,
            return_tensors="pt",
            verbose=False,
        )
        device = prepared.tokens.prompts["input_ids"].device
        logits = prepared.engine.outputs({k: v.to(device) for k, v in batch.items()}, run_args)
        if not torch.isfinite(logits).all():
            raise BenchError(
                Outcome.INVALID_OUTPUT, f"the model's outputs on task {task.name!r} are not finite"
            )
        given += logits.argmax(-1).tolist()
    names = tuple(sha256_json([row.text, row.label])[:16] for row in rows)
    return Items(names, tuple(a == b for a, b in zip(given, wanted, strict=True)))


def _load(file: Path) -> Items:
    data = json.loads(file.read_text(encoding="utf-8"))
    return Items(tuple(data["items"]), tuple(map(bool, data["correct"])))


def _save(file: Path, items: Items) -> None:
    """Writes whole or not at all: a killed process leaves no half file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data = {"items": items.names, "correct": [int(right) for right in items.correct]}
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(data), encoding="utf-8")
    temporary.replace(file)
