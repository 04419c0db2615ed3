"""Encoders and classifiers: one forward pass of a transformers model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from autotune.bench.engines.ticks import synchroniser
from autotune.engine import Batch, Engine, Passes, Timing


class TorchEncoder(Engine):
    """One forward pass of an encoder or classifier."""

    # An encoder has no cache; plugins that ask for one for generation may say so here too.
    run_args: Mapping[str, Any] = {"batch_size": 1, "cache": None}

    def __init__(self, model: Any, task: str) -> None:
        self._model = model
        self._task = task
        self._synchronise = synchroniser(model.device)
        self._finite = True

    @property
    def last_finite(self) -> bool:
        """Whether the latest forward pass gave finite numbers."""
        return self._finite

    @torch.inference_mode()
    def request(self, prompts: Batch, run_args: Mapping[str, Any]) -> Timing:
        """One forward pass, its result on the host."""
        self._synchronise()
        start = time.perf_counter()
        result = self.outputs(prompts, run_args).cpu()
        last = time.perf_counter()
        self._finite = bool(torch.isfinite(result).all())
        sequences, tokens = prompts["input_ids"].shape
        return Timing(start, last, last, sequences, tokens, 0)

    def passes(self, prompts: Batch) -> Passes:
        """The one forward pass."""
        return Passes(prompt=lambda: self._model(**prompts))

    @torch.inference_mode()
    def outputs(self, batch: Batch, run_args: Mapping[str, Any]) -> torch.Tensor:
        """Class logits, or the mean of the last hidden states over real tokens."""
        output = self._model(**batch)
        if self._task == "sequence-classification":
            logits: torch.Tensor = output.logits.float()
            return logits
        hidden: torch.Tensor = output.last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1)
        return (hidden * mask).sum(1) / mask.sum(1)
