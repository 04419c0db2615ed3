"""How much each input feature and each layer matters on calibration text; no plugin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from autotune.plugin import Unsupported
from autotune_plugins._layers import is_stage

if TYPE_CHECKING:
    from torch import Tensor, nn

Batches = Sequence[Mapping[str, "Tensor"]]


def input_norms(model: Any, linears: Sequence[nn.Linear], batches: Batches) -> list[Tensor]:
    """Runs the calibration text through the model and watches what enters the linears.

    Args:
        model: A ``PreTrainedModel`` in eval mode.
        linears: Linears of that model.
        batches: Calibration text; padding does not count.

    Returns:
        For each linear the L2 norm of each input feature over all tokens, float32
        ``[in_features]``; all zero if the model never called the linear.
    """
    import torch

    squares = [torch.zeros(linear.in_features, device=linear.weight.device) for linear in linears]
    for batch, real in batches_on(model, batches):
        hooks = [
            linear.register_forward_pre_hook(partial(_add_squares, total, real))
            for linear, total in zip(linears, squares, strict=True)
        ]
        with removed_after(hooks), torch.no_grad():
            model.base_model(**batch)
    return [total.sqrt() for total in squares]


def _add_squares(total: Tensor, real: Tensor, linear: nn.Module, inputs: tuple[Tensor]) -> None:
    total += inputs[0][real].float().square().sum(0)


def block_influences(model: Any, layers: Sequence[nn.Module], batches: Batches) -> list[float]:
    """Measures how far each layer turns the hidden state: 1 - cosine(input, output).

    The score of ShortGPT (Men et al., 2024): a layer that hardly turns it can go.
    """
    import torch

    totals = [0.0] * len(layers)
    for batch, real in batches_on(model, batches):
        hooks = [
            layer.register_forward_hook(partial(_add_turn, totals, index, real), with_kwargs=True)
            for index, layer in enumerate(layers)
        ]
        with removed_after(hooks), torch.no_grad():
            model.base_model(**batch)
    return totals


def _add_turn(
    totals: list[float],
    index: int,
    real: Tensor,
    layer: nn.Module,
    args: tuple[Tensor, ...],
    kwargs: Mapping[str, Tensor],
    output: Tensor | tuple[Tensor, ...],
) -> None:
    from torch.nn.functional import cosine_similarity

    before = args[0] if args else kwargs["hidden_states"]
    after = output[0] if isinstance(output, tuple) else output
    cosine = cosine_similarity(before[real].float(), after[real].float(), dim=-1)
    totals[index] += float((1 - cosine).sum())


def batches_on(model: Any, batches: Batches) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Each batch on the model's device, with a mask of its real tokens.

    Raises:
        Unsupported: There is no text, or the model is a stage of a pipeline: the stages wait for
            each other, and each would run as many passes as its own layers ask for.
    """
    if is_stage(model):
        raise Unsupported(
            "this method runs calibration text through a whole model, and each process of a "
            "pipeline holds a part of one"
        )
    if not batches:
        raise Unsupported("this method needs calibration text, and there is none")
    for batch in batches:
        moved = {name: tensor.to(model.device) for name, tensor in batch.items()}
        yield moved, moved["attention_mask"].bool()


@contextmanager
def removed_after(hooks: Sequence[Any]) -> Iterator[None]:
    """Removes torch's hooks, whatever happens meanwhile."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
