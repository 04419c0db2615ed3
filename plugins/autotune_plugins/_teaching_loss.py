"""How far a changed model's outputs are from its teacher's; no plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotune.plugin import Unsupported
from autotune_plugins._teaching_text import Batch

if TYPE_CHECKING:
    from torch import Tensor


def teaching_loss(model: Any, teacher: Any, batch: Batch, *, narrow: bool = False) -> Tensor:
    """The mean loss of a batch, in float32; the teacher gets no gradient.

    Models with logits (of tokens or classes): the Kullback-Leibler divergence from the teacher's
    distribution, in nats; of a single logit, which is no distribution, the squared error. Models
    without: the squared error of the last hidden states, over the teacher's squares. Padding does
    not count.

    Args:
        model: What is trained.
        teacher: The original.
        batch: Text.
        narrow: Whether the model multiplies in bfloat16.

    Raises:
        Unsupported: The model gives neither logits nor hidden states.
    """
    import torch

    with torch.no_grad():
        wanted, kind = _outputs(teacher, batch)
    with torch.autocast(wanted.device.type, dtype=torch.bfloat16, enabled=narrow):
        given, _ = _outputs(model, batch)
    real = batch["attention_mask"].bool()
    if kind == "hidden states":
        return _relative_error(given.float()[real], wanted.float()[real])
    # Logits are of each token, or of the whole text.
    per_token = wanted.dim() == 3
    return _divergence(
        given.float()[real] if per_token else given.float(),
        wanted.float()[real] if per_token else wanted.float(),
    )


def held_out_loss(model: Any, teacher: Any, batches: Sequence[Batch]) -> float:
    """The mean loss over the batches, without training."""
    import torch

    with torch.no_grad():
        losses = [teaching_loss(model, teacher, batch) for batch in batches]
    return float(torch.stack(losses).mean())


def _outputs(model: Any, batch: Batch) -> tuple[Tensor, str]:
    # A causal language model would otherwise fill a key-value cache that nobody reads.
    extra = {"use_cache": False} if model.can_generate() else {}
    output = model(**batch, **extra)
    for field, kind in (("logits", "logits"), ("last_hidden_state", "hidden states")):
        found = getattr(output, field, None)
        if found is not None:
            return found, kind
    raise Unsupported(
        f"{type(model).__name__} gives neither logits nor last hidden states to learn from"
    )


def _divergence(given: Tensor, wanted: Tensor) -> Tensor:
    from torch.nn.functional import kl_div, mse_loss

    if wanted.shape[-1] == 1:
        return mse_loss(given, wanted)
    return kl_div(
        given.log_softmax(-1), wanted.log_softmax(-1), log_target=True, reduction="batchmean"
    )


def _relative_error(given: Tensor, wanted: Tensor) -> Tensor:
    return (given - wanted).square().sum() / wanted.square().sum()
