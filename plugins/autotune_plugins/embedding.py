"""The embedding and the output head in 8 bits."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

from autotune.params import Choice, Params, Stage
from autotune.plugin import Context, Estimate, ModelConfig, Phase, Plugin, Requires, Unsupported
from autotune_plugins._sizes import BITS, checkpoint_dtype, shares
from autotune_plugins._torchao import quiet_torchao

if TYPE_CHECKING:
    import torch


class Embedding(Plugin):
    """Store the token embedding and the output head in 8 bits, by torchao.

    Each row has a scale of its own. quantize leaves both as they are, though they are most of a
    small model's weights. The head's products convert its weights, unless compile fuses that: pays
    in memory and on disk rather than in time.
    """

    name = "embedding"
    params = {
        "format": Choice(
            *("keep", "int8"),
            default="keep",
            stage=Stage.MODEL,
            help="Format of both; where they share their weights they still do.",
        )
    }
    requires = Requires(packages=("torchao",))
    phase = Phase.WEIGHTS

    def transform(self, model: Any, params: Params, context: Context) -> Any:
        with quiet_torchao():
            from torchao.quantization import Int8WeightOnlyConfig, quantize_
            from torchao.utils import TorchAOBaseTensor

        embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
        tied = head is not None and head.weight is embedding.weight
        chosen = {embedding} if head is None or tied else {embedding, head}
        quantize_(model, Int8WeightOnlyConfig(), lambda module, _: module in chosen)
        if not all(isinstance(module.weight, TorchAOBaseTensor) for module in chosen):
            raise Unsupported(f"torchao left the embedding of {type(model).__name__} as it was")
        embedding.forward = MethodType(_look_up, embedding)
        if tied:
            head.weight = embedding.weight
        return model

    def estimate(self, params: Params, model_config: ModelConfig) -> Estimate:
        share = shares(model_config)
        if share is None:
            return Estimate()
        narrower = 8 / BITS[checkpoint_dtype(model_config)]
        return Estimate(weights_bytes=1 - (1 - share.linear) * (1 - narrower))


def _look_up(embedding: Any, ids: torch.Tensor) -> torch.Tensor:
    """As the embedding's own; torchao would convert the whole table for each look-up.

    Args:
        embedding: Its weights are quantized.
        ids: int64, of any shape.

    Returns:
        ``[..., embedding_dim]``.
    """
    rows: torch.Tensor = embedding.weight[ids.flatten()]
    return rows.dequantize().view(*ids.shape, embedding.embedding_dim)
