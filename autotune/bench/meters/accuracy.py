"""What a recipe changed in the model's outputs, against the baseline's on held-out text."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autotune.engine import Batch, Engine
from autotune.errors import BenchError
from autotune.messages import Measurement, Metrics
from autotune.metrics import METRICS, Family
from autotune.outcome import Outcome
from autotune.statistics import ONE_LOOK, Interval, clustered_mean, share_interval

_CHUNK_BYTES = 256 << 20
"""Roughly how much memory the float32 logits of one forward pass may take."""

_BATCH = 8
"""At most so many sequences in one forward pass."""

_LARGEST_EXPONENT = 700.0
"""A ruined model's perplexity stays a finite number."""

_FEWEST_WINDOWS = 4
"""That are scored first: from fewer there is hardly an interval."""

FIRST_ERROR = 0.005
"""How often the interval of the first windows misses to one side: with the 2.5 % of the last one
3 % together. Losses are skewed towards the bad side, which makes the good end miss less often."""

_SOURCE = "teacher-forced on held-out text"

Rows = list[torch.Tensor]
"""Values of a window's positions each, or of a text one."""


class AccuracyMeter:
    """Scores an engine on the evaluation windows.

    The baseline's log-probabilities are kept on disk in float16 with the full vocabulary (it
    costs about 1e-6 nats; keeping only the top 64 tokens would lose half of the divergence).
    """

    def __init__(
        self,
        engine: Engine,
        run_args: Mapping[str, Any],
        task: str,
        windows: Batch,
        reference: Path,
        paired: Path,
    ):
        self._engine = engine
        self._run_args = run_args
        self._task = task
        self._windows = windows
        self._reference = reference
        self._paired = paired
        self._largest_batch = 1

    def score(self, is_out: Callable[[Metrics], bool] | None = None) -> Metrics:
        """Measures every accuracy metric of the task.

        Args:
            is_out: Whether metrics show that a recipe is out. Where it is given, a few windows,
                spread over the text, are scored before the others, and it is asked once, with
                intervals wide enough for one more look.

        Returns:
            Of all windows; or of the few, which then are not ``converged``.

        Raises:
            BenchError: The outputs are not finite.
        """
        count = len(self._windows["input_ids"])
        first = _first_windows(count) if is_out else []
        rows = self._compare(first)
        if first and is_out:
            found = _metrics(rows, FIRST_ERROR)
            if is_out(found):
                source = f"{_SOURCE}, {len(first)} of {count} windows"
                early = {"converged": False, "source": source}
                return {name: m.model_copy(update=early) for name, m in found.items()}
        others = self._compare([i for i in range(count) if i not in first])
        return _metrics({name: [*rows.get(name, []), *others[name]] for name in others})

    def save_reference(self) -> None:
        """Runs the engine, which holds the baseline, and keeps its outputs for later scores."""
        outputs, paired = [], []
        for windows, logits in self._forward(range(len(self._windows["input_ids"]))):
            if self._task == "causal-lm":
                log_probabilities = torch.log_softmax(logits[:, :-1], -1)
                paired.append(_nll(log_probabilities, windows).cpu().numpy())
                outputs.append(log_probabilities.half().cpu().numpy())
            else:
                outputs.append(logits.cpu().numpy())
        _save(self._reference, np.concatenate(outputs))
        _save(self._paired, np.concatenate(paired) if paired else np.zeros(0))

    def self_floor(self) -> Metrics:
        """The divergence of the stored reference from the same model in batches of another size:
        what a difference may be without any change of the model. Call it after ``save_reference``;
        empty for embeddings."""
        if self._task == "feature-extraction":
            return {}
        other = 1 if self._largest_batch == 2 else 2
        reference = np.load(self._reference, mmap_mode="r")
        rows: list[float] = []
        positions = done = 0
        for _, logits in self._forward(range(len(reference)), other):
            log_ref = _log_probabilities(reference[done : done + len(logits)], logits.device)
            done += len(logits)
            if self._task == "causal-lm":
                logits = logits[:, :-1]
            kld = _kld(log_ref, torch.log_softmax(logits, -1))
            positions += kld.numel()
            rows += _rows(kld.reshape(len(kld), -1))
        return {"kld_self_floor_nats": _measurement(clustered_mean(rows), "nat", positions)}

    def _forward(
        self, chosen: Sequence[int], fixed: int = 0
    ) -> Iterator[tuple[Batch, torch.Tensor]]:
        """Outputs of windows in small batches (of ``fixed``, if given), checked to be finite."""
        size = fixed or 1
        done = 0
        while done < len(chosen):
            part = list(chosen[done : done + size])
            windows = {name: ids[part] for name, ids in self._windows.items()}
            logits = self._engine.outputs(windows, self._run_args)
            if not torch.isfinite(logits).all():
                raise BenchError(
                    Outcome.INVALID_OUTPUT, "the model's outputs on held-out text are not finite"
                )
            yield windows, logits
            done += size
            fitting = _CHUNK_BYTES * len(logits) // (4 * logits.numel())
            self._largest_batch = max(self._largest_batch, len(logits))
            size = fixed or max(1, min(_BATCH, fitting))

    def _compare(self, chosen: Sequence[int]) -> dict[str, Rows]:
        """What tells the engine's outputs from the reference's, position by position."""
        reference = np.load(self._reference, mmap_mode="r")
        paired = np.load(self._paired)
        rows: dict[str, Rows] = {}
        done = 0
        for windows, logits in self._forward(chosen):
            part = list(chosen[done : done + len(logits)])
            done += len(logits)
            if self._task == "causal-lm":
                found = _language(windows, logits, reference[part], paired[part])
            elif self._task == "sequence-classification":
                found = _classes(logits, reference[part])
            else:
                found = _embeddings(logits, reference[part])
            for name, values in found.items():
                rows.setdefault(name, []).extend(values.double().cpu())
        return rows


