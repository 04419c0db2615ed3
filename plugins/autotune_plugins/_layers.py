"""Where architectures keep their layers; no plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from autotune.plugin import Unsupported

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Layout:
    """Dotted paths: ``layers`` from the base model, all others from one layer."""

    layers: str
    mlp_inputs: tuple[str, ...]
    """Linears whose rows are neurons."""
    mlp_output: str
    """The linear whose columns are the same neurons."""
    queries: str = ""
    """Rows are attention heads. Empty where a checkpoint cannot say that heads are missing."""
    keys_values: tuple[str, ...] = ()
    """Rows are key-value heads."""
    attention_output: str = ""
    """The linear whose columns are attention heads."""


_LLAMA = Layout(
    layers="layers",
    mlp_inputs=("mlp.gate_proj", "mlp.up_proj"),
    mlp_output="mlp.down_proj",
    queries="self_attn.q_proj",
    keys_values=("self_attn.k_proj", "self_attn.v_proj"),
    attention_output="self_attn.o_proj",
)

# BERT derives the size of a head from hidden_size / num_attention_heads, so that a checkpoint
# with fewer heads of the old size cannot be loaded: its heads stay.
_BERT = Layout(
    layers="encoder.layer", mlp_inputs=("intermediate.dense",), mlp_output="output.dense"
)

_LAYOUTS = dict.fromkeys(
    ("gemma", "granite", "llama", "mistral", "qwen2", "qwen3", "smollm3"), _LLAMA
) | dict.fromkeys(("bert", "camembert", "electra", "roberta", "xlm-roberta"), _BERT)


def find_layout(config: Mapping[str, Any]) -> Layout:
    """Looks up the layout by the config's ``model_type``.

    Raises:
        Unsupported: The architecture is not one whose layers are known here.
    """
    kind = config.get("model_type")
    if kind not in _LAYOUTS:
        raise Unsupported(
            f"the layers of a {kind!r} model are not known here; "
            f"known: {', '.join(sorted(_LAYOUTS))}"
        )
    return _LAYOUTS[kind]


def list_layers(model: Any, layout: Layout) -> list[nn.Module]:
    """The layers of a ``PreTrainedModel``, first to last."""
    return list(model.base_model.get_submodule(layout.layers))


def replace_layers(model: Any, layout: Layout, layers: list[nn.Module]) -> None:
    """Gives a ``PreTrainedModel`` these layers instead of its own."""
    from torch import nn

    model.base_model.set_submodule(layout.layers, nn.ModuleList(layers))


def linear_of(layer: nn.Module, path: str) -> nn.Linear:
    """The linear at one of the layout's paths."""
    return cast("nn.Linear", layer.get_submodule(path))


def stacked_linears(model: Any) -> list[nn.Linear]:
    """Every linear inside a stack of layers: neither embeddings nor head, pooler, classifier."""
    return list(dict.fromkeys(linear for layer in stacked_by_layer(model) for linear in layer))


def stacked_by_layer(model: Any) -> list[list[nn.Linear]]:
    """The same, a list for each layer of a stack; of stacks within layers the outer ones count."""
    from torch import nn

    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    inner = {part for stack in stacks for layer in stack for part in layer.modules()}
    layers = [layer for stack in stacks if stack not in inner for layer in stack]
    found = ([m for m in layer.modules() if isinstance(m, nn.Linear)] for layer in layers)
    return [linears for linears in found if linears]


def is_stage(model: Any) -> bool:
    """Whether transformers has left only some of the layers in this process: a pipeline's."""
    from torch import nn

    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return any(isinstance(layer, nn.Identity) for stack in stacks for layer in stack)
