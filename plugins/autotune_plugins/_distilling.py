"""A changed model learns from its teacher, whole or through adapters; no plugin."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune.plugin import Context, Unsupported
from autotune_plugins._adapters import Masks, merged_adapters
from autotune_plugins._teaching_loss import held_out_loss
from autotune_plugins._teaching_text import BATCH, Texts, teaching_texts
from autotune_plugins._training import Ran, Settings, Training, put_back

if TYPE_CHECKING:
    import torch
    from torch import nn

Formats = list[tuple["torch.Tensor", "torch.dtype"]]
"""The floating-point tensors of a model, and the format in which the recipe has them."""


@dataclass
class Lessons:
    """What a model learns from; the same for all rounds of a training."""

    teacher: Any
    """None once the lessons are over."""
    texts: Texts
    generator: torch.Generator


def distill(model: Any, settings: Settings, context: Context) -> str:
    """Trains the model in place, on text like the teacher's own; evaluation text is never seen.

    What is kept is never worse on held-out text than the model was before: where it would be, be
    it only by going back to the format of the weights, the old weights are put back.

    Returns:
        One sentence about what came of it.

    Raises:
        FloatingPointError: The loss or a gradient was not finite.
        Unsupported: There is no teacher, or model or calibration text are not fit for it.
    """
    with lessons(settings, context) as given:
        return learn(model, settings, given)


@contextmanager
def lessons(settings: Settings, context: Context) -> Iterator[Lessons]:
    """Loads the teacher and collects texts; inside, what is random depends on the seed alone.

    Args:
        settings: For as many texts as one training with them has use for.
        context: With the teacher and calibration text.

    Raises:
        Unsupported: There is no teacher, or calibration text is not fit for it.
    """
    import torch

    if context.teacher is None:
        raise Unsupported("distillation learns from the original model: there is none to load")
    device = torch.device(context.device.torch_name)
    with _own_randomness(device, context.seed):
        given = _lessons(context.teacher(), settings, context, device)
        try:
            yield given
        finally:
            given.teacher = None
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()


def learn(model: Any, settings: Settings, given: Lessons) -> str:
    """One round of a training; see ``distill``."""
    try:
        with _in_float32(model) as formats:
            return _learn(model, settings, given, formats)
    finally:
        model.requires_grad_(False)


def _lessons(teacher: Any, settings: Settings, context: Context, device: torch.device) -> Lessons:
    import torch

    generator = torch.Generator(device).manual_seed(context.seed)
    calibration = [
        {name: tensor.to(device) for name, tensor in batch.items()}
        for batch in context.calibration
    ]
    wanted = settings.steps * settings.accumulation * BATCH
    return Lessons(teacher, teaching_texts(teacher, calibration, wanted, generator), generator)


@contextmanager
def _own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """What is drawn here depends on the seed alone, and nothing later on what is drawn here."""
    import torch

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _in_float32(model: Any) -> Iterator[Formats]:
    """Small updates are lost on narrow weights: they are float32 inside, and as before outside."""
    formats = [
        (tensor, tensor.dtype)
        for tensor in (*model.parameters(), *model.buffers())
        if tensor.is_floating_point()
    ]
    for tensor, _ in formats:
        tensor.data = tensor.data.float()
    try:
        yield formats
    finally:
        for tensor, dtype in formats:
            tensor.data = tensor.data.to(dtype)


def _learn(model: Any, settings: Settings, given: Lessons, formats: Formats) -> str:
    teacher, held_out = given.teacher, given.texts.held_out
    weights = list(model.parameters())
    old = [weight.detach().clone() for weight in weights]
    masks = _masks(weights)
    with _attention_of(teacher, model):
        before = held_out_loss(model, teacher, held_out)
        if not math.isfinite(before):
            raise FloatingPointError(f"before any training the held-out loss is {before}")
        with _trainable(model, settings.rank, masks):
            training = Training(model, teacher, given.texts, settings, masks, given.generator)
            ran = training.run(before)
        _finish(formats, masks)
        after = held_out_loss(model, teacher, held_out)
    if not after < before:
        put_back(weights, old)
        return _nothing_gained(before, ran)
    return _in_words(before, after, ran)


def _masks(weights: list[nn.Parameter]) -> Masks:
    """Where matrices with zeros are not zero: what pruning has masked stays so."""
    nonzero = {weight: weight.detach() != 0 for weight in weights if weight.dim() > 1}
    return {weight: mask for weight, mask in nonzero.items() if not mask.all()}


@contextmanager
def _attention_of(teacher: Any, model: Any) -> Iterator[None]:
    """The teacher's attention kernel: some of those that serve cannot be trained, or not in
    float32, and what is learned is to be the same with all."""
    own, plain = model.config._attn_implementation, teacher.config._attn_implementation
    if own == plain:
        yield
        return
    model.set_attn_implementation(plain)
    try:
        yield
    finally:
        model.set_attn_implementation(own)


def _trainable(model: Any, rank: int, masks: Masks) -> AbstractContextManager[None]:
    """Adapters of a rank, or with rank 0 all weights, get gradients."""
    return merged_adapters(model, rank, masks) if rank else _all_weights(model)


@contextmanager
def _all_weights(model: Any) -> Iterator[None]:
    for weight in model.parameters():
        weight.requires_grad_(weight.is_floating_point())
    yield


def _finish(formats: Formats, masks: Masks) -> None:
    """Masks what was merged, and rounds as the recipe's format will."""
    for weight, mask in masks.items():
        weight.data *= mask
    for tensor, dtype in formats:
        tensor.data = tensor.data.to(dtype).float()


def _nothing_gained(before: float, ran: Ran) -> str:
    return (
        f"distillation gained nothing in {ran.steps} steps (held-out loss {before:.4g} before): "
        "the weights stay as they were"
    )


def _in_words(before: float, after: float, ran: Ran) -> str:
    why = "which no longer helped" if ran.early else "as many as were asked for"
    return (
        f"distilled: held-out loss {before:.4g} before, {after:.4g} after; {ran.steps} steps, "
        f"{why}, the best weights being those of step {ran.best_step}"
    )
