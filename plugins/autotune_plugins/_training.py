"""The loop of a training: rates, updates, checks, and when to stop; no plugin."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune_plugins._adapters import Masks
from autotune_plugins._teaching_loss import held_out_loss, teaching_loss
from autotune_plugins._teaching_text import Batch, Texts

if TYPE_CHECKING:
    from torch import Generator, nn

_CHECKS = 10
"""How often in a training the loss on held-out text is taken."""

_PATIENCE = 3
"""So many checks in a row without a new best loss end the training."""

_WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""


@dataclass(frozen=True)
class Settings:
    """The params of ``distill``, with their defaults but for the steps."""

    steps: int
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    accumulation: int = 1
    clip_norm: float = 1.0
    dtype: str = "float32"
    rank: int = 0
    """Of the adapters; 0 trains all weights."""


@dataclass(frozen=True)
class Ran:
    """How a training went."""

    steps: int
    """Updates that were made."""
    best_step: int
    """After which of them held-out text had the best loss; 0 if after none."""
    early: bool
    """Whether it stopped because nothing became better any more."""


class Training:
    """Trains some weights of a model, and leaves it with the best of them."""

    def __init__(
        self,
        model: Any,
        teacher: Any,
        texts: Texts,
        settings: Settings,
        masks: Masks,
        generator: Generator,
    ) -> None:
        import torch

        self._model = model
        self._teacher = teacher
        self._texts = texts
        self._settings = settings
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._masked = [(weight, masks[weight]) for weight in self._weights if weight in masks]
        self._batches = _in_turns(texts.training, generator)
        self._optimizer = torch.optim.AdamW(self._weights, settings.learning_rate)
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self._optimizer, factor=0.5, patience=0
        )

    def run(self, first_loss: float) -> Ran:
        """Trains until the steps are taken or the held-out loss has long been better.

        Args:
            first_loss: The held-out loss at the beginning.

        Raises:
            FloatingPointError: A loss or a gradient was not finite.
        """
        steps = self._settings.steps
        best, best_step, since_best = first_loss, 0, 0
        kept = _copies(self._weights)
        step = 0
        while step < steps and since_best < _PATIENCE:
            step += 1
            self._set_rate(step)
            self._update(step)
            if step % max(1, steps // _CHECKS) and step < steps:
                continue
            loss = self._check(step)
            since_best += 1
            if loss < best:
                best, best_step, since_best, kept = loss, step, 0, _copies(self._weights)
        put_back(self._weights, kept)
        return Ran(step, best_step, early=step < steps)

    def _set_rate(self, step: int) -> None:
        """Linear warm-up, then the schedule; plateau's is set by the checks."""
        settings, warm = self._settings, max(1, round(_WARM_UP * self._settings.steps))
        rate = settings.learning_rate
        if step <= warm:
            rate *= step / warm
        elif settings.schedule == "cosine":
            rate *= (1 + math.cos(math.pi * (step - warm) / (settings.steps - warm + 1))) / 2
        else:
            return
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def _update(self, step: int) -> None:
        import torch
        from torch.nn.utils import clip_grad_norm_

        narrow, count = self._settings.dtype == "bfloat16", self._settings.accumulation
        total = 0.0
        for _ in range(count):
            batch = next(self._batches)
            loss = teaching_loss(self._model, self._teacher, batch, narrow=narrow) / count
            torch.autograd.backward(loss)
            total += loss.item()
        for weight, mask in self._masked:
            if weight.grad is not None:
                weight.grad *= mask
        norm = clip_grad_norm_(self._weights, self._settings.clip_norm)
        self._require_finite("loss", total, step)
        self._require_finite("gradient", norm.item(), step)
        self._optimizer.step()
        self._optimizer.zero_grad()
        for weight, mask in self._masked:
            weight.data *= mask

    def _check(self, step: int) -> float:
        loss = held_out_loss(self._model, self._teacher, self._texts.held_out)
        self._require_finite("held-out loss", loss, step)
        if self._settings.schedule == "plateau" and step > _WARM_UP * self._settings.steps:
            self._plateau.step(loss)
        return loss

    def _require_finite(self, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the {what} of step {step} is {value}: the training diverged at the learning "
                f"rate {self._settings.learning_rate}; take a smaller one"
            )


def _in_turns(batches: Sequence[Batch], generator: Generator) -> Iterator[Batch]:
    """All batches in random order, again and again."""
    import torch

    while True:
        order = torch.randperm(len(batches), generator=generator, device=generator.device)
        yield from (batches[index] for index in order.tolist())


def _copies(weights: Sequence[nn.Parameter]) -> list[Any]:
    return [weight.detach().clone() for weight in weights]


def put_back(weights: Sequence[nn.Parameter], copies: Sequence[Any]) -> None:
    """Gives the weights the values of copies, in whatever format these are."""
    for weight, copy in zip(weights, copies, strict=True):
        weight.data.copy_(copy)
