"""What a recipe changed in the model's outputs, against the baseline's on held-out text."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autotune.engine import Batch, Engine
from autotune.errors import BenchError
from autotune.messages import Measurement, Metrics
from autotune.metrics import METRICS, Family
from autotune.outcome import Outcome
from autotune.statistics import Interval, clustered_mean, share_interval

_CHUNK_BYTES = 256 << 20
"""Roughly how much memory the float32 logits of one forward pass may take."""

_BATCH = 8
"""At most so many sequences in one forward pass."""

_LARGEST_EXPONENT = 700.0
"""A ruined model's perplexity stays a finite number."""


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

    def score(self) -> Metrics:
        """Measures every accuracy metric of the task.

        Raises:
            BenchError: The outputs are not finite.
        """
        if self._task == "causal-lm":
            return self._score_causal()
        if self._task == "sequence-classification":
            return self._score_classes()
        return self._score_embeddings()

    def save_reference(self) -> None:
        """Runs the engine, which holds the baseline, and keeps its outputs for later scores."""
        outputs, paired = [], []
        for windows, logits in self._forward():
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
        for _, logits in self._forward(other):
            log_ref = _log_probabilities(reference[done : done + len(logits)], logits.device)
            done += len(logits)
            if self._task == "causal-lm":
                logits = logits[:, :-1]
            kld = _kld(log_ref, torch.log_softmax(logits, -1))
            positions += kld.numel()
            rows += _rows(kld.reshape(len(kld), -1))
        return {"kld_self_floor_nats": _mean(rows, "nat", positions)}

    def _forward(self, fixed: int = 0) -> Iterator[tuple[Batch, torch.Tensor]]:
        """Outputs in small batches (of ``fixed`` sequences, if given), checked to be finite."""
        size = fixed or 1
        done = 0
        count = len(self._windows["input_ids"])
        while done < count:
            windows = {k: v[done : done + size] for k, v in self._windows.items()}
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

    def _score_causal(self) -> Metrics:
        reference = np.load(self._reference, mmap_mode="r")
        reference_nll = np.load(self._paired)
        kld, agree, nll, delta = [], [], [], []
        done = 0
        for windows, logits in self._forward():
            rows = slice(done, done + len(logits))
            done += len(logits)
            log_p = torch.log_softmax(logits[:, :-1], -1)
            log_ref = _log_probabilities(reference[rows], log_p.device)
            kld += _rows(_kld(log_ref, log_p))
            agree += _rows((log_p.argmax(-1) == log_ref.argmax(-1)).float())
            row_nll = _nll(log_p, windows)
            nll += _rows(row_nll)
            delta += _rows(row_nll.cpu() - torch.from_numpy(reference_nll[rows]))
        positions = done * (reference.shape[1])
        return _language_metrics(kld, agree, nll, delta, positions)

    def _score_classes(self) -> Metrics:
        logits = torch.cat([out.cpu() for _, out in self._forward()])
        log_ref = _log_probabilities(np.load(self._reference), logits.device)
        log_p = torch.log_softmax(logits, -1)
        agree = (log_p.argmax(-1) == log_ref.argmax(-1)).float()
        count = len(logits)
        return {
            "kld_mean_nats": _mean(_kld(log_ref, log_p).tolist(), "nat", count),
            "top1_agreement_ratio": _share(agree.tolist(), count),
        }

    def _score_embeddings(self) -> Metrics:
        reference = torch.from_numpy(np.load(self._reference))
        embeddings = torch.cat([out.cpu() for _, out in self._forward()])
        cosine = torch.nn.functional.cosine_similarity(embeddings, reference, dim=-1)
        distance = (1 - cosine).clamp(min=0).tolist()
        return {"embedding_cosine_distance": _mean(distance, "ratio", len(distance))}


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


def _mean(rows: list[float], unit: str, n: int) -> Measurement:
    return _measurement(clustered_mean(rows), unit, n)


def _share(rows: list[float], n: int) -> Measurement:
    """A share with the wider of the clustered and the Wilson interval: where all rows agree, the
    clustered one has no width, however few they are."""
    mean = clustered_mean(rows)
    score = share_interval(round(mean.value * n), n)
    wide = Interval(mean.value, min(mean.low, score.low), max(mean.high, score.high), n)
    return _measurement(wide, "ratio", n)


def _measurement(found: Interval, unit: str, n: int) -> Measurement:
    return Measurement.of(found, unit, "mean", "teacher-forced on held-out text", n=n)


def _exp(found: Interval) -> Interval:
    low, value, high = (
        math.exp(min(x, _LARGEST_EXPONENT)) for x in (found.low, found.value, found.high)
    )
    return Interval(value, low, high, found.n)


def _language_metrics(
    kld: list[float], agree: list[float], nll: list[float], delta: list[float], positions: int
) -> Metrics:
    mean_delta = clustered_mean(delta)
    return {
        "kld_mean_nats": _mean(kld, "nat", positions),
        "top1_agreement_ratio": _share(agree, positions),
        "nll_delta_nats": _measurement(mean_delta, "nat", positions),
        "perplexity": _measurement(_exp(clustered_mean(nll)), "ratio", positions),
        "perplexity_ratio": _measurement(_exp(mean_delta), "ratio", positions),
    }