def _first_windows(count: int) -> list[int]:
    """Spread over the text, whose parts are of different kinds; none where it is too short to gain
    anything."""
    few = max(_FEWEST_WINDOWS, count // 8)
    if count < 2 * few:
        return []
    return [round((i + 0.5) * count / few - 0.5) for i in range(few)]


def _language(windows: Batch, logits: Any, reference: Any, paired: Any) -> dict[str, torch.Tensor]:
    log_p = torch.log_softmax(logits[:, :-1], -1)
    log_ref = _log_probabilities(reference, log_p.device)
    nll = _nll(log_p, windows)
    return {
        "kld": _kld(log_ref, log_p),
        "agree": (log_p.argmax(-1) == log_ref.argmax(-1)).float(),
        "nll": nll,
        "nll_delta": nll.cpu() - torch.from_numpy(paired),
    }


def _classes(logits: torch.Tensor, reference: Any) -> dict[str, torch.Tensor]:
    log_p = torch.log_softmax(logits, -1)
    log_ref = _log_probabilities(reference, logits.device)
    agree = (log_p.argmax(-1) == log_ref.argmax(-1)).float()
    return {"kld": _kld(log_ref, log_p), "agree": agree}


def _embeddings(found: torch.Tensor, reference: Any) -> dict[str, torch.Tensor]:
    wanted = torch.from_numpy(np.array(reference)).to(found.device)
    cosine = torch.nn.functional.cosine_similarity(found, wanted, dim=-1)
    return {"distance": (1 - cosine).clamp(min=0)}


def unknown_accuracy(task: str, reason: str) -> Metrics:
    """Every accuracy metric of a task as null, since the engine gives no outputs.

    Args:
        task: What the model is served for.
        reason: Why there are none.
    """
    family = (m for m in METRICS.values() if m.family is Family.ACCURACY and m.is_goal)
    return {m.name: Measurement.unavailable(m.unit, reason) for m in family if task in m.tasks}


def _log_probabilities(stored: Any, device: torch.device) -> torch.Tensor:
    """Of a stored reference, which holds logits or, in half precision, log-probabilities. These
    are normalised again: rounded, they do not add up to 1, and a divergence from them may come out
    below zero."""
    return torch.log_softmax(torch.from_numpy(np.array(stored)).to(device).float(), -1)


def _kld(log_ref: torch.Tensor, log_p: torch.Tensor) -> torch.Tensor:
    return (log_ref.exp() * (log_ref - log_p)).sum(-1)


def _nll(log_p: torch.Tensor, windows: Batch) -> torch.Tensor:
    """Negative log-likelihood of each next token, ``[windows, tokens - 1]``."""
    target = windows["input_ids"][:, 1:].unsqueeze(-1)
    return -log_p.gather(-1, target).squeeze(-1)


def _rows(values: torch.Tensor) -> list[float]:
    means: list[float] = values.double().mean(-1).tolist()
    return means


def _save(path: Path, array: np.ndarray) -> None:
    """Writes whole or not at all: a killed process leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as stream:
        np.save(stream, array)
    temporary.replace(path)


def _metrics(rows: Mapping[str, Rows], error: float = ONE_LOOK) -> Metrics:
    """The metrics that rows tell of, with intervals that miss so often to each side."""
    n = sum(row.numel() for row in next(iter(rows.values())))
    means = {name: [float(row.mean()) for row in of] for name, of in rows.items()}
    mean = {name: clustered_mean(of, error) for name, of in means.items()}
    found: Metrics = {}
    if "kld" in mean:
        agree = _with_score(mean["agree"], n, error)
        found["kld_mean_nats"] = _measurement(mean["kld"], "nat", n)
        found["top1_agreement_ratio"] = _measurement(agree, "ratio", n)
    if "nll" in mean:
        found["nll_delta_nats"] = _measurement(mean["nll_delta"], "nat", n)
        found["perplexity"] = _measurement(_exp(mean["nll"]), "ratio", n)
        found["perplexity_ratio"] = _measurement(_exp(mean["nll_delta"]), "ratio", n)
    if "distance" in mean:
        found["embedding_cosine_distance"] = _measurement(mean["distance"], "ratio", n)
    return found


def _with_score(mean: Interval, n: int, error: float) -> Interval:
    """The wider of the clustered and the Wilson interval: where all rows agree, the clustered one
    has no width, however few they are."""
    score = share_interval(round(mean.value * n), n, error)
    return Interval(mean.value, min(mean.low, score.low), max(mean.high, score.high), n)


def _measurement(found: Interval, unit: str, n: int) -> Measurement:
    return Measurement.of(found, unit, "mean", _SOURCE, n=n)


def _exp(found: Interval) -> Interval:
    low, value, high = (
        math.exp(min(x, _LARGEST_EXPONENT)) for x in (found.low, found.value, found.high)
    )
    return Interval(value, low, high, found.n)
