"""Several processes that run one model together."""

from __future__ import annotations

from typing import Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import (
    Context,
    Estimate,
    ModelConfig,
    Plugin,
    Processes,
    Requires,
    Trait,
    Unsupported,
)
from autotune_plugins._layers import is_stage
from autotune_plugins._sizes import shares

_SIZES = {"num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size"}
"""What tensor parallelism divides."""
_TENSOR_IN_HYBRID = 2
"""Parts of each model; the rest of the processes holds further ones."""


class Parallel(Plugin):
    """Run the model in several processes, each on a GPU of its own or a share of the CPU's cores.

    data gives each process a whole model and its share of a batch: throughput, at the price of
    memory. tensor cuts every matrix, which shortens each pass where the processes are connected
    well, and lets a model in that is too large for one GPU. pipeline gives each process some of
    the layers: hardly anything is exchanged, but one process computes at a time. hybrid is data
    between pairs that are tensor parallel. On a CPU all of them compete for the same memory.
    """

    name = "parallel"
    params = {
        "kind": Choice(
            *("none", "data", "tensor", "pipeline", "hybrid"),
            default="none",
            stage=Stage.SETUP,
            help="What is divided: the batch, the matrices, the layers, or batch and matrices.",
        ),
        "world_size": Choice(
            *(2, 4, 8),
            default=2,
            stage=Stage.SETUP,
            when={"kind": ("data", "tensor", "pipeline", "hybrid")},
            help="How many processes there are.",
        ),
    }

    requires = Requires(workload=(Trait.UNIFORM,))
    # These look at a whole model, or hold one of their own.
    conflicts = ("early_exit", "engine", "offload")

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        processes = self.processes(params)
        if device.kind == "cpu" and processes.count > device.cores:
            raise Unsupported(
                f"{processes.count} processes are more than the {device.cores} cores here"
            )
        if params["kind"] == "hybrid" and processes.count < 2 * _TENSOR_IN_HYBRID:
            raise Unsupported("hybrid is pairs of pairs: parallel.world_size must be 4 or more")
        if processes.parts > 1:
            _require_causal_lm(model_config)
        if params["kind"] == "pipeline":
            _require_layers(model_config, processes.parts)
        elif processes.parts > 1:
            _require_divisible(model_config, processes.parts)

    def processes(self, params: Params) -> Processes:
        count = int(params["world_size"])
        replicas = {"data": count, "hybrid": count // _TENSOR_IN_HYBRID}
        return Processes(count, replicas.get(str(params["kind"]), 1))

    def load_args(self, params: Params) -> dict[str, Any]:
        parts = self.processes(params).parts
        if parts == 1:
            return {}
        size = "pp_size" if params["kind"] == "pipeline" else "tp_size"
        return {"distributed_config": {size: parts}}

    def transform(self, model: Any, params: Params, context: Context) -> Any:
        """Holds transformers to it: versions before pipelines leave what they do not know out."""
        processes = self.processes(params)
        if params["kind"] == "pipeline":
            _require_stage(model)
        elif processes.parts > 1:
            _require_shards(model)
        if processes.replicas > 1:
            context.notes.append(
                f"each batch is divided among {processes.replicas} models; where the recipe names "
                "no batch size, each gets one prompt"
            )
        return model

    def estimate(self, params: Params, model_config: ModelConfig) -> Estimate:
        replicas = self.processes(params).replicas
        more = 1.0
        if params["kind"] == "pipeline" and model_config.get("tie_word_embeddings"):
            known = shares(model_config)
            more += 1 - known.linear if known else 0.0  # the first stage's and the last one's
        return Estimate(weights_bytes=replicas * more, memory_traffic=float(replicas))


def _require_causal_lm(config: ModelConfig) -> None:
    kinds = config.get("architectures") or ()
    if not any(str(kind).endswith("ForCausalLM") for kind in kinds):
        raise Unsupported(
            f"only causal language models are divided here, this is {', '.join(kinds) or 'none'}"
        )


def _require_layers(config: ModelConfig, stages: int) -> None:
    layers = int(config.get("num_hidden_layers", 0))
    if layers < stages:
        raise Unsupported(f"{layers} layers cannot be divided among {stages} processes")
    others = set(config.get("layer_types") or ()) - {"full_attention"}
    if others or config.get("sliding_window"):
        raise Unsupported(
            "a pipeline is for models whose layers all attend to all tokens; this one also has "
            f"{', '.join(sorted(others)) or 'sliding_attention'} layers"
        )


def _require_divisible(config: ModelConfig, parts: int) -> None:
    for name in sorted(_SIZES & config.keys()):
        size = config[name]
        if size is not None and int(size) % parts:
            raise Unsupported(f"{name} of {size} cannot be divided among {parts} processes")


def _require_shards(model: Any) -> None:
    from torch.distributed.tensor import DTensor, Shard

    weights = [w for w in model.parameters() if isinstance(w, DTensor)]
    if not any(isinstance(p, Shard) for weight in weights for p in weight.placements):
        raise Unsupported(f"transformers has divided no weight of {type(model).__name__}")


def _require_stage(model: Any) -> None:
    if not is_stage(model):
        raise Unsupported(f"transformers has left all layers of {type(model).__name__} together")
