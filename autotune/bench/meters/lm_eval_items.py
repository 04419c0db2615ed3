"""One task of lm-eval on a model that is in memory: which items are right."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autotune.errors import BenchError
from autotune.hashing import sha256_json
from autotune.messages import TaskFile
from autotune.outcome import Outcome
from autotune.workload.lm_eval_task import MEASURES

_BATCH = 8
_HASHES = ("doc_hash", "prompt_hash", "target_hash")


def lm_eval_items(model: Any, tokenizer: Any, task: TaskFile) -> list[tuple[str, bool]]:
    """Runs a task file with lm-eval's own evaluator.

    Args:
        model: A transformers causal language model, not compiled.
        tokenizer: Its tokenizer.
        task: The task file; the paths in it are relative to its folder.

    Returns:
        A hash of what was asked, and whether it was right, for each item.

    Raises:
        BenchError: lm-eval gave no items, or items that are neither right nor wrong.
    """
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    path = Path(task.path)
    with contextlib.chdir(path.parent), weights_left_alone(model):
        found = lm_eval.simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=_BATCH),
            tasks=[str(path)],
            task_manager=TaskManager(include_defaults=False),
            bootstrap_iters=0,
            log_samples=True,
        )
    samples = (found or {}).get("samples", {}).get(task.name) or []
    if not samples:
        raise BenchError(Outcome.CRASHED, f"lm-eval gave no items for task {task.name!r}")
    # A task with several filters gives each item once for each; the first is its own.
    own = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
    return [(_name(sample), _right(sample, task.name)) for sample in own]


@contextlib.contextmanager
def weights_left_alone(model: Any) -> Iterator[None]:
    """lm-eval ties weights when it takes a model: what a plugin has untied, such as a quantized
    output layer, would be undone, and another model than the recipe's be scored."""
    model.tie_weights = lambda *_, **__: None
    try:
        yield
    finally:
        del model.tie_weights


def _name(sample: Any) -> str:
    return sha256_json([sample[part] for part in _HASHES])[:16]


def _right(sample: Any, task: str) -> bool:
    measure = next((name for name in MEASURES if name in sample), None)
    value = None if measure is None else float(sample[measure])
    if value not in (0.0, 1.0):
        raise BenchError(
            Outcome.CRASHED, f"task {task!r}: {measure or 'no measure'} is {value}, not 0 or 1"
        )
    return value == 1.0
